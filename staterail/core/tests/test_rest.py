import logging

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions

from staterail.core import errors
from staterail.core.rest import MEDIA_TYPE, problem_body, problem_response


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (errors.Unauthenticated(), 401, "UNAUTHENTICATED"),
        (errors.Forbidden(), 403, "FORBIDDEN"),
        (errors.NotFound(), 404, "NOT_FOUND"),
        (errors.ValidationFailed(), 400, "VALIDATION_FAILED"),
        (errors.Conflict(), 409, "CONFLICT"),
        (errors.IdempotencyConflict(), 409, "IDEMPOTENCY_CONFLICT"),
        (errors.IllegalTransition(), 409, "ILLEGAL_TRANSITION"),
        (errors.PayloadTooLarge(), 413, "PAYLOAD_TOO_LARGE"),
        (errors.RateLimited(), 429, "RATE_LIMITED"),
        (errors.Unavailable(), 503, "UNAVAILABLE"),
        (exceptions.ParseError(), 400, "VALIDATION_FAILED"),
        (exceptions.NotAuthenticated(), 401, "UNAUTHENTICATED"),
        (exceptions.AuthenticationFailed(), 401, "UNAUTHENTICATED"),
        (exceptions.PermissionDenied(), 403, "FORBIDDEN"),
        (PermissionDenied(), 403, "FORBIDDEN"),
        (exceptions.NotFound(), 404, "NOT_FOUND"),
        (Http404(), 404, "NOT_FOUND"),
        (exceptions.Throttled(wait=3), 429, "RATE_LIMITED"),
        (exceptions.MethodNotAllowed("PUT"), 405, "METHOD_NOT_ALLOWED"),
        (exceptions.UnsupportedMediaType("text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (RequestDataTooBig(), 413, "PAYLOAD_TOO_LARGE"),
        (OperationalError("password=x"), 503, "UNAVAILABLE"),
        (InterfaceError("password=x"), 503, "UNAVAILABLE"),
        (KeyError("secret"), 500, "INTERNAL_ERROR"),
    ],
)
def test_whatever_is_raised_is_told_as_a_problem(raised, status, code, caplog):
    caplog.set_level(logging.CRITICAL)
    answer = problem_response(raised)
    assert (answer.status_code, answer.data["status"], answer.data["code"]) == (status, status, code)
    assert answer.content_type == MEDIA_TYPE
    assert set(answer.data) == {"type", "title", "status", "detail", "code"}
    assert answer.data["detail"]
    assert "password" not in answer.data["detail"]
    assert "secret" not in answer.data["detail"]


@pytest.mark.parametrize(
    ("raised", "header"),
    [
        (errors.RateLimited(retry_after=0.2), {"Retry-After": "1"}),
        (errors.Unavailable(retry_after=2.6), {"Retry-After": "3"}),
        (errors.Unauthenticated(), {"WWW-Authenticate": "Bearer"}),
        (errors.NotFound(), {}),
    ],
)
def test_a_refusal_says_when_or_how_to_come_again(raised, header):
    assert {k: v for k, v in problem_response(raised).headers.items() if k != "Content-Type"} == header


def test_nested_findings_are_located_by_json_pointer():
    raised = exceptions.ValidationError(
        {"runs": [{}, {"a/b~c": ["wrong"]}, {"non_field_errors": ["not an object"]}], "name": ["missing", "short"]}
    )
    answer = problem_response(raised).data
    assert [(found["path"], found["message"]) for found in answer["problems"]] == [
        ("/runs/1/a~1b~0c", "wrong"), ("/runs/2", "not an object"), ("/name", "missing"), ("/name", "short"),
    ]  # fmt: skip
    assert answer["detail"] == "/runs/1/a~1b~0c: wrong"


def test_at_most_a_hundred_findings_are_told():
    problems = [{"severity": "error", "code": "bad_value", "path": f"/{n}", "message": "x"} for n in range(150)]
    assert problem_response(errors.ValidationFailed(problems=problems)).data["problems"] == problems[:100]


def test_a_problem_has_the_five_members():
    assert problem_body(404, "NOT_FOUND", "gone") == {
        "type": "about:blank", "title": "Not Found", "status": 404, "detail": "gone", "code": "NOT_FOUND",
    }  # fmt: skip
