"""Inputs and outputs: inline up to 64 KiB each and 1 MiB in all, else told by their size."""

import pytest

from runs.models import WorkflowRun
from runs.tests.rest.client import Api, approval, flow, problem, task, told
from staterail.core.actor import Role

pytestmark = pytest.mark.django_db
KIB = 1024


def text_of(size):
    """A JSON string of this many bytes, its quotes counted."""
    return "x" * (size - 2)


@pytest.fixture
def echo(api):
    return api.published(flow(task("a", "core.echo", text="${input}"), output="${steps.a.output.text}"), "echo")


@pytest.mark.parametrize(("size", "inline"), [(64 * KIB, True), (64 * KIB + 1, False), (600 * KIB, False)])
def test_a_runs_input_and_output_stand_inline_up_to_64_kib(api, engine, echo, size, inline):
    value = text_of(size)
    run_id = api.started(echo, input=value)
    engine.finish(run_id)
    run = api.must("GET", f"/runs/{run_id}")
    shown = (value, value, None, None) if inline else (None, None, size, size)
    assert (run["input"], run["output"], run["input_bytes"], run["output_bytes"]) == shown

    row = api.must("GET", "/runs")["results"][0]
    assert (row["input"], row["output"], row["input_bytes"], row["output_bytes"]) == shown


def test_a_step_alone_is_told_whole(api, engine, echo):
    value = text_of(100 * KIB)
    run_id = api.started(echo, input=value)
    engine.finish(run_id)
    [short] = api.must("GET", f"/runs/{run_id}")["step_runs"]
    assert (short["input"], short["output"]) == (None, None)
    assert short["output_bytes"] == len('{"text":""}') + 100 * KIB - 2
    whole = api.step(run_id, "a")
    assert (whole["output"], whole["output_bytes"]) == ({"text": value}, None)
    assert whole["input"]["args"] == {"text": value}


def test_what_is_empty_is_not_left_out(api, engine):
    run_id = api.started(api.published(flow("a")), input=None)
    engine.finish(run_id)
    run = api.must("GET", f"/runs/{run_id}")
    assert (run["input"], run["output"], run["input_bytes"], run["output_bytes"]) == (None, None, None, None)


def test_all_inline_values_of_a_run_make_1_mib_at_most(api, engine):
    steps = [task(f"s{n}", "core.echo", text="${input}") for n in range(30)]
    run_id = api.started(api.published(flow(*steps)), input=text_of(60 * KIB))
    engine.finish(run_id)
    answer = api.send("GET", f"/runs/{run_id}")
    run = answer.json()
    values = [part for part in [run, *run["step_runs"]] for name in ("input", "output") if part[name] is not None]
    assert len(values) == 17  # 17 * 60 KiB are just under 1 MiB
    left_out = [
        step for step in run["step_runs"] if step["input_bytes"] is not None or step["output_bytes"] is not None
    ]
    assert all(step[name] is None for step in left_out for name in ("input", "output") if step[f"{name}_bytes"])
    assert 17 * 60 * KIB < len(answer.content) < 1024 * KIB + 64 * KIB


def test_all_inline_values_of_a_list_make_1_mib_at_most(api):
    workflow = api.published(flow("a"))
    for _ in range(20):
        api.started(workflow, input=text_of(60 * KIB))
    rows = api.must("GET", "/runs")["results"]
    assert [row["input"] is not None for row in rows] == [True] * 17 + [False] * 3
    assert {row["input_bytes"] for row in rows[17:]} == {60 * KIB}


@pytest.mark.parametrize("name", ["input", "metadata"])
def test_what_a_run_is_given_has_1_mib_at_most(api, name):
    workflow = api.published(flow("a"))
    fits, too_large = {"é": "é" * (512 * KIB - 8)}, {"é": "é" * 512 * KIB}
    assert api.post(f"/workflows/{workflow}/runs", {name: fits})[0] == 201
    assert told(api.post(f"/workflows/{workflow}/runs", {name: too_large})) == problem(413, "PAYLOAD_TOO_LARGE")
    assert WorkflowRun.objects.count() == 1


def test_what_a_step_is_given_anew_has_1_mib_at_most(api, engine):
    run_id = api.started(api.published(flow(task("a", "core.fail", code="bad"))))
    engine.finish(run_id)
    before = api.must("GET", f"/runs/{run_id}")
    answer = api.post(f"/runs/{run_id}/steps/a/retry", {"input": {"x": "x" * 1024 * KIB}})
    assert told(answer) == problem(413, "PAYLOAD_TOO_LARGE")
    assert api.must("GET", f"/runs/{run_id}") == before


def test_a_viewer_sees_states_and_events_but_no_payloads(api, engine):
    workflow = api.published(flow(task("a", "core.echo", x=1), approval("review"), output=1))
    run_id = api.started(workflow, input={"card": 1234})
    engine.wait(run_id, "review")
    viewer = Api(Role.VIEWER, api.tenant)
    run = viewer.must("GET", f"/runs/{run_id}")
    shown = [run, *run["step_runs"], viewer.step(run_id, "a"), *viewer.must("GET", "/runs")["results"]]
    assert {part[name] for part in shown for name in ("input", "output", "input_bytes", "output_bytes")} == {None}
    assert (run["reason"], run["current_steps"]) == ("waiting_approval", ["review"])
    assert viewer.get(f"/runs/{run_id}/events")[0] == 200
    assert viewer.get("/approvals") == (200, {"results": []})
    actions = [*run["allowed_actions"], *run["step_runs"][1]["allowed_actions"]]
    assert {action["allowed"] for action in actions} == {False}
    assert all("permission" in action["reason"] or "failed" in action["reason"] for action in actions)


@pytest.fixture
def viewer(api):
    return Api(Role.VIEWER, api.tenant)


def test_a_viewer_reads_no_logs(api, engine, viewer):
    run_id = api.started(api.published(flow("a")))
    engine.finish(run_id)
    path = f"/runs/{run_id}/steps/a/logs"
    assert api.get(path)[0] == 200
    answers = [viewer.get(path), viewer.find(path, search="x")]
    assert [told(answer) for answer in answers] == [problem(403, "FORBIDDEN")] * 2
    assert "runs.view_payload" in answers[0][1]["detail"]


def test_a_viewer_reads_that_a_step_failed_but_not_its_errors_details(api, engine, viewer):
    run_id = api.started(api.published(flow(approval("review"))))
    engine.wait(run_id, "review")
    decision = {"action": "reject", "data": {"card": "canary"}}
    api.must("POST", f"/runs/{run_id}/steps/review/transition", decision)
    engine.finish(run_id)
    paths = ["/runs", f"/runs/{run_id}", f"/runs/{run_id}/steps/review", f"/runs/{run_id}/events"]
    assert all(b'"canary"' in api.send("GET", path).content for path in paths[2:])
    assert not any(b'"canary"' in viewer.send("GET", path).content for path in paths)
    error = viewer.step(run_id, "review")["error"]
    assert (error["code"], error["details"]) == ("rejected", None)
    [failed] = [e for e in viewer.must("GET", f"/runs/{run_id}/events")["results"] if e["event_type"] == "step_failed"]
    assert failed["payload"]["error"] == error


def test_a_viewer_reads_which_way_a_run_went_but_not_what_its_conditions_read(api, engine, viewer):
    way = [{"from": "a", "to": "b", "when": "input.card == 'canary-7'"}, {"from": "a", "to": "c", "default": True}]
    run_id = api.started(api.published(flow("a", "b", "c", transitions=way)), input={"card": "canary-8"})
    engine.finish(run_id)

    def resolved(caller):
        events = caller.must("GET", f"/runs/{run_id}/events")["results"]
        return next(event["payload"]["resolved"] for event in events if event["event_type"] == "step_completed")

    whole = resolved(api)
    assert whole[0]["operands"] == {"input.card": "canary-8"}
    assert resolved(viewer) == [{**transition, "operands": None} for transition in whole]


def test_a_viewers_search_does_not_look_into_inputs(api, viewer):
    run_id = api.started(api.published(flow("a")), input={"card": "1234"}, metadata={"team": "blue"})

    def found(caller, text):
        return [row["id"] for row in caller.find("/runs", search=text)[1]["results"]]

    assert [found(caller, "card:1234") for caller in (api, viewer)] == [[run_id], []]
    assert [found(caller, "team:blue") for caller in (api, viewer)] == [[run_id], [run_id]]


def test_a_run_knows_its_sla(api, engine):
    answers = []
    for n, sla in enumerate(["1m30s", 2.5, None]):
        settings = {} if sla is None else {"sla": sla}
        run_id = api.started(api.published(flow("a", **settings), f"sla{n}"))
        engine.finish(run_id)
        run = api.must("GET", f"/runs/{run_id}")
        answers.append((run["sla_seconds"], run["sla_breached"]))
    assert answers == [(90.0, False), (2.5, False), (None, False)]


def test_a_definition_that_this_release_cannot_read_fails_its_run_alone(api, engine):
    """F-47: lists and details still load."""
    workflow = api.published(flow("a", sla="1s"))
    run_id = api.started(workflow)
    fine = api.started(workflow)
    WorkflowRun.objects.filter(id=run_id).update(definition={"schema": "staterail.workflow/v9", "sla": "soon"})
    engine.finish(run_id, fine)
    assert [row["state"] for row in api.must("GET", "/runs")["results"]] == ["completed", "failed"]
    run = api.must("GET", f"/runs/{run_id}")
    assert (run["state"], run["error"]["code"]) == ("failed", "engine_error")
    assert api.get(f"/runs/{run_id}/steps/a")[0] == 200
