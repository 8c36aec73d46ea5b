"""Attempts: budget, waits, timeouts, late results (SEMANTICS 4)."""

from datetime import timedelta
from typing import Any

import pytest

from runs.machine.decision import Interrupt
from runs.machine.stimuli import Due, Failed, Lost, PutBack, RetryRun, StartReady, Stimulus, Succeeded
from runs.tests.machine.simulation import NOON, Simulation, by_step, definition, done, failed, flaky
from workflows.definition.model import RetryPolicy

SECOND = timedelta(seconds=1)


def one(retry: dict[str, Any] | None = None, **rest: Any) -> Simulation:
    """A run of one step `a`, whose first attempt executes."""
    return Simulation(definition({"a": {"retry": retry or {}, **rest}})).start()


# The budget


def test_attempt_is_0_before_the_first_and_grows_by_one_as_each_begins() -> None:
    run = Simulation(definition({"a": {"retry": {"max_attempts": 3}}}))

    run.drive(by_step(a=[flaky(), flaky(), done()]))

    assert [(e.state_after, e.attempt) for e in run.told("a")] == [
        ("queued", 0), ("running", 1), ("queued", 1), ("running", 2), ("queued", 2), ("running", 3), ("succeeded", 3),
    ]  # fmt: skip
    run.check()


@pytest.mark.parametrize(("retry", "attempts"), [(None, 1), ({"max_attempts": 1}, 1), ({"max_attempts": 4}, 4)])
def test_max_attempts_counts_the_first_and_is_1_by_default(retry: dict[str, Any] | None, attempts: int) -> None:
    run = one(retry).drive(by_step(a=flaky()))

    assert (run.row("a").attempt, run.state) == (attempts, "failed")


def test_it_counts_on_through_every_generation_and_never_starts_again() -> None:
    run = one({"max_attempts": 2}).drive(by_step(a=flaky()))

    for generation in (2, 3):
        run.tell(RetryRun())
        run.drive(by_step(a=flaky()))
        assert (run.row("a").attempt, run.row("a").generation) == (2 * generation, generation)
    run.check()


def test_the_budget_starts_anew_whenever_a_command_queues_the_step() -> None:
    run = one({"max_attempts": 3, "jitter": "none", "initial_interval": "1s"}).drive(by_step(a=flaky()))

    run.tell(RetryRun())
    run.drive(by_step(a=flaky()))

    waits = [e.payload["delay_ms"] for e in run.told("a", "step_failed") if e.state_after == "queued"]
    assert waits == [1000, 2000, 1000, 2000]


# Which errors are retried


@pytest.mark.parametrize(
    ("code", "retryable", "errors", "again"),
    [
        ("network", True, None, True),
        ("boom", False, None, False),
        ("boom", False, ["boom"], True),
        ("boom", True, ["other"], False),
        ("http_503", True, ["http_5xx"], True),
        ("http_501", False, ["http_5xx"], True),
        ("http_404", False, ["http_4xx"], False),
        ("http_429", True, ["http_4xx"], True),
        ("timeout", True, ["timeout"], True),
        ("expression_error", True, None, False),
        ("rejected", True, None, False),
        ("blocked_address", True, None, False),
        ("script_error", True, None, False),
        ("script_memory", True, None, False),
        ("script_timeout", True, None, True),
        ("output_too_large", True, None, False),
        ("bad_output", True, None, False),
        ("http_404", True, None, False),
    ],
)
def test_retry_errors_name_the_codes_that_are_tried_again(
    code: str, retryable: bool, errors: list[str] | None, again: bool
) -> None:
    run = one({"max_attempts": 2, **({"errors": errors} if errors else {})})

    run.finish("a", failed(code, retryable=retryable))

    assert run.row("a").state == ("queued" if again else "failed")


# The wait


@pytest.mark.parametrize(
    ("retry", "ceilings"),
    [
        ({}, [1, 2, 4, 8, 16, 32, 60, 60]),
        ({"initial_interval": "100ms", "backoff_coefficient": 3, "max_interval": "1s"}, [0.1, 0.3, 0.9, 1, 1]),
        ({"initial_interval": "2s", "backoff_coefficient": 1}, [2, 2, 2]),
        ({"initial_interval": "10s", "max_interval": "5s"}, [5, 5]),
        ({"initial_interval": "0s"}, [0, 0]),
    ],
)
def test_the_wait_after_attempt_n_has_its_ceiling(retry: dict[str, Any], ceilings: list[float]) -> None:
    run = one({"max_attempts": len(ceilings) + 1, "jitter": "none", **retry})

    run.drive(by_step(a=flaky()))

    told = [e.payload for e in run.told("a", "step_failed") if e.state_after == "queued"]
    assert [payload["ceiling_ms"] for payload in told] == [1000 * ceiling for ceiling in ceilings]
    assert [payload["delay_ms"] for payload in told] == [1000 * ceiling for ceiling in ceilings]
    run.check()


def test_a_ceiling_past_all_numbers_is_the_longest_interval() -> None:
    assert RetryPolicy(backoff_coefficient=10.0).ceiling(5000) == timedelta(minutes=1)


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.999])
def test_full_jitter_draws_from_nothing_to_the_ceiling_and_tells_the_draw(draw: float) -> None:
    run = one({"max_attempts": 2, "initial_interval": "8s"})

    run.finish("a", flaky(draw=draw))

    payload = run.told("a", "step_failed")[0].payload
    due = NOON + 8 * SECOND * draw
    assert (payload["ceiling_ms"], payload["delay_ms"], payload["due_at"]) == (8000, 8000 * draw, due.isoformat())
    assert run.row("a").wake_at == due


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(None, 4), (1, 4), (0, 4), (-5, 4), (7, 7), (30, 30), (3600, 30), (1e300, 30)]
)
def test_a_retry_after_is_a_floor_up_to_max_interval(retry_after: float | None, delay: float) -> None:
    run = one({"max_attempts": 2, "initial_interval": "8s", "max_interval": "30s"})

    run.finish("a", failed("http_503", retryable=True, draw=0.5, retry_after=retry_after))

    payload = run.told("a", "step_failed")[0].payload
    assert (payload["delay_ms"], payload["ceiling_ms"]) == (1000 * delay, 8000)


def test_the_next_attempt_does_not_begin_before_it_is_due() -> None:
    run = one({"max_attempts": 2, "initial_interval": "10s", "jitter": "none"})
    run.finish("a", flaky()).later(9.999)

    early = [run.turn("a").changes, run.start_ready().changes]
    run.later(0.001).turn("a")

    assert early == [False, False]
    assert (run.row("a").state, run.row("a").attempt) == ("running", 2)


def test_a_backoff_that_is_over_without_a_free_thread_says_ready() -> None:
    run = one({"max_attempts": 2})
    run.finish("a", flaky()).later(60)
    run.room = 0

    run.turn("a")

    assert run.log("a")[-2:] == [("running", "queued", "backoff"), ("queued", "queued", "ready")]
    assert not run.turn("a").changes
    run.check()


# Timeouts


def test_timeout_bounds_one_attempt() -> None:
    run = one({"max_attempts": 2, "jitter": "none"}, timeout="5s").later(5)

    decision = run.due("a")

    assert decision.commands == [Interrupt(0, 1)]
    (event,) = run.told("a", "step_failed")
    assert (event.state_after, event.payload["error"]["code"], event.payload["duration_ms"]) == (
        "queued",
        "timeout",
        5000,
    )
    run.later(1).turn("a")
    assert run.row("a").wake_at == run.now + 5 * SECOND
    run.later(5).due("a")
    assert (run.row("a").state, run.reasons["a"], run.error) == ("failed", "timeout", "timeout")
    run.check()


def test_an_attempt_within_its_timeout_goes_on() -> None:
    run = one(timeout="5s").later(4.999)

    assert not run.due("a").changes


def test_a_timeout_that_an_executor_reports_is_one_too() -> None:
    run = one().finish("a", failed("timeout", retryable=True))

    assert run.reasons["a"] == "timeout"


def test_a_delay_longer_than_its_timeout_fails() -> None:
    run = one(kind="Delay", config={"for": "1h"}, timeout="5s").drive()

    assert (run.row("a").state, run.reasons["a"], run.now) == ("failed", "timeout", NOON + 5 * SECOND)


def test_a_delay_shorter_than_its_timeout_succeeds() -> None:
    assert one(kind="Delay", config={"for": "5s"}, timeout="1h").drive().state == "completed"


@pytest.mark.parametrize(
    ("config", "timeout", "state"),
    [
        ({"for": "5s"}, "5s", "completed"),
        ({"for": "5001ms"}, "5s", "failed"),
        ({"for": "${input.n}"}, "5s", "completed"),
        ({"until": (NOON + timedelta(seconds=5)).isoformat()}, "5s", "completed"),
        ({"until": (NOON + timedelta(seconds=5, microseconds=1)).isoformat()}, "5s", "failed"),
    ],
)
def test_a_delay_that_ends_at_the_very_end_of_its_timeout_has_ended_in_time(
    config: dict[str, Any], timeout: str, state: str
) -> None:
    document = definition({"a": {"kind": "Delay", "config": config, "timeout": timeout}})
    run = Simulation(document, '{"n": 5}').drive()

    assert (run.state, run.reasons["a"]) == (state, None if state == "completed" else "timeout")
    assert run.now - NOON == timedelta(seconds=5)
    run.check()


def test_an_approval_that_nobody_decides_in_time_fails_and_is_not_retried() -> None:
    run = one({"max_attempts": 5}, kind="HumanApproval", config={"title": "t"}, timeout="1m").drive()

    assert (run.row("a").state, run.reasons["a"], run.row("a").attempt) == ("failed", "timeout", 1)


# Late results


def late(attempt: int) -> list[Stimulus]:
    error = {"code": "late", "message": "late", "retryable": True}
    return [
        Succeeded(0, attempt, '"late"'), Failed(0, attempt, error), Lost(0, attempt), Lost(0, attempt, alone=True),
        PutBack(0, attempt),
    ]  # fmt: skip


@pytest.mark.parametrize("attempt", [0, 1, 3, 99])
@pytest.mark.parametrize("kind", range(5))
def test_a_late_result_changes_nothing(attempt: int, kind: int) -> None:
    run = one({"max_attempts": 3})
    run.finish("a", flaky()).later(60).turn("a")

    decision = run.tell(late(attempt)[kind])

    assert (decision.changes, decision.commands) == (False, [])
    assert (run.row("a").state, run.row("a").attempt) == ("running", 2)


@pytest.mark.parametrize("kind", range(5))
def test_a_result_of_an_attempt_that_has_ended_changes_nothing(kind: int) -> None:
    waiting = one({"max_attempts": 2}).finish("a", flaky())
    succeeded, lost = one().finish("a"), one().finish("a", failed())

    for run in (waiting, succeeded, lost):
        assert not run.tell(late(1)[kind]).changes


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize(
    "row", [{"kind": "Delay", "config": {"for": "5s"}}, {"kind": "HumanApproval", "config": {"title": "t"}}]
)
def test_what_waits_as_a_row_has_no_result(row: dict[str, Any], kind: int) -> None:
    run = Simulation(definition({"a": row})).start()

    assert not run.tell(late(1)[kind]).changes


def test_a_time_that_comes_twice_changes_nothing() -> None:
    run = one(timeout="5s").later(5)
    run.due("a")

    assert not run.tell(Due(0)).changes
    assert not run.tell(Due(None)).changes
    assert not run.tell(StartReady(5, "w")).changes
