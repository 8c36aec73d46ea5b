"""What holds for every request: bounds on its headers, its trace, and the headers of its answer."""

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse

from staterail.core import tracing
from staterail.core.rest import MEDIA_TYPE, problem_body, unavailable

logger = logging.getLogger(__name__)
MAX_HEADERS, MAX_HEADER_BYTES = 100, 16 * 1024
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; worker-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'; object-src 'none'"
)
CSP = _CSP.format(styles="")
CSP_DOCS = _CSP.format(styles=" 'unsafe-inline'")  # Swagger UI sets styles inline; scripts stay ours

EVERYWHERE = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

Handler = Callable[[HttpRequest], HttpResponse]


class LimitsAndHeaders:
    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        tracing.begin(
            request.headers.get("traceparent"),
            request.headers.get("X-Correlation-Id"),
            request.headers.get("StateRail-Depth"),
        )
        try:
            answer = _refused(request) or self.get_response(request)
            _add_headers(request, answer)  # the trace's id among them
        finally:
            tracing.end()
        return answer

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A page that found no database says so; REST views have their own way."""
        if isinstance(exception, OperationalError | InterfaceError):
            logger.warning("the database failed: %s", exception)
            return unavailable(request)
        return None


limits_and_headers = LimitsAndHeaders


def _refused(request: HttpRequest) -> HttpResponse | None:
    size = sum(len(name) + len(value) for name, value in request.headers.items())
    if len(request.headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        return _problem(400, "VALIDATION_FAILED", "The request has too many or too large headers.")
    if (
        request.method not in SAFE
        and request.headers.get("Sec-Fetch-Site") == "cross-site"
        and settings.SESSION_COOKIE_NAME in request.COOKIES
    ):
        return _problem(403, "FORBIDDEN", "Another site may not act in your name.")
    return None


def _problem(status: int, code: str, detail: str) -> HttpResponse:
    return JsonResponse(problem_body(status, code, detail), status=status, content_type=MEDIA_TYPE)


def _add_headers(request: HttpRequest, answer: HttpResponse) -> None:
    docs = request.path == "/api/v1/docs"
    if docs:
        answer.setdefault("Content-Security-Policy", CSP_DOCS)
    for name, value in EVERYWHERE.items():
        answer.setdefault(name, value)
    answer.setdefault("X-Trace-Id", tracing.trace_id())
    if request.path.startswith("/api/") and not docs:
        answer.setdefault("Cache-Control", "no-store")
