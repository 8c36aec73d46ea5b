"""Due times: none comes early, none is lost, and those that mean nothing any more are thrown out."""

from datetime import timedelta

import pytest

from runs.models import Event
from runs.reactor.owned import SPARE, Owned, Timers
from runs.services import RunRequest, start_runs
from runs.tests.factories import an_actor, published
from runs.tests.machine.simulation import NOON, Simulation, definition
from runs.tests.reactor.bench import failure, row, started, state, step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_broken")]


def delay(length: str) -> dict:
    return {"kind": "Delay", "config": {"for": length}}


def test_a_timer_that_came_up_by_a_clock_put_right_since_comes_again(bench):
    run_id = started(definition({"wait": delay("8s")}))
    bench.until(lambda: bench.owns(run_id))
    clock = bench.reactor.runs.clock
    clock.observe(clock.now() + timedelta(seconds=9))
    started(definition("a"), slug="other")  # its claim puts the clock right within the round

    bench.turn()
    too_early = state(run_id)
    clock.observe(clock.now() + timedelta(seconds=9))
    bench.reactor.turn()

    assert too_early == "running"
    assert state(run_id) == "completed"


def test_a_run_that_waits_for_longer_than_a_lease_is_let_go_until_then(bench):
    run_id = started(definition({"wait": delay("1h")}))

    bench.turn(3)

    assert not bench.owns(run_id)
    assert row(run_id).lease_owner is None
    assert row(run_id).wake_at == step(run_id, "wait").wake_at


def test_a_run_that_waits_for_less_than_a_lease_is_kept(bench):
    run_id = started(definition({"wait": delay("5s")}))

    bench.turn(3)

    assert bench.owns(run_id)


def test_a_retry_starts_when_it_is_due_and_not_before(bench):
    retry = {"max_attempts": 2, "initial_interval": "300ms", "jitter": "none"}
    run_id = started(definition({"a": {"retry": retry}}))
    bench.has_started("a")
    bench.ended("a", failure("flaky", retryable=True))
    bench.until(lambda: step(run_id, "a").reason == "backoff")
    due = step(run_id, "a").wake_at

    bench.has_started("a", 2)
    bench.ended("a", attempt=2)
    bench.until(lambda: state(run_id) == "completed")

    began = Event.objects.get(run_id=run_id, event_type="step_started", attempt=2).ts
    assert due <= began <= due + timedelta(seconds=1)


def test_a_deadline_ends_an_attempt_that_does_not(bench):
    run_id = started(definition({"a": {"timeout": "100ms", "retry": {"max_attempts": 1}}}))
    bench.has_started("a")

    bench.until(lambda: state(run_id) == "failed")

    assert step(run_id, "a").reason == "timeout"
    assert bench.hands.calls[0].cancelled.is_set()


def test_the_runs_own_deadline_ends_it(bench):
    run_id = started(definition({"a": {}, "wait": delay("8s")}, timeout="100ms"))
    bench.has_started("a")
    bench.until(lambda: bench.hands.calls[0].cancelled.is_set())

    bench.ended("a")
    bench.until(lambda: state(run_id) == "failed")

    assert row(run_id).reason == "run_timeout"


def test_runs_that_wait_make_room_for_others_when_all_places_are_taken(bench):
    bench.reactor.runs.most_runs = 3
    actor = an_actor()
    waits = published(definition({"wait": delay("10s")}), actor, "waits")
    waiting = start_runs(actor=actor, workflow=waits.workflow, requests=[RunRequest()] * 3)
    bench.until(lambda: all(bench.owns(id) for id in waiting))
    run_id = started(definition("a"), actor=actor, slug="other")

    bench.has_started("a")
    bench.ended("a")
    bench.until(lambda: state(run_id) == "completed")

    assert {state(id) for id in waiting} == {"running"}
    assert all(row(id).wake_at is not None for id in waiting)


def test_times_that_mean_nothing_any_more_are_thrown_out():
    simulation = Simulation(definition({"a": {"timeout": "1h"}}))
    run, timers = Owned(simulation.run), Timers()
    simulation.start_ready()
    timers.add_all(run)
    for n in range(3 * SPARE):
        timers.add(NOON + timedelta(days=1, seconds=n), run.id, 0)

    came_up = list(timers.pop_due(NOON, {run.id: run}))

    assert came_up == []
    assert len(timers) == 1
    assert timers.next() == run.snapshot.steps[0].wake_at


def test_a_time_that_has_moved_does_not_come_up():
    simulation = Simulation(definition({"wait": delay("5s")}))
    simulation.start_ready()
    run, timers = Owned(simulation.run), Timers()
    timers.add(NOON, run.id, 0)
    timers.add_all(run)

    assert list(timers.pop_due(NOON + timedelta(seconds=1), {run.id: run})) == []
    assert list(timers.pop_due(NOON + timedelta(seconds=5), {run.id: run})) == [(run, 0)]
    assert list(timers.pop_due(NOON + timedelta(seconds=9), {run.id: run})) == []
