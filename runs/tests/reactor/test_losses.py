"""What becomes of attempts whose worker is gone, or stops in good order (SEMANTICS 4, I-16, F-22, F-26)."""

import pytest

from runs.executors.isolated import ChildDied
from runs.models import WorkflowRun
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import row, started, state, step, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_broken")]
ONCE = definition({"a": {"retry": {"max_attempts": 1}}, "b": {}}, "a b")


def dead(benches, run_id, step_id, attempt):
    """A process that died under this attempt."""
    bench = benches()
    bench.has_started(step_id, attempt)
    bench.die()


def test_a_lost_worker_costs_no_try_and_the_step_begins_anew(benches):
    run_id = started(ONCE)
    dead(benches, run_id, "a", 1)
    heir = benches()

    heir.has_started("a", 2)
    heir.ended("a", "second", 2)
    heir.until(lambda: step(run_id, "a").state == "succeeded")

    lost = step(run_id, "a")
    assert (lost.attempt, lost.tries, lost.losses, lost.output) == (2, 1, 1, "second")
    assert told(run_id, "a") == [
        ("state_changed", 0, "queued"),
        ("step_started", 1, "running"),
        ("step_failed", 1, "queued"),
        ("step_started", 2, "running"),
        ("step_completed", 2, "succeeded"),
    ]


def test_a_step_that_lost_two_workers_runs_alone_and_is_poison_only_if_its_child_dies(benches):
    run_id = started(ONCE)
    dead(benches, run_id, "a", 1)
    dead(benches, run_id, "a", 2)
    third = benches()

    third.has_started("a", 3)
    alone = [(call.step_id, call.attempt) for call in third.hands.alone]
    third.ended("a", ChildDied("killed by signal 9"), 3)
    third.until(lambda: state(run_id) == "failed")

    poisoned = step(run_id, "a")
    assert alone == [("a", 3)]
    assert (poisoned.state, poisoned.reason, poisoned.error["code"]) == ("failed", "poison", "poison")
    assert (poisoned.losses, poisoned.attempt) == (3, 3)
    assert state(run_id) == "failed"


def test_a_step_whose_child_lives_is_no_poison(benches):
    run_id = started(ONCE)
    dead(benches, run_id, "a", 1)
    dead(benches, run_id, "a", 2)
    third = benches()

    third.has_started("a", 3)
    third.ended("a", "alone", 3)
    third.has_started("b")
    third.ended("b")
    third.until(lambda: state(run_id) == "completed")

    assert [call.step_id for call in third.hands.calls] == ["b"]  # what follows it is no suspect


def test_neighbours_of_a_poisonous_step_run_beside_it_and_are_never_poison(benches):
    run_id = started(definition("bad good", on_failure="continue"))
    for attempt in (1, 2):
        bench = benches()
        bench.has_started("bad", attempt)
        bench.has_started("good", attempt)
        bench.die()
    third = benches()
    third.has_started("bad", 3)
    third.has_started("good", 3)
    third.ended("bad", ChildDied("killed"), 3)
    third.ended("good", "well", 3)
    third.until(lambda: state(run_id) == "failed")

    assert (step(run_id, "bad").reason, step(run_id, "good").state) == ("poison", "succeeded")
    assert sorted(call.step_id for call in third.hands.alone) == ["bad", "good"]


@pytest.fixture
def stopped(bench):
    """A process that stops in good order while `a` executes."""
    run_id = started(ONCE)
    bench.has_started("a")
    bench.reactor.stop(0)
    bench.reactor._drain_and_release()
    return run_id


def test_an_orderly_stop_puts_back_what_executes(bench, stopped):
    put_back = step(stopped, "a")
    assert (put_back.state, put_back.reason, put_back.tries, put_back.losses) == ("queued", "ready", 0, 0)
    assert bench.hands.calls[0].cancelled.is_set()
    assert row(stopped).lease_owner is None
    assert list(WorkflowRun.objects.filter(wake_at__lte=bench.store.now())) == [row(stopped)]


def test_what_was_put_back_begins_anew_elsewhere_at_no_cost(benches, stopped):
    heir = benches()

    heir.has_started("a", 2)
    heir.ended("a", attempt=2)
    heir.until(lambda: step(stopped, "a").state == "succeeded")

    assert (step(stopped, "a").tries, step(stopped, "a").losses) == (1, 0)


def test_a_stop_waits_for_what_ends_in_time(bench):
    run_id = started(ONCE)
    bench.has_started("a")
    bench.ended("a", "in time")
    bench.reactor.stop(10)

    bench.reactor._drain_and_release()

    assert (step(run_id, "a").output, step(run_id, "b").state) == ("in time", "queued")
    assert row(run_id).lease_owner is None


def test_nothing_starts_once_it_is_asked_to_stop(bench):
    run_id = started(ONCE)
    bench.reactor.stop(1)

    bench.turn(3)

    assert bench.hands.seen == []
    assert row(run_id).lease_owner is None
