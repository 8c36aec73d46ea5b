"""Workflows, drafts, versions and archives over REST: each answer whole, each refusal with nothing written."""

import re

import pytest

from runs.tests.rest.client import Api, told
from staterail.accounts.models import IdempotencyRecord
from staterail.core.actor import Role
from workflows.models import Workflow, WorkflowVersion
from workflows.tests.factories import VersionFactory, WorkflowFactory, definition, echo, edge, step

pytestmark = pytest.mark.django_db

GOOD = definition(step("a"), step("b"), transitions=[edge("a", "b")])
BAD = definition(step(join="most"))
UNKNOWN = "0199b3a0-0000-7000-8000-000000000000"  # an id of nothing
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def api():
    return Api(Role.ADMIN)


def _stored():
    return [list(model.objects.order_by("id").values()) for model in (Workflow, WorkflowVersion, IdempotencyRecord)]


def _refused(api, method, path, body, status, code, **headers):
    """The problem of a call that is answered like this and writes nothing."""
    before = _stored()
    answer = api.call(method, path, body, **headers)
    assert told(answer) == {"status": status, "code": code}
    assert _stored() == before
    return answer[1]


def _places(problem):
    return [(one["code"], one["path"]) for one in problem["problems"]]


def test_a_workflow_is_created_with_what_was_given(api):
    status, made = api.post("/workflows", {"name": "Ship it", "description": "Out.", "definition": GOOD})
    assert status == 201
    times = [made.pop("created_at"), made.pop("updated_at")]
    assert all(TIME.fullmatch(time) for time in times)
    assert made == {
        "id": str(Workflow.objects.get().id), "name": "Ship it", "slug": "ship-it", "description": "Out.",
        "archived_at": None, "draft": 1, "latest_version": None,
    }  # fmt: skip


def test_a_workflow_needs_a_name_only(api):
    status, made = api.post("/workflows", {"name": "Ship"})
    assert (status, made["description"], made["draft"], made["latest_version"]) == (201, "", None, None)


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, [("missing_key", "/name")]),
        ({"name": ""}, [("bad_value", "/name")]),
        ({"name": " "}, [("bad_value", "/name")]),
        ({"name": "\t\u2003"}, [("bad_value", "/name")]),
        ({"name": 5}, [("bad_value", "/name")]),
        ({"name": None}, [("bad_value", "/name")]),
        ({"name": "x" * 201}, [("bad_value", "/name")]),
        ({"name": "a\x07"}, [("bad_value", "/name")]),
        ({"name": "a\u202eb"}, [("bad_value", "/name")]),
        ({"name": "a\nb"}, [("bad_value", "/name")]),
        ({"name": "x", "slug": ""}, [("bad_value", "/slug")]),
        ({"name": "x", "slug": "No"}, [("bad_value", "/slug")]),
        ({"name": "x", "slug": None}, [("bad_value", "/slug")]),
        ({"name": "x", "slug": "a\n"}, [("bad_value", "/slug")]),
        ({"name": "x", "slug": UNKNOWN}, [("bad_value", "/slug")]),
        ({"name": "x", "description": "x" * 10_001}, [("bad_value", "/description")]),
        ({"name": "x", "tenant_id": UNKNOWN}, [("unknown_key", "/tenant_id")]),
        ({"name": "x", "created_at": "2026-01-01"}, [("unknown_key", "/created_at")]),
        ({"name": "x", "definition": []}, [("not_an_object", "")]),
        ({"name": "x", "definition": None}, [("not_an_object", "")]),
        ({"name": "x", "definition": definition(*(step(f"s{n}") for n in range(5001)))}, [("too_large", "/steps")]),
    ],
)
def test_a_bad_workflow_is_refused_with_its_places(api, body, places):
    assert _places(_refused(api, "POST", "/workflows", body, 400, "VALIDATION_FAILED")) == places


def test_a_taken_slug_is_a_conflict(api):
    api.must("POST", "/workflows", {"name": "x", "slug": "ship"})
    _refused(api, "POST", "/workflows", {"name": "y", "slug": "ship"}, 409, "CONFLICT")
    assert Api().post("/workflows", {"name": "x", "slug": "ship"})[0] == 201


def test_a_workflow_is_read_by_id_and_by_slug(api):
    made = api.must("POST", "/workflows", {"name": "Ship", "definition": GOOD})
    api.must("POST", f"/workflows/{made['id']}/publish", {})
    api.must("PUT", "/workflows/ship/draft", {"definition": BAD})
    found = [api.get(f"/workflows/{name}") for name in (made["id"], made["id"].upper(), "ship")]
    assert found == [found[0]] * 3
    status, workflow = found[0]
    assert (status, workflow["id"], workflow["draft"], workflow["latest_version"]) == (200, made["id"], 2, 1)


@pytest.mark.parametrize(
    "name",
    ["ghost", UNKNOWN, "x" * 10_000, "%00", "a%0A", "Ship", "..%2F", "%E2%80%AE"],
)
def test_what_is_no_workflow_of_ours_is_not_found(api, name):
    foreign = VersionFactory(published=True).workflow
    for what in (name, foreign.slug, str(foreign.id)):
        _refused(api, "GET", f"/workflows/{what}", None, 404, "NOT_FOUND")
        _refused(api, "PUT", f"/workflows/{what}/draft", {"definition": GOOD}, 404, "NOT_FOUND")
        _refused(api, "POST", f"/workflows/{what}/publish", {}, 404, "NOT_FOUND")
        _refused(api, "POST", f"/workflows/{what}/archive", {}, 404, "NOT_FOUND")
        _refused(api, "GET", f"/workflows/{what}/versions", None, 404, "NOT_FOUND")
        _refused(api, "GET", f"/workflows/{what}/versions/1", None, 404, "NOT_FOUND")


def test_a_draft_is_answered_with_its_steps_transitions_and_problems(api):
    api.must("POST", "/workflows", {"name": "Ship"})
    one = step("a", timeout="1h30m", retry={"max_attempts": 3}, circuit_breaker={"key": "k"}, position={"x": 1, "y": 2})
    two = echo("b", x="${steps.ghost.output}")
    document = definition(one, two, transitions=[edge("a", "b", when="input.x", label="large"), edge("a", "b")])
    status, draft = api.call("PUT", "/workflows/ship/draft", {"definition": document})
    assert (status, draft.pop("created_at") is None) == (200, False)
    assert draft == {
        "id": str(WorkflowVersion.objects.get().id), "workflow_id": str(Workflow.objects.get().id), "version": 1,
        "revision": 1, "definition": document, "published_at": None, "published_by": None, "note": None,
        "steps": [
            {
                "id": "a", "kind": "Task", "name": "a", "config": {"name": "core.noop"}, "join": "all",
                "retry": {"max_attempts": 3}, "timeout_seconds": 5400.0, "circuit_breaker": {"key": "k"},
                "position": {"x": 1, "y": 2},
            },
            {
                "id": "b", "kind": "Task", "name": "b", "config": two["config"], "join": "all", "retry": None,
                "timeout_seconds": None, "circuit_breaker": None, "position": None,
            },
        ],
        "transitions": [
            {
                "id": "a:b", "from": "a", "to": "b", "on": "success", "when": "input.x", "default": False,
                "errors": None, "label": "large",
            },
            {
                "id": "a:b:2", "from": "a", "to": "b", "on": "success", "when": None, "default": False,
                "errors": None, "label": None,
            },
        ],
        "problems": [
            {
                "severity": "error", "code": "unknown_reference", "path": "/steps/1/config/args/x", "step_id": "b",
                "transition_id": None, "message": "There is no step 'ghost'. (column 1)",
            }
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        {}, {"steps": 5}, definition(5), definition(step([])), definition(step(kind={})), definition(step(retry=5)),
        definition(step(timeout="soon")), definition({"id": "a"}), {**definition(), "transitions": [5]},
        {**definition(), "transitions": None}, definition(step(retry={"errors": 5})),
    ],
)  # fmt: skip
def test_a_draft_may_be_as_incomplete_as_it_is(api, document):
    api.must("POST", "/workflows", {"name": "Ship"})
    saved = api.call("PUT", "/workflows/ship/draft", {"definition": document})
    assert (saved[0], saved[1]["definition"]) == (200, document)
    assert saved[1]["problems"] != []
    assert api.get("/workflows/ship/versions/1") == saved


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, [("missing_key", "/definition")]),
        ({"definition": GOOD, "base_revision": "1"}, [("bad_value", "/base_revision")]),
        ({"definition": GOOD, "base_revision": 0}, [("bad_value", "/base_revision")]),
        ({"definition": GOOD, "base_revision": True}, [("bad_value", "/base_revision")]),
        ({"definition": GOOD, "version": 1}, [("unknown_key", "/version")]),
        ({"definition": "x"}, [("not_an_object", "")]),
    ],
)
def test_a_bad_draft_is_refused_with_its_places(api, body, places):
    api.must("POST", "/workflows", {"name": "Ship"})
    assert _places(_refused(api, "PUT", "/workflows/ship/draft", body, 400, "VALIDATION_FAILED")) == places


def test_a_stale_draft_is_a_conflict_that_tells_the_revision(api):
    api.must("POST", "/workflows", {"name": "Ship", "definition": GOOD})
    api.must("PUT", "/workflows/ship/draft", {"definition": BAD, "base_revision": 1})
    stale = {"definition": GOOD, "base_revision": 1}
    problem = _refused(api, "PUT", "/workflows/ship/draft", stale, 409, "CONFLICT")
    assert "it is at revision 2" in problem["detail"]
    _refused(api, "POST", "/workflows/ship/publish", {"base_revision": 1}, 409, "CONFLICT")


def test_a_version_is_published_once_and_is_final(api):
    api.must("POST", "/workflows", {"name": "Ship", "definition": GOOD})
    status, version = api.post("/workflows/ship/publish", {"version": 1, "base_revision": 1, "note": "first"})
    assert (status, version["version"], version["published_by"], version["note"]) == (200, 1, "ci", "first")
    assert TIME.fullmatch(version["published_at"])
    assert api.get("/workflows/ship/versions/1") == (200, version)
    _refused(api, "POST", "/workflows/ship/publish", {}, 409, "CONFLICT")
    _refused(api, "POST", "/workflows/ship/publish", {"version": 1}, 409, "CONFLICT")
    _refused(api, "POST", "/workflows/ship/publish", {"version": 2**63 - 1}, 409, "CONFLICT")


def test_a_definition_with_errors_is_not_published(api):
    api.must("POST", "/workflows", {"name": "Ship", "definition": BAD})
    problem = _refused(api, "POST", "/workflows/ship/publish", {}, 400, "VALIDATION_FAILED")
    assert _places(problem) == [("bad_value", "/steps/0/join")]


@pytest.mark.parametrize(
    "body",
    [{"version": 0}, {"version": "1"}, {"note": "x" * 2001}, {"note": 5}, {"force": True}, {"base_revision": 1.0}],
)
def test_a_bad_publication_is_refused(api, body):
    api.must("POST", "/workflows", {"name": "Ship", "definition": GOOD})
    _refused(api, "POST", "/workflows/ship/publish", body, 400, "VALIDATION_FAILED")


def test_an_archived_workflow_is_out_of_the_list_and_not_published_until_it_is_back(api):
    made = api.must("POST", "/workflows", {"name": "Ship", "definition": GOOD})
    status, archived = api.post("/workflows/ship/archive")
    assert status == 200
    assert TIME.fullmatch(archived["archived_at"])
    assert api.get("/workflows")[1]["results"] == []
    assert [row["id"] for row in api.get("/workflows?archived=true")[1]["results"]] == [made["id"]]
    _refused(api, "POST", "/workflows/ship/publish", {}, 409, "CONFLICT")
    assert api.post("/workflows/ship/archive", {"archived": True}) == (200, archived)
    assert api.post("/workflows/ship/archive", {"archived": False})[1]["archived_at"] is None
    assert api.post("/workflows/ship/publish", {})[0] == 200


@pytest.mark.parametrize("body", [{"archived": "yes"}, {"archived": 1}, {"archived": None}, {"x": 1}])
def test_a_bad_archival_is_refused(api, body):
    api.must("POST", "/workflows", {"name": "Ship"})
    _refused(api, "POST", "/workflows/ship/archive", body, 400, "VALIDATION_FAILED")


CALLS = {
    "list": ("GET", "/workflows", None, Role.VIEWER),
    "get": ("GET", "/workflows/ship", None, Role.VIEWER),
    "versions": ("GET", "/workflows/ship/versions", None, Role.VIEWER),
    "version": ("GET", "/workflows/ship/versions/1", None, Role.VIEWER),
    "schema": ("GET", "/definitions/schema.json", None, Role.VIEWER),
    "validate": ("POST", "/definitions/validate", {"definition": GOOD}, Role.VIEWER),
    "create": ("POST", "/workflows", {"name": "x"}, Role.EDITOR),
    "draft": ("PUT", "/workflows/ship/draft", {"definition": GOOD}, Role.EDITOR),
    "publish": ("POST", "/workflows/ship/publish", {}, Role.EDITOR),
    "archive": ("POST", "/workflows/ship/archive", {}, Role.ADMIN),
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("call", CALLS)
def test_a_call_needs_its_role(call, role):
    method, path, body, lowest = CALLS[call]
    api = Api(role)
    VersionFactory(workflow=WorkflowFactory(tenant=api.tenant, slug="ship"), definition=GOOD)
    if role.rank >= lowest.rank:
        assert api.call(method, path, body)[0] in (200, 201)
    else:
        assert "permission workflows." in _refused(api, method, path, body, 403, "FORBIDDEN")["detail"]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_needs_a_caller(api, call):
    method, path, body, _ = CALLS[call]
    api.client.defaults.pop("HTTP_AUTHORIZATION", None)
    _refused(api, method, path, body, 401, "UNAUTHENTICATED", Authorization="Bearer srt_x")


@pytest.mark.parametrize("call", ["create", "draft", "publish", "archive"])
def test_a_repeat_under_one_key_is_answered_alike_and_done_once(api, call):
    method, path, body, _ = CALLS[call]
    VersionFactory(workflow=WorkflowFactory(tenant=api.tenant, slug="ship"), definition=GOOD)
    first = api.send(method, path, body, Idempotency_Key="k")
    before = _stored()
    second = api.send(method, path, body, Idempotency_Key="k")
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert (first.get("Idempotency-Replayed"), second["Idempotency-Replayed"]) == (None, "true")
    assert _stored() == before


def test_a_key_of_another_body_is_a_conflict_and_that_of_a_refused_call_is_free(api):
    _refused(api, "POST", "/workflows", {"name": ""}, 400, "VALIDATION_FAILED", Idempotency_Key="k")
    assert api.post("/workflows", {"name": "x"}, Idempotency_Key="k")[0] == 201
    _refused(api, "POST", "/workflows", {"name": "y"}, 409, "IDEMPOTENCY_CONFLICT", Idempotency_Key="k")
    assert Api().post("/workflows", {"name": "y"}, Idempotency_Key="k")[0] == 201
