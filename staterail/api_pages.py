"""The API's own description: the OpenAPI document, and a page to browse it by."""

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpResponse, JsonResponse
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from staterail.accounts.rest.authentication import HasActor, TokenOrSession
from staterail.core.rest import MEDIA_TYPE, problem_response


class OpenApi(SpectacularJSONAPIView):
    api_version = "v1"  # else a query would choose it
    authentication_classes = [TokenOrSession]
    permission_classes = [HasActor]


class Docs(SpectacularSwaggerSplitView):
    url_name = "openapi"
    authentication_classes = [TokenOrSession]
    permission_classes = [HasActor]

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override] # no serializer renders it
        """A person is asked to sign in; all else is told as everywhere."""
        told: Any = problem_response(exc, {"view": self})
        if told.status_code == 401:
            return redirect_to_login(self.request.get_full_path())
        answer = JsonResponse(told.data, status=told.status_code)
        for name, value in {**told.headers, "Content-Type": MEDIA_TYPE}.items():
            answer[name] = value
        return answer
