from django.contrib.auth.views import LogoutView
from django.urls import path

from staterail.accounts import views
from staterail.accounts.rest import openapi  # noqa: F401  # drf-spectacular knows an extension once it is imported

urlpatterns = [
    path("login/", views.Login.as_view(), name="login"),
    path("login/once/<str:uid>/<str:token>/", views.login_once, name="login-once"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
