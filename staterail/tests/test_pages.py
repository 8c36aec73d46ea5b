"""Health, the start page, and the API's own description."""

import json

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path as at
from django.utils.html import escape
from drf_spectacular.validation import validate_schema

from runs import reactor
from runs.tests.rest.client import Api, approval, flow
from runs.tests.rest.engine import Engine
from staterail import health, urls
from staterail.accounts.models import Membership
from staterail.accounts.tests.factories import MemberFactory, UserFactory
from staterail.core.actor import Role
from staterail.core.cli import manage_py
from staterail.tests.routes import operations

pytestmark = pytest.mark.django_db


@pytest.fixture
def ours():
    """An administrator's token."""
    return Api()


@pytest.fixture
def stranger():
    return Api()


@pytest.fixture
def engine():
    made = Engine()
    yield made
    made.reactor.pool.close()


def signed_in(user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


# Health


@pytest.mark.parametrize("method", ["get", "head"])
def test_it_is_alive_for_anybody(method):
    answer = getattr(Client(), method)("/healthz")
    assert (answer.status_code, answer.content) == (200, b'{"status": "ok"}' if method == "get" else b"")


class _Reactor:
    def __init__(self, alive=True, failure=None):
        self.failure, self._alive = failure, alive

    def is_alive(self):
        return self._alive


@pytest.mark.parametrize(
    ("here", "workers"),
    [
        (None, "none"),
        (_Reactor(), "ok"),
        (_Reactor(alive=False), "degraded"),
        (_Reactor(failure=OSError()), "degraded"),
    ],
)
def test_it_is_ready_with_its_database_whatever_else_is_missing(settings, here, workers):
    settings.REDIS_URL = ""
    reactor.set_current(here)
    try:
        answer = Client().get("/readyz")
    finally:
        reactor.set_current(None)
    parts = {"database": "ok", "broker": "ok", "channel_layer": "ok", "workers": workers}
    assert (answer.status_code, answer.json()) == (200, parts)


def test_without_redis_it_is_ready_and_degraded(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    answer = Client().get("/readyz")
    parts = answer.json()
    assert (answer.status_code, parts["broker"], parts["channel_layer"]) == (200, "degraded", "degraded")


def test_without_its_database_it_is_not_ready(monkeypatch, settings):
    settings.REDIS_URL = ""
    monkeypatch.setattr(health, "ping", lambda: False)
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "none")


def test_nothing_is_changed_by_asking():
    assert [Client().post(path).status_code for path in ("/healthz", "/readyz")] == [405, 405]


# The start page


def test_the_start_page_shows_the_tenants_workflows_and_runs_and_nothing_else(ours, stranger):
    user = MemberFactory(membership__tenant=ours.tenant, membership__role=Role.OPERATOR)
    run_id = ours.started(ours.published(flow("a"), "ours"))
    ours.must("POST", "/workflows", {"name": "<script>alert(1)</script>"})
    hidden = stranger.started(stranger.published(flow("a"), "theirs"))
    page = signed_in(user).get("/").content.decode()
    assert run_id in page
    assert hidden not in page
    assert "theirs" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_a_visitor_is_asked_to_sign_in():
    assert Client().get("/")["Location"] == "/login/?next=/"


def test_who_belongs_to_no_tenant_is_told_so():
    answer = signed_in(UserFactory()).get("/")
    assert (answer.status_code, "belong to no tenant" in answer.content.decode()) == (403, True)


def test_the_start_page_costs_as_many_queries_for_3_runs_as_for_1(ours, engine):
    user = MemberFactory(membership__tenant=ours.tenant, membership__role=Role.ADMIN)
    client, counts = signed_in(user), []
    workflow = ours.published(flow(approval("review", assignees=[f"user:{user.username}"])))
    for n in (1, 2):
        for _ in range(n):
            engine.wait(ours.started(workflow), "review")
        client.get("/")
        with CaptureQueriesContext(connection) as captured:
            assert client.get("/").content.decode().count("Decide review") == n * (n + 1) // 2
        counts.append(len(captured))
    assert counts[0] == counts[1]


# OpenAPI


@pytest.fixture
def document(ours):
    answer = ours.send("GET", "/openapi.json")
    assert answer.status_code == 200
    return json.loads(answer.content)


def test_the_document_is_valid_and_of_one_version(document, ours):
    validate_schema(document)
    assert (document["openapi"], document["info"]["title"]) == ("3.1.0", "StateRail")
    assert json.loads(ours.send("GET", "/openapi.json?version=9%0d%0a").content) == document


def test_every_route_is_in_it_with_its_answers_and_its_refusals(document):
    listed = {
        (method.upper(), "/" + "/".join("*" if part.startswith("{") else part for part in path.split("/")[3:]))
        for path, its in document["paths"].items() for method in its
    }  # fmt: skip
    assert listed == {(method, path) for method, path in operations() if path not in ("/openapi.json", "/docs")}
    for path, its in document["paths"].items():
        for method, operation in its.items():
            told = set(operation["responses"])
            assert told & {"200", "201"}, path
            assert {"400", "401", "403", "429", "503"} <= told, path
            assert ("404" in told) == ("{" in path), path
            assert ({"409", "413", "415"} <= told) == (method in ("post", "put")), path
            refusals = [operation["responses"][status] for status in told if status >= "400"]
            assert all("application/problem+json" in refusal["content"] for refusal in refusals)
            assert operation["summary"]


def test_the_document_describes_answers_as_they_are(document, ours):
    schemas = document["components"]["schemas"]
    run = ours.must("POST", f"/workflows/{ours.published(flow('a'))}/runs")
    assert set(schemas["RunAnswer"]["properties"]) == set(run)
    assert set(schemas["RunDetailAnswer"]["properties"]) == set(ours.must("GET", f"/runs/{run['id']}"))
    assert set(schemas["RunPage"]["properties"]) == set(ours.must("GET", "/runs"))
    assert set(schemas["StepRunAnswer"]["properties"]) == set(ours.step(run["id"], "a"))
    events = ours.must("GET", f"/runs/{run['id']}/events")
    assert set(schemas["EventPage"]["properties"]) == set(events)
    assert set(schemas["EventAnswer"]["properties"]) == set(events["results"][0])


def test_making_the_document_warns_of_nothing(capsys):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")
    assert "Warning" not in capsys.readouterr().err


def test_the_page_to_browse_it_by_is_for_those_who_may_and_loads_from_here_only(ours):
    answer = signed_in(MemberFactory(membership__tenant=ours.tenant)).get("/api/v1/docs")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "//cdn" not in page
    assert "https://" not in page
    assert "script-src 'self';" in answer["Content-Security-Policy"]
    assert Client().get("/api/v1/docs")["Location"] == "/login/?next=/api/v1/docs"


def test_the_page_refuses_who_belongs_to_no_tenant():
    user = MemberFactory()
    Membership.objects.all().delete()
    answer = signed_in(user).get("/api/v1/docs")
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")


# The sample's endpoint


@pytest.mark.parametrize(
    ("query", "status"), [("sku=bread&qty=2", 200), ("sku=x", 400), ("sku=bread&qty=²", 400), ("sku=bread&qty=-1", 400)]
)
def test_a_quote_is_given_to_anybody_from_its_question_alone(query, status):
    assert Client(raise_request_exception=False).get(f"/demo/quote?{query}").status_code == status


# Pages that say what went wrong, and commands on them


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/none", 404, "There is nothing here."),
        ("/may/not", 403, "You may not do that."),
        ("/bad", 400, "The request is not valid."),
        ("/broken", 500, "Something went wrong on our side; it has been logged."),
        ("/away", 503, "The database cannot be reached just now: try again in a moment."),
    ],
)
def test_a_person_gets_a_page_and_a_program_a_line_and_neither_asks_the_database(path, status, says, caplog):
    client = Client(raise_request_exception=False)
    with CaptureQueriesContext(connection) as captured:
        page, line = client.get(path, headers={"Accept": "text/html,*/*;q=0.8"}), client.get(path)
    assert (page.status_code, page["Content-Type"]) == (status, "text/html; charset=utf-8")
    for part in (f"<h1>{says}</h1>", "<title>", 'href="/"', "staterail.css"):
        assert part in page.content.decode()
    assert (line.status_code, line["Content-Type"], says in line.content.decode()) == (status, "text/plain", True)
    assert len(captured) == 0


def test_a_form_without_its_token_is_refused_with_a_page():
    answer = Client(enforce_csrf_checks=True).post("/login/", headers={"Accept": "text/html"})
    assert (answer.status_code, "load the page anew" in answer.content.decode()) == (403, True)


def test_commands_on_pages_are_typed_as_they_stand(settings, ours):
    settings.EMBEDDED = True
    user = MemberFactory(membership__tenant=ours.tenant)
    pages = [Client().get("/login/"), Client().get("/login/once/x/y/"), signed_in(user).get("/")]
    for page, command in zip(pages, ("login_link NAME", "login_link", "run hello-staterail --follow"), strict=True):
        assert f"<code>{escape(manage_py())} {command}</code>" in page.content.decode()


def test_a_server_tells_no_folder_of_its_own(settings):
    settings.EMBEDDED = False
    page = Client().get("/login/").content.decode()
    assert "python manage.py login_link" in page
    assert str(settings.STATERAIL_DATA) not in page
    assert str(settings.BASE_DIR) not in page


def _raises(error):
    def view(request):
        raise error

    return view


urlpatterns = [
    *urls.urlpatterns,
    at("may/not", _raises(PermissionDenied())),
    at("bad", _raises(SuspiciousOperation())),
    at("broken", _raises(RuntimeError())),
    at("away", _raises(OperationalError())),
]
handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
