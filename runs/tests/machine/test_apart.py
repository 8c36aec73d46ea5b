"""Isolated steps, which another process than the run's owner takes and holds by a lease (SEMANTICS 4)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from runs.machine.decision import Decision, Interrupt
from runs.machine.stimuli import Cancel, Succeeded, TakeApart
from runs.tests.machine.simulation import NOON, Simulation, by_step, definition, failed, flaky

LEASE = timedelta(seconds=15)


class Apart(Simulation):
    """`a` is isolated: the owner leaves it alone."""

    def ready(self) -> Any:
        return replace(super().ready(), apart=frozenset({self.plan.index["a"]}))

    def take(self, step: str = "a") -> Decision:
        start = replace(self.ready(), apart=frozenset())
        return self.tell(TakeApart(self.plan.index[step], "holder", LEASE, start))


def one(**step: Any) -> Apart:
    return Apart(definition({"a": step, "b": {}}, on_failure="continue"))


def test_the_owner_does_not_start_what_is_taken_apart() -> None:
    run = one().start()

    assert run.states == {"a": "queued", "b": "running"}


def test_a_step_that_is_taken_apart_runs_under_a_lease_of_its_holder() -> None:
    run = one()

    decision = run.take()

    row = run.row("a")
    assert (row.state, row.reason, row.attempt, row.holder, row.wake_at) == (
        "running", "executing", 1, "holder", NOON + LEASE,
    )  # fmt: skip
    assert [command.step for command in decision.commands] == [0]
    assert [e.event_type for e in decision.events] == ["run_started", "step_started"]


def test_it_is_taken_once() -> None:
    run = one()
    run.take()

    assert not run.take().changes


@pytest.mark.parametrize("by", [Succeeded(0, 1, "{}"), failed()])
def test_its_end_leaves_no_holder(by: Any) -> None:
    run = one()
    run.take()

    run.finish("a", by)

    assert (run.row("a").holder, run.row("a").wake_at) == (None, None)
    run.check()


def test_a_lease_that_runs_out_is_a_lost_worker() -> None:
    run = one(retry={"max_attempts": 1})
    run.take()

    run.later(14.999)
    early = run.due("a").changes
    run.later(0.001).due("a")

    row = run.row("a")
    assert not early
    assert (row.state, row.reason, row.losses, row.tries, row.holder) == ("queued", "ready", 1, 0, None)
    assert run.told("a", "step_failed")[0].payload["error"]["code"] == "worker_lost"
    run.check()


def test_the_third_lease_that_runs_out_poisons_it() -> None:
    run = one()
    for _ in range(3):
        run.take()
        run.later(15).due("a")

    assert (run.row("a").state, run.reasons["a"], run.row("a").attempt) == ("failed", "poison", 3)
    run.check()


def test_a_timeout_within_the_lease_is_a_timeout() -> None:
    run = one(timeout="5s")
    run.take()

    decision = run.later(5).due("a")

    assert decision.commands == [Interrupt(0, 1)]
    assert (run.row("a").state, run.reasons["a"], run.row("a").losses) == ("failed", "timeout", 0)
    run.check()


def test_an_open_breaker_holds_it_back_here_too() -> None:
    run = one(circuit_breaker={"key": "k"})
    run.gates = {0: NOON + LEASE}

    run.take()

    assert (run.row("a").state, run.reasons["a"], run.row("a").attempt) == ("queued", "circuit_open", 0)
    assert not run.take().changes


def test_a_backoff_that_is_over_makes_it_ready_to_be_taken() -> None:
    run = one(retry={"max_attempts": 2})
    run.take()
    run.finish("a", flaky())
    waiting = run.take().changes

    run.later(60).turn("a")

    assert not waiting
    assert run.log("a")[-1] == ("queued", "queued", "ready")
    run.take()
    assert (run.row("a").state, run.row("a").attempt) == ("running", 2)
    run.check()


def test_nothing_is_taken_from_a_run_that_is_cancelled_or_has_ended() -> None:
    cancelled, ended = one(), one()
    cancelled.take()
    cancelled.tell(Cancel())
    ended.drive(by_step()).take()
    ended.finish("a").drive()

    assert not cancelled.take().changes
    assert ended.over
    assert not ended.take().changes


def test_a_lease_that_runs_out_during_a_cancel_waits_for_its_patience() -> None:
    run = one()
    run.later(-6).take()
    run.later(6 + 9).tell(Cancel())

    assert not run.due("a").changes
    run.later(10).due()
    assert run.reasons["a"] == "interrupted"
    run.check()
