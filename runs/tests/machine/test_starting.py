"""How a queued step begins an attempt, or cannot (SEMANTICS 1, 2 and 4)."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from runs.machine.decision import Execute
from runs.machine.stimuli import BreakerClosed, StartReady
from runs.tests.machine.simulation import NOON, Simulation, by_step, definition, done, failed, flaky

SECOND = timedelta(seconds=1)


def echoing(args: Any, **rest: Any) -> dict[str, Any]:
    return {"config": {"name": "core.echo", "args": args}, **rest}


def test_the_first_step_that_starts_brings_the_run_from_pending_to_running() -> None:
    run = Simulation(definition("a b"), room=1)

    before = run.state
    run.start()

    assert (before, run.state) == ("pending", "running")
    assert [e.event_type for e in run.events[-2:]] == ["run_started", "step_started"]
    assert run.run.run.started_at == run.row("a").started_at == NOON


def test_an_attempt_is_told_with_its_config_and_the_generation_of_its_step() -> None:
    run = Simulation(definition({"a": echoing({"n": "${input.n}", "id": "${run.id}"})}), '{"n": [1]}')

    decision = run.start_ready()

    config = {"name": "core.echo", "args": {"n": [1], "id": str(UUID(int=7 << 76 | 2 << 62))}}
    assert decision.commands == [Execute(0, 1, 1, config, alone=False, template=None, context=None)]
    assert run.row("a").input == f'{{"name":"core.echo","args":{{"n":[1],"id":"{run.run.head.id}"}}}}'


@pytest.mark.parametrize("room", [0, 1, 2, 5])
def test_no_more_steps_start_than_there_is_room_for(room: int) -> None:
    run = Simulation(definition("a b c"), room=room)

    run.start()

    assert len(run.executing) == min(room, 3)
    assert run.state == ("running" if room else "pending")


def test_steps_start_in_the_order_in_which_they_were_queued() -> None:
    run = Simulation(definition("z b a", "z a"), room=1).start()

    run.finish("z").start().finish("b").start()

    assert [e.step_id for e in run.events if e.event_type == "step_started"] == ["z", "b", "a"]


@pytest.mark.parametrize("kind", ["Delay", "HumanApproval"])
def test_delay_and_approval_occupy_no_thread(kind: str) -> None:
    config = {"for": "5s"} if kind == "Delay" else {"title": "t"}
    run = Simulation(definition({"a": {}, "w": {"kind": kind, "config": config}}), room=0).start()

    assert run.states == {"a": "queued", "w": "running"}
    assert run.reasons["w"] == ("waiting_timer" if kind == "Delay" else "waiting_approval")
    assert run.state == "running"


def test_a_row_queued_by_a_step_that_could_not_start_begins_in_the_same_commit() -> None:
    document = definition(
        {"a": echoing("${input.no.field}"), "w": {"kind": "Delay", "config": {"for": "5s"}}},
        ("a", "w", {"on": "failure"}),
    )
    run = Simulation(document, room=1)

    run.start_ready()

    assert run.states == {"a": "failed", "w": "running"}


# A config that fails


@pytest.mark.parametrize(
    ("step", "output"),
    [
        (echoing("${input.no.field}"), None),
        (echoing("${steps.a.output.gone}"), {}),
        (echoing("${1 / 0}"), None),
        (echoing("${steps.a.output} ${steps.a.output}"), "x" * 600_000),
        (echoing(["${steps.a.output}"] * 3), "é" * 200_000),
        (echoing("${secrets.NONE}"), None),
        ({"kind": "Delay", "config": {"for": "${input.text}"}}, None),
        ({"kind": "Delay", "config": {"until": "${input.text}"}}, None),
        ({"kind": "Delay", "config": {"for": "${input.long}"}}, None),
    ],
)
def test_a_failing_config_fails_its_step_before_an_attempt_begins(step: dict[str, Any], output: Any) -> None:
    document = definition(
        {"a": {}, "b": {"retry": {"max_attempts": 9}, **step}, "h": {}}, "a b", ("b", "h", {"on": "failure"})
    )
    run = Simulation(document, '{"text": "soon", "long": "900d"}')

    run.drive(by_step(a=done(output)))

    assert run.log("b") == [("idle", "queued", "ready"), ("queued", "failed", "expression_error")]
    (event,) = run.told("b", "step_failed")
    assert (event.attempt, event.payload["error"]["code"]) == (0, "expression_error")
    assert event.payload["error"]["retryable"] is False
    assert event.payload["duration_ms"] is None
    assert run.states["h"] == "succeeded"
    run.check()


def test_a_run_whose_first_step_fails_for_its_config_has_been_running() -> None:
    run = Simulation(definition({"a": echoing("${input.no.field}")})).start()

    assert [after for _, after, _ in run.log()] == ["created", "pending", "running", "failed"]
    run.check()


def test_a_config_of_a_mebibyte_passes() -> None:
    run = Simulation(definition({"a": {}, "b": echoing("${steps.a.output}")}, "a b"))

    run.drive(by_step(a=done("x" * (1024 * 1024 - len('{"name":"core.echo","args":""}')))))

    assert run.state == "completed"


def test_a_later_attempt_resolves_its_config_anew() -> None:
    run = Simulation(definition({"a": {}, "b": echoing("${steps.a.state}", retry={"max_attempts": 2})}))

    run.start().finish("b", flaky()).finish("a").later(60).turn("b")

    (command,) = run.executing.values()
    assert (command.attempt, command.config["args"]) == (2, "succeeded")
    assert run.row("b").input == '{"name":"core.echo","args":"succeeded"}'


def test_the_error_of_a_step_that_waits_for_its_next_attempt_reads_as_null() -> None:
    steps = {"a": {"retry": {"max_attempts": 2}}, "b": {}, "c": echoing(["${steps.a.state}", "${steps.a.error}"])}
    run = Simulation(definition(steps, "b c")).start()

    run.finish("a", flaky()).finish("b").start()

    assert [command.config["args"] for command in run.executing.values()] == [["queued", None]]


def test_a_config_that_fails_at_a_later_attempt_fails_the_step_with_the_attempts_it_had() -> None:
    step = echoing("${steps.b.attempt == 0 ? 1 : input.no.field}", retry={"max_attempts": 3})
    run = Simulation(definition({"b": step})).drive(by_step(b=flaky()))

    assert (run.row("b").state, run.reasons["b"], run.row("b").attempt) == ("failed", "expression_error", 1)
    run.check()


# Secrets


def test_a_secret_is_resolved_at_execution_and_stored_nowhere() -> None:
    run = Simulation(definition({"a": echoing({"k": "Bearer ${secrets.KEY}", "n": "${input.n}"})}), '{"n": 1}')
    run.secrets = {"KEY", "OTHER"}

    run.start_ready()

    (command,) = run.executing.values()
    assert run.row("a").input == '{"name":"core.echo","args":{"k":"Bearer ***","n":1}}'
    assert command.template is not None
    assert command.template.secrets == {"KEY"}
    assert command.context == {"secrets.KEY": "***", "input": {"n": 1}}


# Delays


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ({"for": "5s"}, 5),
        ({"for": "1h30m"}, 5400),
        ({"for": 0.25}, 0.25),
        ({"for": "${input.n}"}, 7),
        ({"for": "0s"}, 0),
        ({"until": "2026-01-01T12:00:30Z"}, 30),
        ({"until": "2026-01-01T14:00:30+02:00"}, 30),
        ({"until": "2026-01-01T12:00:30"}, 30),
        ({"until": "2020-01-01T00:00:00Z"}, 0),
        ({"until": "${input.at}"}, 60),
    ],
)
def test_a_delay_ends_at_its_time(config: dict[str, Any], seconds: float) -> None:
    run = Simulation(
        definition({"d": {"kind": "Delay", "config": config}}), '{"n": 7, "at": "2026-01-01T12:01:00Z"}'
    ).start()

    at = NOON + timedelta(seconds=seconds)
    assert run.row("d").wake_at == at
    run.drive()
    assert (run.now, run.row("d").output) == (at, f'{{"woke_at":"{at.isoformat()}"}}')
    assert run.row("d").attempt == 1


def test_a_delay_is_not_over_before_its_time() -> None:
    run = Simulation(definition({"d": {"kind": "Delay", "config": {"for": "5s"}}})).start().later(4.999)

    assert not run.due("d").changes


# Circuit breakers


BREAKER = {"circuit_breaker": {"key": "k"}, "retry": {"max_attempts": 2, "jitter": "none"}}


def guarded(*, until: float | None) -> Simulation:
    run = Simulation(definition({"a": BREAKER}))
    run.gates = {0: None if until is None else NOON + timedelta(seconds=until)}
    return run


def test_a_closed_breaker_lets_the_step_start() -> None:
    assert guarded(until=None).start().states["a"] == "running"


def test_while_the_breaker_is_open_the_step_waits_and_burns_no_attempt() -> None:
    run = guarded(until=30).start()

    row = run.row("a")
    assert (row.state, row.reason, row.attempt, row.tries) == ("queued", "circuit_open", 0, 0)
    assert (row.wake_at, row.breaker) == (NOON + 30 * SECOND, "k")
    assert run.log("a") == [("idle", "queued", "ready"), ("queued", "queued", "circuit_open")]
    assert run.state == "pending"


def test_a_step_that_still_finds_the_breaker_open_waits_on_and_says_so_once() -> None:
    run = guarded(until=30).start().later(30)
    run.gates = {0: NOON + 60 * SECOND}

    run.turn("a")

    assert run.row("a").wake_at == NOON + 60 * SECOND
    assert run.log("a") == [("idle", "queued", "ready"), ("queued", "queued", "circuit_open")]


def test_at_the_breaker_s_time_the_probe_starts() -> None:
    run = guarded(until=30).start().later(30)
    run.gates = {0: None}

    run.turn("a")

    assert (run.row("a").state, run.row("a").attempt, run.row("a").breaker) == ("running", 1, None)
    run.check()


def test_a_breaker_that_closes_makes_its_steps_ready() -> None:
    run = guarded(until=30).start()

    run.tell(BreakerClosed(0))

    assert run.log("a")[-1] == ("queued", "queued", "ready")
    assert (run.row("a").wake_at, run.row("a").breaker) == (None, None)
    assert not run.tell(BreakerClosed(0)).changes


def test_a_step_whose_breaker_was_not_asked_does_not_start() -> None:
    run = guarded(until=None)

    decision = run.tell(StartReady(5, "w"))

    assert not decision.changes


def test_a_retry_that_finds_the_breaker_open_changes_its_reason_only() -> None:
    run = guarded(until=None).start()
    run.finish("a", failed("network", retryable=True)).later(1)
    run.gates = {0: NOON + 30 * SECOND}

    run.turn("a")

    assert run.log("a")[-2:] == [("running", "queued", "backoff"), ("queued", "queued", "circuit_open")]
    assert run.row("a").tries == 1
    run.check()
