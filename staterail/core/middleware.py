"""What holds for every request: bounds on its headers, its trace, and the headers of its answer."""

from collections.abc import Callable

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse

from staterail.core import tracing
from staterail.core.rest import MEDIA_TYPE, problem_body, unavailable

MAX_HEADERS, MAX_HEADER_BYTES = 100, 16 * 1024
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; worker-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'; object-src 'none'"
)
CSP = _CSP.format(styles="")
CSP_DOCS = _CSP.format(styles=" 'unsafe-inline'")  # Swagger UI sets styles inline; scripts stay ours

Handler = Callable[[HttpRequest], HttpResponse]


def limits_and_headers(get_response: Handler) -> Handler:
    def middleware(request: HttpRequest) -> HttpResponse:
        tracing.begin(request.headers.get("traceparent"), request.headers.get("X-Correlation-Id"))
        answer = _refused(request)
        if answer is None:
            try:
                answer = get_response(request)
            except (OperationalError, InterfaceError):
                answer = unavailable(request)
        _add_headers(request, answer)
        return answer

    return middleware


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
    answer.setdefault("Content-Security-Policy", CSP_DOCS if docs else CSP)
    answer.setdefault("X-Content-Type-Options", "nosniff")
    answer.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    answer.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    answer.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=(), interest-cohort=()")
    answer.setdefault("X-Trace-Id", tracing.trace_id())
    if request.path.startswith("/api/") and not docs:
        answer.setdefault("Cache-Control", "no-store")
