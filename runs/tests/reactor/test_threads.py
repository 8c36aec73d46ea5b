"""A thread cannot be killed: one that ignores its end is given up and replaced (ARCHITECTURE, Fencing)."""

from datetime import timedelta

import pytest

from runs.reactor import attempts, loop
from runs.services import cancel_run
from runs.tests.factories import an_actor
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import row, started, state, step, until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_broken")]
DEAF = {"timeout": "10ms", "retry": {"max_attempts": 1}}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(attempts, "GIVE_UP_SECONDS", 0.0)


def test_a_deaf_thread_is_given_up_and_another_takes_its_place(benches):
    bench, actor = benches(threads=1), an_actor()
    deaf = started(definition({"deaf": DEAF}), actor=actor, slug="deaf")
    bench.has_started("deaf")
    bench.until(lambda: state(deaf) == "failed")
    full = bench.reactor.pool.free
    started(definition("b"), actor=actor, slug="b")

    bench.renew()
    bench.has_started("b")

    assert (full, bench.reactor.pool.given_up) == (0, 1)
    assert bench.hands.seen == [("b", 1), ("deaf", 1)]


def test_a_thread_that_ends_when_it_is_told_is_not_given_up(bench):
    run_id = started(definition({"a": DEAF}))
    bench.has_started("a")
    bench.until(lambda: state(run_id) == "failed")
    bench.hands.end("a", "late")
    until(lambda: bench.inbox.results)

    bench.turn()
    bench.renew()

    assert (bench.reactor.pool.given_up, bench.reactor.pool.free) == (0, bench.reactor.pool.size)
    assert step(run_id, "a").output is None


def test_what_a_given_up_thread_says_in_the_end_changes_nothing(benches):
    bench = benches(threads=1)
    run_id = started(definition({"deaf": DEAF}))
    bench.has_started("deaf")
    bench.until(lambda: state(run_id) == "failed")
    bench.renew()
    before = row(run_id).revision
    bench.hands.end("deaf", "much later")
    until(lambda: bench.inbox.results)

    bench.turn(2)

    assert (row(run_id).revision, bench.reactor.pool.free, bench.reactor.pool.in_flight) == (before, 1, 0)


def test_a_run_that_is_rid_of_a_deaf_thread_is_let_go(bench):
    ask = {"kind": "HumanApproval", "config": {"title": "t"}}
    run_id = started(definition({"deaf": DEAF, "ask": ask}, ("deaf", "ask", {"on": "failure"})))
    bench.has_started("deaf")
    bench.until(lambda: step(run_id, "deaf").state == "failed")
    bench.turn(2)
    kept = bench.owns(run_id)

    bench.renew()
    bench.turn()

    assert (kept, bench.owns(run_id)) == (True, False)
    assert row(run_id).lease_owner is None


def test_a_cancel_does_not_wait_for_a_deaf_thread_for_ever(bench, actor, monkeypatch):
    run_id = started(definition("deaf"), actor=actor)
    bench.has_started("deaf")
    cancel_run(actor=actor, run_id=run_id)
    bench.renew()
    clock = bench.reactor.runs.clock
    during = state(run_id)

    monkeypatch.setattr(clock, "observe", lambda now: now)
    clock._base += timedelta(seconds=11)
    bench.until(lambda: state(run_id) == "cancelled")

    assert during == "running"
    assert step(run_id, "deaf").reason == "interrupted"


def test_a_worker_with_many_deaf_threads_drains_and_stops(benches, monkeypatch):
    monkeypatch.setattr(loop, "MAX_GIVEN_UP", 2)
    bench, actor = benches(threads=4), an_actor()
    for n in range(2):
        started(definition({"deaf": DEAF}), actor=actor, slug=f"deaf{n}")
    bench.until(lambda: len(bench.hands.calls) == 2)
    bench.until(lambda: len(bench.reactor.attempts._told) == 2)

    bench.renew()

    assert bench.reactor.stopping.is_set()


def test_an_executor_that_breaks_fails_its_step_and_not_its_thread(benches):
    bench = benches(threads=1)
    run_id = started(definition({"a": {"retry": {"max_attempts": 1}}, "b": {}}, ("a", "b", {"on": "failure"})))
    bench.hands.end("a", RuntimeError("a bug"))

    bench.has_started("b")

    assert step(run_id, "a").error == {"code": "task_error", "message": "RuntimeError: a bug", "retryable": True}
