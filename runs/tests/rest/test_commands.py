"""Commands over REST: what is legal when, and that a refusal changes nothing (RELIABILITY 4.2, 4.6)."""

import pytest

from runs.models import StepRun, WorkflowRun
from runs.tests.rest.client import Api, approval, flow, problem, refused, stored, task, told
from staterail.core.actor import Role
from workflows.models import Workflow

pytestmark = pytest.mark.django_db
ILLEGAL, FORBIDDEN = problem(409, "ILLEGAL_TRANSITION"), problem(403, "FORBIDDEN")
CONFLICT, INVALID = problem(409, "CONFLICT"), problem(400, "VALIDATION_FAILED")
MISSING = problem(404, "NOT_FOUND")


# Starting


def test_a_workflow_without_a_published_version_starts_nothing(api):
    made = api.must("POST", "/workflows", {"name": "n", "definition": flow("a")})
    refused(api, f"/workflows/{made['id']}/runs", {}, CONFLICT)
    refused(api, f"/workflows/{made['id']}/runs/batch", {"runs": [{}]}, CONFLICT)


def test_an_archived_workflow_starts_nothing_until_it_is_taken_back(api):
    workflow = api.published(flow("a"))
    api.must("POST", f"/workflows/{workflow}/archive")
    refused(api, f"/workflows/{workflow}/runs", {}, CONFLICT)
    api.must("POST", f"/workflows/{workflow}/archive", {"archived": False})
    assert api.started(workflow)


def test_a_draft_or_unknown_version_starts_nothing(api):
    workflow = api.published(flow("a"))
    api.must("PUT", f"/workflows/{workflow}/draft", {"definition": flow("b")})
    for version in (2, 3, 2**63 - 1):
        refused(api, f"/workflows/{workflow}/runs", {"version": version}, CONFLICT)


def test_an_older_version_can_still_be_run(api):
    workflow = api.published(flow("a"))
    api.must("PUT", f"/workflows/{workflow}/draft", {"definition": flow("b")})
    api.must("POST", f"/workflows/{workflow}/publish")
    runs = [api.started(workflow, version=1), api.started(workflow)]
    assert [[s["step_id"] for s in api.must("GET", f"/runs/{id}")["step_runs"]] for id in runs] == [["a"], ["b"]]


def test_an_input_that_does_not_fit_is_told_with_its_places(api):
    schema = {
        "type": "object", "required": ["id"], "additionalProperties": False,
        "properties": {"id": {"type": "string"}, "n": {"type": "array", "items": {"type": "integer"}}},
    }  # fmt: skip
    workflow = api.published(flow("a", input_schema=schema))
    answer = refused(api, f"/workflows/{workflow}/runs", {"input": {"n": [1, "x"], "more": 1}}, INVALID)
    assert {(found["code"], found["path"]) for found in answer["problems"]} == {
        ("missing_key", "/input"), ("unknown_key", "/input"), ("bad_value", "/input/n/1"),
    }  # fmt: skip
    assert api.post(f"/workflows/{workflow}/runs", {"input": {"id": "x"}})[0] == 201


# Where a run comes from


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("traceparent", "taken"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", True),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-comes", True),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_traceparent_sets_the_runs_trace_where_it_is_one(api, traceparent, taken):
    workflow = api.published(flow("a"))
    answer = api.send("POST", f"/workflows/{workflow}/runs", {}, traceparent=traceparent)
    run = answer.json()
    assert (run["trace_id"] == TRACE, len(run["trace_id"])) == (taken, 32)
    assert answer["X-Trace-Id"] == run["trace_id"]
    assert {event["trace_id"] for event in api.must("GET", f"/runs/{run['id']}/events")["results"]} == {run["trace_id"]}


def test_the_correlation_id_is_the_bodys_else_the_headers_else_the_runs(api):
    path = f"/workflows/{api.published(flow('a'))}/runs"
    given = api.must("POST", path, {"corr_id": "body"}, X_Correlation_Id="header")
    header = api.must("POST", path, {}, X_Correlation_Id="header")
    none = api.must("POST", path, {})
    assert [run["corr_id"] for run in (given, header, none)] == ["body", "header", none["id"]]
    items = [{"corr_id": "one"}, {}]
    ids = api.must("POST", f"{path}/batch", {"runs": items}, X_Correlation_Id="many")["run_ids"]
    assert [api.must("GET", f"/runs/{id}")["corr_id"] for id in ids] == ["one", "many"]


def test_a_commands_correlation_id_stands_in_the_events_it_causes(api, engine):
    run_id = api.started(api.published(flow(approval("review"))), corr_id="start")
    engine.wait(run_id, "review")
    seq = api.must("GET", f"/runs/{run_id}")["seq"]
    api.must("POST", f"/runs/{run_id}/cancel", {}, X_Correlation_Id="stop")
    events = api.must("GET", f"/runs/{run_id}/events")["results"]
    assert {event["corr_id"] for event in events[:seq]} == {"start"}
    assert {event["corr_id"] for event in events[seq:]} == {"stop"}


@pytest.mark.parametrize("given", ["", " ", "x" * 256, "schlüssel", "a\tb"])
def test_a_correlation_id_that_is_none_is_refused_by_commands(api, given):
    workflow = api.published(flow("a"))
    run_id = api.started(workflow)
    before = stored()
    paths = [f"/workflows/{workflow}/runs", f"/runs/{run_id}/cancel"]
    assert [told(api.post(path, {}, X_Correlation_Id=given)) for path in paths] == [INVALID] * 2
    assert stored() == before
    assert api.get(f"/runs/{run_id}", X_Correlation_Id=given)[0] == 200


# Cancel and retry


@pytest.fixture
def runs(api, engine):
    """One run in each state, by its state."""
    waiting, failing = (
        api.published(flow(approval("review"))),
        api.published(flow(task("a", "core.fail", code="x")), "f"),
    )
    made = {"pending": api.started(waiting), "running": api.started(waiting), "cancelled": api.started(waiting)}
    made |= {"failed": api.started(failing), "completed": api.started(api.published(flow("a"), "fine"))}
    api.must("POST", f"/runs/{made['cancelled']}/cancel")
    engine.finish(made["failed"], made["completed"])
    engine.wait(made["running"], "review")
    made["pending"] = api.started(waiting)
    return made


@pytest.mark.parametrize(
    ("state", "cancel", "retry"),
    [
        ("pending", 200, 409), ("running", 200, 409), ("completed", 409, 409), ("failed", 409, 200),
        ("cancelled", 200, 200),
    ],
)  # fmt: skip
def test_what_is_legal_is_what_the_run_says_is_allowed(api, runs, state, cancel, retry):
    run = api.must("GET", f"/runs/{runs[state]}")
    said = {action["action"]: action["allowed"] for action in run["allowed_actions"]}
    assert said == {"cancel": cancel == 200 and state != "cancelled", "retry": retry == 200, "run_again": True}
    before = stored()
    refusals = [verb for verb, status in (("cancel", cancel), ("retry", retry)) if status == 409]
    assert [told(api.post(f"/runs/{runs[state]}/{verb}")) for verb in refusals] == [ILLEGAL] * len(refusals)
    assert stored() == before
    for verb in {"cancel", "retry"} - set(refusals):
        assert api.post(f"/runs/{runs[state]}/{verb}")[0] == 200


def test_cancelling_a_cancelled_run_answers_it_and_changes_nothing(api, runs):
    before = stored()
    status, run = api.post(f"/runs/{runs['cancelled']}/cancel")
    assert (status, run["state"]) == (200, "cancelled")
    assert stored() == before


def test_a_run_that_is_being_cancelled_says_so(api, engine):
    run_id = api.started(api.published(flow(task("a", "core.sleep", seconds=30), "b")))
    engine.until(lambda: StepRun.objects.filter(run_id=run_id, step_id="a", state="running").exists())
    status, run = api.post(f"/runs/{run_id}/cancel", {"reason": "enough"})
    assert (status, run["state"], run["reason"]) == (200, "running", "cancelling")
    assert run["allowed_actions"][0] == {"action": "cancel", "allowed": False, "reason": "The run is being cancelled."}
    before = stored()
    assert api.post(f"/runs/{run_id}/cancel")[0] == 200
    assert stored() == before
    refused(api, f"/runs/{run_id}/steps/a/retry", {}, ILLEGAL)
    engine.reactor.poke(WorkflowRun.objects.get(id=run_id).id)
    engine.finish(run_id)
    assert api.must("GET", f"/runs/{run_id}")["state"] == "cancelled"


def test_only_a_failed_step_can_be_retried_and_once(api, engine, runs):
    for state in ("pending", "running", "cancelled"):
        refused(api, f"/runs/{runs[state]}/steps/review/retry", {}, ILLEGAL)
    refused(api, f"/runs/{runs['completed']}/steps/a/retry", {}, ILLEGAL)
    path = f"/runs/{runs['failed']}/steps/a/retry"
    assert api.post(path)[1]["state"] == "queued"
    refused(api, path, {}, ILLEGAL)


@pytest.mark.parametrize(
    ("given", "code", "path"),
    [
        (None, "bad_value", "/input"), ("x", "bad_value", "/input"), ({}, "missing_key", "/input/name"),
        ({"name": "no.such"}, "unknown_task", "/input/name"),
        ({"name": "core.echo", "args": []}, "bad_value", "/input/args"),
        ({"name": "core.echo", "arguments": {}}, "unknown_key", "/input/arguments"),
    ],
    ids=str,
)  # fmt: skip
def test_an_input_that_is_no_config_of_the_step_is_refused_where_it_is_wrong(api, runs, given, code, path):
    answer = refused(api, f"/runs/{runs['failed']}/steps/a/retry", {"input": given}, INVALID)
    assert [(found["code"], found["path"]) for found in answer["problems"]] == [(code, path)]


@pytest.mark.parametrize("step", ["b", "A", "a" * 63 + "!", "a" * 64, "%00", "a%00", "é", "x" * 10_000, "a;b", " a"])
def test_a_step_that_the_run_does_not_have_is_not_found(api, step):
    run = f"/runs/{api.started(api.published(flow('a', 'a' * 63)))}/steps"
    before = stored()
    answers = [
        api.get(f"{run}/{step}"), api.get(f"{run}/{step}/logs"), api.post(f"{run}/{step}/retry"),
        api.post(f"{run}/{step}/transition", {"action": "approve"}),
    ]  # fmt: skip
    assert [told(answer) for answer in answers] == [MISSING] * 4
    assert stored() == before


# Roles


@pytest.mark.parametrize("role", list(Role))
def test_a_role_too_low_is_forbidden_and_told_what_is_missing(api, runs, role):
    caller = Api(role, api.tenant)
    workflow = Workflow.objects.get(slug="fine").id
    calls = {
        "workflows.add_workflow": ("POST", "/workflows", {"name": "n"}),
        "workflows.change_workflow": ("PUT", f"/workflows/{workflow}/draft", {"definition": flow("a")}),
        "workflows.publish_workflow": ("POST", f"/workflows/{workflow}/publish", {}),
        "workflows.archive_workflow": ("POST", f"/workflows/{workflow}/archive", {"archived": False}),
        "workflows.operate_workflow": ("POST", f"/runs/{runs['cancelled']}/cancel", {}),
        "runs.decide_approval": ("POST", f"/runs/{runs['running']}/steps/review/transition", {"action": "approve"}),
    }
    may = {
        Role.VIEWER: set(), Role.OPERATOR: {"workflows.operate_workflow", "runs.decide_approval"},
        Role.EDITOR: set(calls) - {"workflows.archive_workflow"}, Role.ADMIN: set(calls),
    }[role]  # fmt: skip
    for permission, (method, path, body) in calls.items():
        before = stored()
        answer = caller.call(method, path, body)
        if permission in may:
            assert answer[0] < 300, (permission, answer)
        else:
            assert told(answer) == FORBIDDEN, permission
            assert permission in answer[1]["detail"]
            assert stored() == before


@pytest.mark.parametrize("path", ["/workflows/fine/runs", "/workflows/fine/runs/batch"])
def test_a_viewer_starts_nothing(api, runs, path):
    viewer = Api(Role.VIEWER, api.tenant)
    refused(viewer, path, {"runs": [{}]} if path.endswith("batch") else {}, FORBIDDEN)
    for verb in ("cancel", "retry"):
        refused(viewer, f"/runs/{runs['running']}/{verb}", {}, FORBIDDEN)
    refused(viewer, f"/runs/{runs['failed']}/steps/a/retry", {}, FORBIDDEN)
