"""REST's manners: strict JSON in, RFC 9457 problems out, whatever happened."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.http import parse_header_parameters
from rest_framework import exceptions
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.response import Response

from staterail.core import strict_json
from staterail.core.errors import (
    Forbidden,
    NotFound,
    PayloadTooLarge,
    Problem,
    RateLimited,
    StateRailError,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)  # fmt: skip

JSON = Any
MEDIA_TYPE = "application/problem+json"
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 64  # a definition of 32 and what it is wrapped in; its own check is stricter
logger = logging.getLogger(__name__)


class StrictJSONParser(BaseParser):
    """A JSON object, or nothing at all, which reads as {}."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> JSON:
        _, told = parse_header_parameters(media_type or "")
        if told.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            raise exceptions.UnsupportedMediaType(media_type or "")
        limit = getattr((parser_context or {}).get("view"), "max_body_bytes", MAX_BODY_BYTES)
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise PayloadTooLarge(f"The body is larger than {limit} bytes.")
        if not data.strip():
            return {}
        try:
            value = strict_json.loads(data, max_depth=MAX_DEPTH)
        except strict_json.StrictJSONError as error:
            problem = {"severity": "error", "code": error.code, "path": "", "message": error.message}
            raise ValidationFailed(error.message, problems=[problem]) from None
        if not isinstance(value, dict):
            raise ValidationFailed("The body is a JSON object.")
        return value


class AlwaysJSON(DefaultContentNegotiation):
    """Answers are JSON whatever the caller would like: a browser's Accept is no reason for an error."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


def problem_body(
    status: int, code: str, detail: str, problems: Sequence[Problem] = (), **extra: JSON
) -> dict[str, JSON]:
    body: dict[str, JSON] = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code,
    }  # fmt: skip
    if problems:
        body["problems"] = list(problems)
    return {**body, **extra}


def problem_response(exception: Exception, context: Any = None) -> Response:
    """The answer to whatever a view raised."""
    allow = getattr((context or {}).get("view"), "allowed_methods", [])
    headers: dict[str, str] = {}
    if isinstance(exception, exceptions.MethodNotAllowed):
        headers["Allow"] = ", ".join(allow)
        body = problem_body(405, "METHOD_NOT_ALLOWED", f"There is only {', '.join(allow)} here.")
    elif isinstance(exception, exceptions.UnsupportedMediaType):
        body = problem_body(415, "UNSUPPORTED_MEDIA_TYPE", "Send the body as application/json, in UTF-8.")
    else:
        error = known_error(exception)
        if error is None:
            logger.exception("a request failed", exc_info=exception)
            body = problem_body(500, "INTERNAL_ERROR", "Something went wrong on our side; it has been logged.")
        else:
            body = problem_body(error.status_hint, error.code, error.message, error.problems)
            if error.retry_after is not None:
                headers["Retry-After"] = str(max(1, round(error.retry_after)))
            if error.status_hint == 401:
                headers["WWW-Authenticate"] = "Bearer"
    return Response(body, status=body["status"], headers=headers, content_type=MEDIA_TYPE)


def known_error(exception: Exception) -> StateRailError | None:
    """The error that tells what went wrong, or None for what nobody expected."""
    if isinstance(exception, StateRailError):
        return exception
    if isinstance(exception, exceptions.ValidationError):
        problems = list(_problems(exception.get_full_details(), ""))
        first = problems[0] if problems else None
        text = f"{first['path'] or 'The body'}: {first['message']}" if first else "The request is not valid."
        return ValidationFailed(text, problems=problems)
    if isinstance(exception, exceptions.ParseError):
        return ValidationFailed("The body cannot be read.")
    if isinstance(exception, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return Unauthenticated()
    if isinstance(exception, exceptions.PermissionDenied | PermissionDenied):
        return Forbidden(str(exception) or None)
    if isinstance(exception, exceptions.NotFound | Http404):
        return NotFound()
    if isinstance(exception, exceptions.Throttled):
        return RateLimited(retry_after=getattr(exception, "wait", None) or 1)
    if isinstance(exception, RequestDataTooBig):
        return PayloadTooLarge()
    if isinstance(exception, OperationalError | InterfaceError):
        logger.warning("the database failed: %s", exception)
        return Unavailable(retry_after=1)
    return None


def _problems(details: Any, path: str) -> Iterator[dict[str, JSON]]:
    """rest_framework's nested details as located problems."""
    if isinstance(details, Mapping) and set(details) == {"message", "code"} and isinstance(details["message"], str):
        codes = {"required": "missing_key", "unknown_key": "unknown_key"}
        code = codes.get(str(details["code"]), "bad_value")
        yield {"severity": "error", "code": code, "path": path, "message": details["message"]}
    elif isinstance(details, Mapping):
        for key, inner in details.items():
            place = str(key).replace("~", "~0").replace("/", "~1")
            yield from _problems(inner, path if key == "non_field_errors" else f"{path}/{place}")
    elif isinstance(details, list):
        flat = all(isinstance(inner, Mapping) and set(inner) == {"message", "code"} for inner in details)
        for n, inner in enumerate(details):
            yield from _problems(inner, path if flat else f"{path}/{n}")


# Where Django itself answers


def _plain(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        return JsonResponse(problem_body(status, code, detail), status=status, content_type=MEDIA_TYPE)
    if "text/html" in request.headers.get("Accept", ""):  # without the request: a page that asks the database nothing
        return HttpResponse(render_to_string("error.html", {"status": status, "detail": detail}), status=status)
    return HttpResponse(f"{HTTPStatus(status).phrase}. {detail}\n", status=status, content_type="text/plain")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _plain(request, 403, "FORBIDDEN", "The request has no valid CSRF token: load the page anew.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _plain(request, 400, "VALIDATION_FAILED", "The request is not valid.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _plain(request, 403, "FORBIDDEN", "You may not do that.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _plain(request, 404, "NOT_FOUND", "There is nothing here.")


def server_error(request: HttpRequest) -> HttpResponse:
    return _plain(request, 500, "INTERNAL_ERROR", "Something went wrong on our side; it has been logged.")


def unavailable(request: HttpRequest) -> HttpResponse:
    answer = _plain(request, 503, Unavailable.code, str(Unavailable()))
    answer["Retry-After"] = "1"
    return answer
