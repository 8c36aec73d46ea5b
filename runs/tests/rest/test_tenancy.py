"""Nobody gets in without a credential, and what is another tenant's is not there (I-40)."""

from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs.tests.rest.client import approval, flow, problem, told
from staterail.core.ids import uuid7
from staterail.tests.routes import addresses, operations

pytestmark = pytest.mark.django_db
MISSING = problem(404, "NOT_FOUND")
OPEN = {"login", "login-once", "logout", "healthz", "readyz", "metrics", "demo-quote"}
"""What answers to anybody, by name: nothing of these shows data. Logging out needs no login."""
BODIES = {
    "/workflows/*/draft": {"definition": flow("a")}, "/workflows/*/runs/batch": {"runs": [{}]},
    "/runs/*/steps/*/transition": {"action": "approve"},
}  # fmt: skip


@pytest.fixture
def theirs(stranger, engine):
    """(workflow, run, step) of another tenant."""
    workflow = stranger.published(flow(approval("review")), "theirs")
    run_id = stranger.started(workflow)
    engine.wait(run_id, "review")
    return workflow, run_id, "review"


def on(path, workflow, run_id, step):
    """The path with its parameters filled in."""
    path = path.replace("/workflows/*", f"/workflows/{workflow}").replace("/runs/*", f"/runs/{run_id}")
    return path.replace("/steps/*", f"/steps/{step}").replace("/versions/*", "/versions/1")


ONE = [(method, path) for method, path in operations() if "*" in path]


@pytest.mark.parametrize(("method", "path"), ONE)
def test_an_id_of_another_tenant_reads_like_one_that_does_not_exist(api, stranger, theirs, method, path):
    body, random = BODIES.get(path, {}), (uuid7(), uuid7(), "review")
    answers = [api.send(method, on(path, *ids), body if method != "GET" else None) for ids in (theirs, random)]
    assert [told((answer.status_code, answer.json())) for answer in answers] == [MISSING] * 2
    assert answers[0].content == answers[1].content
    assert {k: v for k, v in answers[0].items() if k != "X-Trace-Id"} == {
        k: v for k, v in answers[1].items() if k != "X-Trace-Id"
    }
    assert stranger.must("GET", f"/runs/{theirs[1]}")["reason"] == "waiting_approval"


def test_the_slug_of_another_tenants_workflow_reads_like_one_that_does_not_exist(api, theirs):
    assert told(api.get("/workflows/theirs")) == told(api.post("/workflows/theirs/runs", {})) == MISSING
    assert api.post("/workflows", {"name": "n", "slug": "theirs"})[0] == 201


@pytest.mark.parametrize(
    "path", ["/workflows", "/runs", "/approvals", "/runs?search=review", "/workflows?search=theirs"]
)
def test_lists_have_nothing_of_another_tenant(api, theirs, path):
    assert api.must("GET", path)["results"] == []


def test_a_run_of_another_workflow_and_a_step_of_another_run_are_not_there(api):
    first, second = api.published(flow("a"), "first"), api.published(flow("b"), "second")
    run_id = api.started(first)
    api.started(second)
    assert told(api.get(f"/runs/{run_id}/steps/b")) == MISSING


NO_IDS = [
    "x", "0", "null", "me", "0199b3a0-0000-7000-8000-00000000000", "0199b3a0_0000_7000_8000_000000000000",
    "{0199b3a0-0000-7000-8000-000000000000}", "urn:uuid:0199b3a0-0000-7000-8000-000000000000", "%00", "%20", "é",
    "1_" * 16, "a" * 10_000, "%2e%2e", "a%0ab", "';--", "😀", "%ff",
]  # fmt: skip
RUN_PATHS = [(method, path) for method, path in ONE if path.startswith("/runs")]


@pytest.mark.parametrize("id", NO_IDS)
def test_what_is_no_id_is_not_found_and_asks_the_database_nothing(api, id):
    api.get("/runs")  # the token is remembered
    with CaptureQueriesContext(connection) as captured:
        for method, path in RUN_PATHS:
            body = BODIES.get(path, {}) if method != "GET" else None
            assert told(api.call(method, on(path, "x", id, "review"), body)) == MISSING, (method, path)
    assert [query["sql"] for query in captured] == []


NO_SLUGS = [id for id in NO_IDS if id not in ("x", "0", "null", "me", NO_IDS[4])]


@pytest.mark.parametrize("id", NO_SLUGS)
def test_what_is_neither_id_nor_slug_is_not_found_and_asks_the_database_nothing(api, id):
    api.get("/runs")
    with CaptureQueriesContext(connection) as captured:
        for method, path in ONE:
            if path.startswith("/workflows"):
                body = BODIES.get(path, {}) if method != "GET" else None
                assert told(api.call(method, on(path, id, "x", "x"), body)) == MISSING, (method, path)
    assert [query["sql"] for query in captured] == []


@pytest.mark.parametrize("version", ["0", "2", "-1", "x", "1.0", "9" * 30, "²", "%00", "latest"])
def test_a_version_that_is_none_is_not_found(api, version):
    workflow = api.published(flow("a"))
    assert told(api.get(f"/workflows/{workflow}/versions/{version}")) == MISSING


# Anonymous


def test_only_named_pages_answer_to_anybody():
    """Walks the resolver, so that a new route is closed until it is named here."""
    client, id = Client(raise_request_exception=False), "0199b3a0-0000-7000-8000-000000000000"
    let_in = set()
    for path, pattern in addresses():
        for method in ("get", "post", "put", "delete", "patch"):
            answer = client.generic(method.upper(), "/" + path.replace("*", id), b"{}", "application/json")
            to_login = answer.status_code == 302 and answer["Location"].startswith("/login/?next=")
            closed = (
                answer.status_code == 401 or to_login or (answer.status_code == 405 and not path.startswith("api/"))
            )
            if not closed:
                let_in.add(pattern.name or path)
    assert let_in == OPEN


def test_without_a_credential_every_rest_view_gives_one_and_the_same_answer():
    client = Client(raise_request_exception=False)
    answers = [
        client.generic(method, f"/api/v1{on(path, 'x', uuid7(), 'x')}", b"{broken", "application/json").json()
        for method, path in operations() if path != "/docs"
    ]  # fmt: skip
    assert answers == [answers[0]] * len(answers)
    assert told((401, answers[0])) == problem(401, "UNAUTHENTICATED")


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/", "/api/v1/runs/", "/api/v1/runs//cancel"])
def test_an_address_that_is_none_is_a_problem_too(api, path):
    answer = api.client.get(path)
    assert (told((answer.status_code, answer.json())), answer["Content-Type"]) == (MISSING, "application/problem+json")


def test_ids_of_answers_are_ids_of_questions(api):
    run_id = api.started(api.published(flow("a")))
    for written in (run_id, run_id.upper(), UUID(run_id).hex):
        assert api.must("GET", f"/runs/{written}")["id"] == run_id
