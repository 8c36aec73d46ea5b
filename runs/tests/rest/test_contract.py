"""Every route of the contract: method, path, status, and the fields of its answer."""

import pytest

from runs.tests.rest.client import approval, flow, task

pytestmark = pytest.mark.django_db

WORKFLOW = {
    "id", "name", "slug", "description", "created_at", "updated_at", "archived_at", "draft", "latest_version",
}  # fmt: skip
VERSION = {
    "id", "workflow_id", "version", "revision", "definition", "steps", "transitions", "problems", "created_at",
    "published_at", "published_by", "note",
}  # fmt: skip
STEP = {"id", "kind", "name", "config", "join", "retry", "timeout_seconds", "circuit_breaker", "position"}
TRANSITION = {"id", "from", "to", "on", "when", "label"}
PROBLEM = {"severity", "code", "message", "path", "step_id", "transition_id"}
RUN = {
    "id", "workflow_id", "workflow_version_id", "state", "reason", "generation", "input", "output", "error",
    "metadata", "trigger", "started_by", "is_test", "created_at", "started_at", "completed_at", "duration_ms", "seq",
    "trace_id", "corr_id", "sla_breached", "sla_seconds", "current_steps", "failure", "allowed_actions",
}  # fmt: skip
SIZES = {"input_bytes", "output_bytes"}
STEP_RUN = {
    "id", "run_id", "step_id", "item_index", "kind", "state", "attempt", "reason", "wake_at", "queued_at",
    "started_at", "completed_at", "duration_ms", "input", "output", "error", "allowed_actions",
}  # fmt: skip
EVENT = {
    "id", "event_type", "workflow_id", "workflow_version", "run_id", "seq", "step_id", "item_index", "generation",
    "attempt", "state_before", "state_after", "payload", "ts", "trace_id", "corr_id", "emitter",
}  # fmt: skip
LOG_LINE = {"number", "ts", "attempt", "level", "message"}
APPROVAL = {
    "step_run_id", "run_id", "step_id", "workflow_id", "title", "instructions", "assignees", "requested_at", "due_at",
    "form_schema", "can_act",
}  # fmt: skip
FAILURE = {"step_id", "attempt", "code", "message", "signature", "at", "similar_runs_24h"}
ACTION = {"action", "allowed", "reason"}

DEFINITION = flow("a", approval(), transitions=[{"from": "a", "to": "review"}])


@pytest.fixture
def workflow(api):
    return api.published(DEFINITION)


@pytest.fixture
def waiting(api, engine, workflow):
    run_id = api.started(workflow)
    engine.wait(run_id, "review")
    return run_id


def test_workflows(api):
    status, made = api.post("/workflows", {"name": "Ship an order", "definition": DEFINITION})
    assert (status, set(made)) == (201, WORKFLOW)
    assert (made["slug"], made["description"], made["draft"], made["latest_version"]) == ("ship-an-order", "", 1, None)
    assert api.get(f"/workflows/{made['id']}") == api.get("/workflows/ship-an-order") == (200, made)
    assert api.get("/workflows") == (200, {"results": [made], "next_cursor": None})


def test_drafts_versions_and_publishing(api):
    made = api.must("POST", "/workflows", {"name": "flow"})
    status, draft = api.call("PUT", f"/workflows/{made['id']}/draft", {"definition": DEFINITION})
    assert (status, set(draft)) == (200, VERSION)
    assert [set(step) for step in draft["steps"]] == [STEP, STEP]
    assert all(set(transition) >= TRANSITION for transition in draft["transitions"])

    status, version = api.post(f"/workflows/{made['id']}/publish", {"base_revision": draft["revision"], "note": "go"})
    assert (status, set(version), version["note"], version["published_by"]) == (200, VERSION, "go", "ci")
    assert api.get(f"/workflows/{made['id']}/versions/1") == (200, version)
    assert api.get(f"/workflows/{made['id']}/versions") == (200, {"results": [version], "next_cursor": None})


def test_publishing_a_broken_draft_lists_its_problems(api):
    made = api.must("POST", "/workflows", {"name": "flow", "definition": {"schema": "staterail.workflow/v1"}})
    status, told = api.post(f"/workflows/{made['id']}/publish", {})
    assert (status, told["code"]) == (400, "VALIDATION_FAILED")
    assert {frozenset(problem) for problem in told["problems"]} == {frozenset(PROBLEM)}


def test_archiving(api, workflow):
    status, archived = api.post(f"/workflows/{workflow}/archive", {})
    assert (status, set(archived), archived["archived_at"] is None) == (200, WORKFLOW, False)
    status, back = api.post(f"/workflows/{workflow}/archive", {"archived": False})
    assert (status, back["archived_at"]) == (200, None)


def test_validation(api):
    assert api.post("/definitions/validate", {"definition": DEFINITION}) == (200, {"problems": []})
    status, told = api.post("/definitions/validate", {"definition": 1})
    assert (status, [problem["code"] for problem in told["problems"]]) == (200, ["not_an_object"])
    assert set(told["problems"][0]) == PROBLEM


def test_the_schema_of_the_language(api):
    status, schema = api.get("/definitions/schema.json")
    assert (status, schema["$schema"]) == (200, "https://json-schema.org/draft/2020-12/schema")


def test_starting_a_run(api, workflow):
    body = {"input": {"n": 1}, "metadata": {"team": "a"}, "version": 1, "corr_id": "c-1"}
    status, run = api.post(f"/workflows/{workflow}/runs", body)
    assert (status, set(run)) == (201, RUN | SIZES)
    assert {name: run[name] for name in ("input", "metadata", "corr_id", "state", "trigger", "started_by")} == {
        "input": {"n": 1}, "metadata": {"team": "a"}, "corr_id": "c-1", "state": "pending", "trigger": "api",
        "started_by": "ci",
    }  # fmt: skip
    assert run["workflow_id"] == workflow
    assert api.get("/runs") == (200, {"results": [run], "next_cursor": None})


def test_starting_many_runs(api, workflow):
    status, answer = api.post(f"/workflows/{workflow}/runs/batch", {"runs": [{"input": {"n": n}} for n in range(3)]})
    assert (status, set(answer)) == (201, {"run_ids"})
    inputs = [api.must("GET", f"/runs/{id}")["input"]["n"] for id in answer["run_ids"]]
    assert inputs == [0, 1, 2]


def test_a_run_with_its_steps(api, waiting):
    status, run = api.get(f"/runs/{waiting}")
    assert (status, set(run)) == (200, RUN | SIZES | {"step_runs"})
    assert (run["state"], run["reason"], run["current_steps"]) == ("running", "waiting_approval", ["review"])
    assert [set(step) for step in run["step_runs"]] == [STEP_RUN | SIZES] * 2
    assert [(s["step_id"], s["state"], s["reason"]) for s in run["step_runs"]] == [
        ("a", "succeeded", None), ("review", "running", "waiting_approval"),
    ]  # fmt: skip
    assert {frozenset(action) for action in run["allowed_actions"]} == {frozenset(ACTION)}
    assert [a["action"] for a in run["allowed_actions"]] == ["cancel", "retry", "run_again"]
    assert [a["action"] for a in run["step_runs"][1]["allowed_actions"]] == ["retry_step", "approve", "reject"]


def test_idle_steps_are_told_before_they_have_a_row(api, workflow):
    steps = api.must("GET", f"/runs/{api.started(workflow)}")["step_runs"]
    assert [(s["step_id"], s["kind"], s["state"], s["attempt"]) for s in steps] == [
        ("a", "Task", "queued", 0), ("review", "HumanApproval", "idle", 0),
    ]  # fmt: skip


def test_a_step_keeps_its_id_for_the_life_of_the_run(api, engine, workflow):
    run_id = api.started(workflow)
    before = api.step(run_id, "review")
    engine.wait(run_id, "review")
    after = api.step(run_id, "review")
    assert set(before) == set(after) == STEP_RUN | SIZES
    assert (before["id"], before["state"]) == (after["id"], "idle")


def test_events(api, waiting):
    status, page = api.get(f"/runs/{waiting}/events")
    assert (status, set(page)) == (200, {"results"})
    assert {frozenset(event) for event in page["results"]} == {frozenset(EVENT)}
    assert [event["seq"] for event in page["results"]] == list(range(1, len(page["results"]) + 1))
    assert len({event["id"] for event in page["results"]}) == len(page["results"])
    first = page["results"][0]
    assert (first["state_before"], first["state_after"], first["event_type"]) == (None, "created", "state_changed")


def test_logs(api, engine):
    run_id = api.started(api.published(flow(task("a", "core.flaky", succeed_on_attempt=1, value=1))))
    engine.finish(run_id)
    assert api.get(f"/runs/{run_id}/steps/a/logs") == (200, {"results": []})


def test_cancelling(api, waiting):
    status, run = api.post(f"/runs/{waiting}/cancel", {"reason": "enough"})
    assert (status, set(run), run["state"], run["reason"]) == (200, RUN | SIZES, "cancelled", "operator")


def test_retrying(api, waiting):
    api.must("POST", f"/runs/{waiting}/cancel")
    status, run = api.post(f"/runs/{waiting}/retry", {})
    assert (status, set(run), run["state"], run["generation"]) == (200, RUN | SIZES, "pending", 2)


def test_a_failed_run_says_why_and_its_step_can_be_retried(api, engine):
    run_id = api.started(api.published(flow(task("a", "core.fail", code="bad", message="order 17 is gone"))))
    engine.finish(run_id)
    run = api.must("GET", f"/runs/{run_id}")
    assert (run["state"], run["reason"], run["error"]["step_id"]) == ("failed", "step_failed", "a")
    assert set(run["failure"]) == FAILURE
    assert (run["failure"]["code"], run["failure"]["message"], run["failure"]["attempt"]) == (
        "bad", "order 17 is gone", 1,
    )  # fmt: skip

    status, step = api.post(f"/runs/{run_id}/steps/a/retry", {"input": {"name": "core.echo", "args": {"ok": True}}})
    assert (status, set(step), step["state"]) == (200, STEP_RUN | SIZES, "queued")
    engine.finish(run_id)
    assert api.step(run_id, "a")["output"] == {"ok": True}


def test_deciding_an_approval(api, engine, waiting):
    status, page = api.get("/approvals")
    assert (status, set(page), [set(a) for a in page["results"]]) == (200, {"results"}, [APPROVAL])
    assert (page["results"][0]["run_id"], page["results"][0]["can_act"]) == (waiting, True)

    status, step = api.post(f"/runs/{waiting}/steps/review/transition", {"action": "approve", "comment": "fine"})
    assert (status, set(step), step["state"]) == (200, STEP_RUN | SIZES, "succeeded")
    assert (step["output"]["action"], step["output"]["actor"], step["output"]["comment"]) == ("approve", "ci", "fine")
    assert api.get("/approvals") == (200, {"results": []})
    engine.finish(waiting)
    assert api.must("GET", f"/runs/{waiting}")["state"] == "completed"


def test_times_are_utc_and_ids_uuids(api, waiting):
    run = api.must("GET", f"/runs/{waiting}")
    assert run["created_at"].endswith("Z")
    assert run["step_runs"][1]["queued_at"].endswith("Z")
    assert {len(run["id"]), len(run["step_runs"][0]["id"])} == {36}
