"""What the log tells, and in which order (SEMANTICS 6)."""

import json
from datetime import timedelta
from typing import Any

import pytest

from runs.machine import resolving
from runs.machine.decide import decide, decide_all
from runs.machine.decision import Event
from runs.machine.stimuli import Cancel, Due, RetryRun, RetryStep, Start, StartReady
from runs.tests.machine.simulation import NOON, Simulation, by_step, definition, done, failed, flaky
from staterail.core.strict_json import dumps

ECHO = '{"name":"core.echo","args":{}}'


def test_a_run_s_whole_log() -> None:
    run = Simulation(definition("a b", ("a", "b", {"when": "input.n == 2"})), '{"n": 2}').start()

    run.later(1).finish("a").start().later(1).finish("b")

    one, two = NOON + timedelta(seconds=1), NOON + timedelta(seconds=2)
    resolved = [
        {"transition": "a:b", "taken": True, "reason": "success", "when": "input.n == 2", "operands": {"input.n": 2}}
    ]
    ready, started = {"reason": "ready"}, {"worker": "w", "reason": "executing"}
    ended = {"duration_ms": 1000, "reason": None}
    assert run.events == [
        Event(1, "state_changed", None, 1, None, None, "created", {"reason": None, "trigger": "api"}, NOON, "corr"),
        Event(2, "state_changed", None, 1, None, "created", "pending", {"reason": None}, NOON, "corr"),
        Event(3, "state_changed", "a", 1, 0, "idle", "queued", ready, NOON, "corr"),
        Event(4, "run_started", None, 1, None, "pending", "running", {"trigger": "api"}, NOON, "corr"),
        Event(5, "step_started", "a", 1, 1, "queued", "running", started, NOON, "corr"),
        Event(6, "step_completed", "a", 1, 1, "running", "succeeded", {**ended, "resolved": resolved}, one, "corr"),
        Event(7, "state_changed", "b", 1, 0, "idle", "queued", ready, one, "corr"),
        Event(8, "step_started", "b", 1, 1, "queued", "running", started, one, "corr"),
        Event(9, "step_completed", "b", 1, 1, "running", "succeeded", {**ended, "resolved": []}, two, "corr"),
        Event(10, "state_changed", None, 1, None, "running", "completed", {"reason": None}, two, "corr"),
    ]


def test_a_step_that_failed_tells_its_error_and_its_transitions() -> None:
    run = Simulation(definition("a b", "a b")).start()

    run.later(1.5).finish("a", failed("boom"))

    (event,) = run.told("a", "step_failed")
    assert event.payload == {
        "error": {"code": "boom", "message": "boom", "retryable": False},
        "duration_ms": 1500,
        "resolved": [{"transition": "a:b", "taken": False, "reason": "other_outcome", "when": None, "operands": None}],
        "reason": "error",
    }


def test_an_attempt_that_ended_in_a_retry_tells_its_wait_and_no_transition() -> None:
    run = Simulation(definition({"a": {"retry": {"max_attempts": 2, "jitter": "none"}}, "b": {}}, "a b")).start()

    run.finish("a", flaky())

    (event,) = run.told("a", "step_failed")
    assert event.payload == {
        "error": {"code": "flaky", "message": "flaky", "retryable": True},
        "duration_ms": 0,
        "delay_ms": 1000,
        "ceiling_ms": 1000,
        "due_at": (NOON + timedelta(seconds=1)).isoformat(),
        "reason": "backoff",
    }


def test_a_skip_tells_its_transitions() -> None:
    run = Simulation(definition("a b c", ("a", "b", {"when": "false"}), "b c")).drive()

    (event,) = run.told("b")
    assert event.payload == {
        "reason": "condition",
        "resolved": [{"transition": "b:c", "taken": False, "reason": "source_skipped", "when": None, "operands": None}],
    }


def test_a_step_that_waits_tells_until_when() -> None:
    run = Simulation(definition({"d": {"kind": "Delay", "config": {"for": "5s"}}})).start()

    (event,) = run.told("d", "step_started")
    assert event.payload == {
        "worker": "w", "wake_at": (NOON + timedelta(seconds=5)).isoformat(), "reason": "waiting_timer",
    }  # fmt: skip


def test_large_values_that_a_condition_read_are_told_by_their_size() -> None:
    document = definition("a b", ("a", "b", {"when": "steps.a.output.text != 'x'"}))
    run = Simulation(document).drive(by_step(a=done({"text": "y" * 5000})))

    (entry,) = run.told("a", "step_completed")[0].payload["resolved"]
    assert entry["operands"] == {"steps.a.output.text": "(5000 characters)"}


def forked(edge: str, on: str, count: int, text: str) -> list[dict[str, Any]]:
    """The entries of a step's event, each of whose conditions reads `text` and a number."""
    when = {"on": on, "when": f"input.text != '' && input.n == {edge}"}
    steps = {"a": {}, **{f"t{n}": {} for n in range(count)}}
    document = definition(steps, *(("a", f"t{n}", when) for n in range(count)), on_failure="continue")
    run = Simulation(document, json.dumps({"text": text, "n": 1})).start()
    run.finish("a", done() if on == "success" else failed())
    (event,) = run.told("a", "step_completed" if on == "success" else "step_failed")
    run.check()
    entries: list[dict[str, Any]] = event.payload["resolved"]
    return entries


@pytest.mark.parametrize("on", ["success", "failure", "always"])
@pytest.mark.parametrize("n", [1, 2])
def test_the_operands_of_an_event_have_a_budget_and_what_is_left_out_is_counted(on: str, n: int) -> None:
    entries = forked(str(n), on, 100, "é" * 2000)

    whole = {"input.text": "é" * 2000, "input.n": 1}
    kept = [entry["operands"] for entry in entries if entry["operands"] == whole]
    cut, *after = [entry["operands"] for entry in entries[len(kept) :]]
    values = sum(len(operands) for operands in (*kept, cut)) - 1
    assert cut.pop("…") == f"({200 - values} values of this event are left out)"
    assert cut.items() <= whole.items()
    assert after == [{}] * (99 - len(kept))
    assert 60_000 < len(dumps(kept)) < 65_536
    assert {entry["taken"] for entry in entries} == {n == 1}


def test_operands_that_fit_one_by_one_are_not_said_to_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {"input.text": "x", "input.n": 1}
    monkeypatch.setattr(resolving, "MAX_OPERANDS", len(dumps(whole)) - 1)

    assert [entry["operands"] for entry in forked("1", "success", 1, "x")] == [whole]


def test_operands_within_the_budget_stay_whole() -> None:
    assert [entry["operands"] for entry in forked("1", "success", 30, "x" * 2000)] == [
        {"input.text": "x" * 2000, "input.n": 1}
    ] * 30


def test_a_condition_that_fails_past_the_budget_is_told_with_its_own_operands() -> None:
    steps = {"a": {}, **{f"t{n}": {} for n in range(101)}}
    edges = [("a", f"t{n}", {"when": "input.text != ''"}) for n in range(100)]
    run = Simulation(
        definition(steps, *edges, ("a", "t100", {"when": "input.text == 1 / 0"})), json.dumps({"text": "x" * 2000})
    )
    run.start().finish("a")

    *_, last = run.told("a", "step_failed")[0].payload["resolved"]
    assert (last["reason"], last["operands"]) == ("expression_error", {"input.text": "x" * 2000})


def test_a_run_s_output_keeps_the_order_in_which_the_keys_were_written() -> None:
    written = '{"zebra":1,"quick":{"9":1,"10":2},"fox":3,"jumps":4,"over":5}'
    run = Simulation(definition("a", output={"out": "${input}", "inner": "${input.quick}"}), written)

    assert run.drive().run.run.output == f'{{"out":{written},"inner":{{"9":1,"10":2}}}}'


def test_the_end_of_the_last_step_precedes_the_end_of_the_run() -> None:
    run = Simulation(definition("a b c", "a b", "b c")).drive(by_step(a=failed()))

    assert [(e.step_id, e.state_after) for e in run.events[-4:]] == [
        ("a", "failed"), ("b", "skipped"), ("c", "skipped"), (None, "failed"),
    ]  # fmt: skip


def test_seq_is_1_2_3_without_a_gap_within_a_run() -> None:
    run = Simulation(definition("a b", "a b")).drive(by_step(a=failed()))
    run.tell(RetryRun())
    run.drive()

    assert [e.seq for e in run.events] == list(range(1, len(run.events) + 1))
    assert run.run.run.seq == len(run.events)


def test_ts_never_runs_back_though_the_clock_does() -> None:
    run = Simulation(definition("a b", "a b")).start()
    run.later(10).finish("a")

    run.later(-3600).start().finish("b")

    assert [e.ts for e in run.events] == sorted(e.ts for e in run.events)
    assert run.run.run.completed_at == NOON + timedelta(seconds=10)


def test_one_correlation_id_may_serve_many_commands() -> None:
    run = Simulation(definition({"r": {"kind": "HumanApproval", "config": {"title": "t"}}, "z": {}}, "r z")).start()

    for command in (Cancel("same"), RetryRun("same")):
        run.tell(command)
    run.start().tell(Cancel("same"))
    run.tell(RetryRun("same"))

    run.check()  # no two events of a change agree in the key that consumers may dedupe on


def test_a_command_without_a_correlation_id_is_told_under_the_run_s() -> None:
    run = Simulation(definition("a")).drive(by_step(a=failed()))

    run.tell(RetryStep("a"))

    assert {e.corr_id for e in run.events} == {"corr"}


def test_several_stimuli_are_one_decision() -> None:
    run = Simulation(
        definition({"a": {}, "d": {"kind": "Delay", "config": {"for": "1s"}}, "z": {}}, "a z", "d z")
    ).start()
    (command,) = run.executing.values()
    stimuli = [done(), Due(1), StartReady(5, "w")]
    stimuli[0].step, stimuli[0].attempt = command.step, command.attempt  # type: ignore[union-attr]

    decision = decide_all(run.run, stimuli, NOON + timedelta(seconds=1))

    assert decision.expected == run.run.run.revision
    assert decision.run.revision == run.run.run.revision + 1
    assert [(e.step_id, e.state_after) for e in decision.events] == [
        ("a", "succeeded"), ("d", "succeeded"), ("z", "queued"), ("z", "running"),
    ]  # fmt: skip


def test_a_run_is_started_once() -> None:
    run = Simulation(definition("a"))

    assert not decide(run.run, Start(), NOON).changes


@pytest.mark.parametrize("outcome", [done(None), done(False), done(0), done(""), done([])])
def test_an_empty_output_is_an_output(outcome: object) -> None:
    run = Simulation(definition("a", output="${steps.a.output}")).drive(by_step(a=outcome))  # type: ignore[arg-type]

    assert run.run.run.output == run.row("a").output
    assert json.loads(run.run.run.output or "") == json.loads(outcome.output)  # type: ignore[attr-defined]
