from django.urls import path

from runs.rest import views

urlpatterns = [
    path("workflows/<str:workflow>/runs", views.StartRun.as_view()),
    path("workflows/<str:workflow>/runs/batch", views.StartRuns.as_view()),
    path("runs", views.Runs.as_view()),
    path("runs/<str:run_id>", views.OneRun.as_view()),
    path("runs/<str:run_id>/events", views.Events.as_view()),
    path("runs/<str:run_id>/cancel", views.Cancel.as_view()),
    path("runs/<str:run_id>/retry", views.Retry.as_view()),
    path("runs/<str:run_id>/steps/<str:step_id>", views.OneStep.as_view()),
    path("runs/<str:run_id>/steps/<str:step_id>/logs", views.Logs.as_view()),
    path("runs/<str:run_id>/steps/<str:step_id>/retry", views.RetryStep.as_view()),
    path("runs/<str:run_id>/steps/<str:step_id>/transition", views.ManualTransition.as_view()),
    path("approvals", views.Approvals.as_view()),
]
