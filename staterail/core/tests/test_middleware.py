"""What holds for every answer and every request: headers, bounds, and who may not act for whom."""

import re

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from runs.tests.rest.client import Api, problem, told
from staterail import urls
from staterail.accounts.tests.factories import MemberFactory
from staterail.core.actor import Role
from workflows.models import Workflow

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
FORBIDDEN, INVALID = problem(403, "FORBIDDEN"), problem(400, "VALIDATION_FAILED")


def _no_database(request):
    raise OperationalError("no such host: db.internal")


def _bug(request):
    raise RuntimeError("password=hunter2")


urlpatterns = [
    *urls.urlpatterns,
    path("page", _no_database),
    path("api/v1/page", _no_database),
    path("api/v1/bug", _bug),
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.mark.parametrize(
    "address",
    ["/healthz", "/login/", "/", "/nothing", "/api/v1/runs", "/api/v1/nothing", "/api/v1/bug", "/page", "/readyz"],
)
def test_every_answer_has_the_security_headers(client, address):
    answer = client.get(address)
    csp = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
    assert {name: csp[name] for name in ("default-src", "script-src", "base-uri", "frame-ancestors", "object-src")} == {
        "default-src": "'none'", "script-src": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
        "object-src": "'none'",
    }  # fmt: skip
    assert "unsafe" not in answer["Content-Security-Policy"]
    expected = {
        "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    }  # fmt: skip
    assert {name: answer.get(name) for name in expected} == expected
    assert re.fullmatch("[0-9a-f]{32}", answer["X-Trace-Id"])


def test_answers_of_the_api_are_not_kept(client):
    assert client.get("/api/v1/runs")["Cache-Control"] == Api().send("GET", "/runs")["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
def test_no_other_site_is_let_in(client, method):
    answer = client.generic(
        method, "/api/v1/runs", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert answer.status_code == 401
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_host_that_is_not_ours_is_refused(client):
    answer = client.get("/api/v1/runs", headers={"Host": "evil.example"})
    assert told((answer.status_code, answer.json())) == INVALID
    assert "evil" not in answer.content.decode()
    assert client.get("/login/", headers={"Host": "evil.example"}).status_code == 400


def test_what_a_stranger_says_of_itself_as_a_proxy_is_ignored(client):
    forwarded = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.1"}
    answer = client.get("/", headers=forwarded)
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=/")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({f"X-{n}": "a" for n in range(95)}, 200),
        ({f"X-{n}": "a" for n in range(101)}, 400),
        ({"X-Long": "a" * 16_000}, 200),
        ({"X-Long": "a" * 16_400}, 400),
    ],
)
def test_headers_are_a_hundred_and_16_kib_at_most(client, headers, status):
    assert client.get("/healthz", headers=headers).status_code == status


# A session


@pytest.fixture
def browser():
    """A signed-in administrator's, with the CSRF checks on."""
    made = Client(enforce_csrf_checks=True, raise_request_exception=False)
    made.force_login(MemberFactory(membership__role=Role.ADMIN))
    return made


def create(browser, **headers):
    answer = browser.post("/api/v1/workflows", {"name": "n"}, "application/json", headers=headers)
    return answer.status_code, answer.json()


def with_token(browser):
    browser.cookies["csrftoken"] = "a" * 32
    return {"X-CSRFToken": "a" * 32}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-CSRFToken": "b" * 32},
        {"X-CSRFToken": "a" * 32, "Origin": "https://evil.example"},
        {"X-CSRFToken": "a" * 32, "Origin": "null"},
        {"X-CSRFToken": "a" * 32, "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_session_writes_only_with_its_token_and_from_here(browser, headers):
    with_token(browser)
    assert told(create(browser, **headers)) == FORBIDDEN
    assert not Workflow.objects.exists()


def test_a_session_with_its_token_writes(browser):
    headers = with_token(browser)
    assert create(browser, **headers, **{"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"})[0] == 201


def test_a_session_reads_without_one(browser):
    assert browser.get("/api/v1/runs").status_code == 200


def test_a_token_is_no_session_and_needs_no_csrf_token():
    answer = Api().send("POST", "/workflows", {"name": "n"}, Sec_Fetch_Site="cross-site")
    assert answer.status_code == 201


# When something is wrong here


@pytest.mark.parametrize("address", ["/page", "/api/v1/page"])
def test_a_page_without_its_database_says_try_again(client, address):
    answer = client.get(address)
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert "db.internal" not in answer.content.decode()


def test_a_bug_of_ours_shows_nothing_of_itself(client):
    answer = client.get("/api/v1/bug")
    assert told((answer.status_code, answer.json())) == problem(500, "INTERNAL_ERROR")
    assert "hunter2" not in answer.content.decode()


def test_middleware_passes_other_exceptions_on():
    from staterail.core.middleware import LimitsAndHeaders

    middleware = LimitsAndHeaders(lambda request: HttpResponse())
    assert middleware.process_exception(None, RuntimeError()) is None
