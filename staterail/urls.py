"""All of the doors under one roof."""

from django.urls import URLPattern, URLResolver, include, path

from staterail import api_pages, demo, health, home, metrics

api: list[URLPattern | URLResolver] = [
    path("", include("workflows.rest.urls")),
    path("", include("runs.rest.urls")),
    path("openapi.json", api_pages.OpenApi.as_view(), name="openapi"),
    path("docs", api_pages.Docs.as_view(), name="api-docs"),
]
urlpatterns = [
    path("", home.home, name="home"),
    path("", include("staterail.accounts.urls")),
    path("api/v1/", include(api)),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("demo/quote", demo.quote, name="demo-quote"),
]
handler400 = "staterail.core.rest.bad_request"
handler403 = "staterail.core.rest.forbidden"
handler404 = "staterail.core.rest.not_found"
handler500 = "staterail.core.rest.server_error"
