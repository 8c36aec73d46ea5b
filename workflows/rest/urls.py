from django.urls import path

from workflows.rest import views

urlpatterns = [
    path("workflows", views.Workflows.as_view()),
    path("workflows/<str:workflow>", views.OneWorkflow.as_view()),
    path("workflows/<str:workflow>/draft", views.Draft.as_view()),
    path("workflows/<str:workflow>/publish", views.Publish.as_view()),
    path("workflows/<str:workflow>/archive", views.Archive.as_view()),
    path("workflows/<str:workflow>/versions", views.Versions.as_view()),
    path("workflows/<str:workflow>/versions/<str:version>", views.OneVersion.as_view()),
    path("definitions/validate", views.Validation.as_view()),
    path("definitions/schema.json", views.DefinitionSchema.as_view()),
]
