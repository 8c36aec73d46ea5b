import copy
import time

import pytest

from staterail.testing.event_log import faults
from staterail.tests.journeys.scenarios import SCENARIOS


def _told(step):
    words = (step["state"], step["reason"] if step["state"] != "succeeded" else None, step["attempt"])
    return " ".join(str(word) for word in words if word is not None)


def _do(api, run_id, doing):
    if doing.step:
        api.step_in(run_id, doing.step, doing.when)
    else:
        api.ended(run_id)
    status, answer = api.call("POST", f"/api/v1/runs/{run_id}{doing.path}", doing.body)
    assert (status, answer.get("code", "")) == (doing.status, doing.code), answer


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.rule.replace(" ", "-"))
def test_rule(api, scenario):
    began = time.monotonic()
    run_id = api.start(api.publish(scenario.definition), scenario.input)

    for doing in scenario.doings:
        _do(api, run_id, doing)
    run = api.ended(run_id)

    took = time.monotonic() - began
    assert {step["step_id"]: _told(step) for step in run["step_runs"]} == scenario.steps
    came_to = (run["state"], (run["error"] or {}).get("code"), run["output"], run["generation"])
    assert came_to == (scenario.state, scenario.error, scenario.output, scenario.generation)
    outputs = {step["step_id"]: step["output"] for step in run["step_runs"] if step["step_id"] in scenario.outputs}
    assert outputs == scenario.outputs
    assert took >= scenario.takes
    for step_id, lines in scenario.logs.items():
        logs = api.must("GET", f"/api/v1/runs/{run_id}/steps/{step_id}/logs")["results"]
        assert [line["message"] for line in logs] == lines
    assert faults(scenario.definition, run, api.events(run_id)) == []


SPOILT = {
    "an event is gone": lambda events: events.pop(4),
    "an event came twice": lambda events: events.insert(4, events[4]),
    "time runs back": lambda events: events[-1].update(ts=events[0]["ts"]),
    "a step leaps": lambda events: _started(events).update(state_before="idle"),
    "an attempt is missing": lambda events: _started(events).update(attempt=2),
    "an end is untold": lambda events: events[-1].update(state_after="running"),
    "a type tells something else": lambda events: _started(events).update(event_type="state_changed"),
    "an edge did not resolve": lambda events: _ended(events)["payload"]["resolved"].pop(),
    "nothing led to a step": lambda events: _ended(events)["payload"]["resolved"][0].update(taken=False),
}


def _started(events):
    return next(event for event in events if event["event_type"] == "step_started")


def _ended(events):
    return next(event for event in events if event["event_type"] == "step_completed")


def test_the_judge_of_event_logs_finds_each_way_to_spoil_one(api):
    definition = SCENARIOS[0].definition
    run_id = api.start(api.publish(definition), SCENARIOS[0].input)
    run, events = api.ended(run_id), api.events(run_id)
    assert faults(definition, run, events) == []

    unseen = []
    for how, spoil in SPOILT.items():
        log = copy.deepcopy(events)
        spoil(log)
        unseen += [how] if not faults(definition, run, log) else []
    assert unseen == []
