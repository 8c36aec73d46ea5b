"""Steps behind a circuit breaker: they wait, one probes, its success wakes the others (F-42)."""

from datetime import UTC, datetime, timedelta

import pytest

from runs.models import CircuitBreaker, StepRun, WorkflowRun
from runs.services import cancel_run
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import failure, row, started, state, step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_broken")]
GUARD = {"key": "pay", "failure_threshold": 2, "window": "1m", "reset_timeout": "30s"}
ONCE = {"retry": {"max_attempts": 1}, "circuit_breaker": GUARD}


def opens(bench, actor, code="network"):
    """A workflow whose two calls failed, so that the breaker opened."""
    run_id = started(definition({"a": ONCE, "b": ONCE}, on_failure="continue"), actor=actor, slug="opens")
    for id in "ab":
        bench.has_started(id)
        bench.ended(id, failure(code))
    bench.until(lambda: state(run_id) == "failed")


def reset_time_over():
    CircuitBreaker.objects.update(probe_at=datetime.now(UTC) - timedelta(seconds=1))


def test_while_it_is_open_steps_wait_and_burn_no_attempt(bench, actor):
    opens(bench, actor)
    run_id = started(definition({"c": ONCE}), actor=actor)

    bench.until(lambda: step(run_id, "c").reason == "circuit_open")
    bench.turn(3)

    waiting = step(run_id, "c")
    assert (waiting.state, waiting.attempt, waiting.tries, waiting.breaker) == ("queued", 0, 0, "pay")
    assert ("c", 1) not in bench.hands.seen
    assert row(run_id).wake_at == waiting.wake_at  # let go until the probe's time


def test_of_many_steps_that_wait_one_probes_and_its_success_wakes_the_others(bench, actor):
    opens(bench, actor)
    ids = [started(definition({f"c{n}": ONCE}), actor=actor, slug=f"c{n}") for n in range(4)]
    for n, run_id in enumerate(ids):
        bench.until(lambda n=n, id=run_id: step(id, f"c{n}").reason == "circuit_open")
    reset_time_over()
    past = datetime.now(UTC) - timedelta(seconds=1)
    WorkflowRun.objects.filter(id__in=ids).update(wake_at=past)
    StepRun.objects.filter(run_id__in=ids).update(wake_at=past)
    bench.until(lambda: len(bench.hands.calls) == 3)
    bench.turn(5)
    probes = len(bench.hands.calls) - 2

    probe = bench.hands.calls[-1].step_id
    bench.ended(probe)
    bench.until(lambda: len(bench.hands.calls) == 6)

    assert probes == 1
    assert CircuitBreaker.objects.get().state == "closed"


def test_steps_of_a_wide_run_that_have_no_thread_yet_ask_when_they_have_one(benches, actor):
    bench = benches(threads=2)
    wide = started(definition({f"c{n}": ONCE for n in range(30)}, on_failure="continue"), actor=actor)
    bench.until(lambda: len(bench.hands.calls) == 2)
    for n in range(30):
        bench.hands.end(f"c{n}", failure("http_503"))

    bench.until(lambda: step(wide, "c29").reason == "circuit_open")

    assert len(bench.hands.calls) <= 6  # naively all thirty would have gone


def test_asking_costs_one_query_a_batch_however_wide_the_run(benches, actor, django_assert_max_num_queries):
    bench = benches(threads=2)
    started(definition({f"c{n}": ONCE for n in range(200)}), actor=actor)

    with django_assert_max_num_queries(40):
        bench.turn(2)


@pytest.mark.parametrize(
    ("code", "after"), [("http_503", "open"), ("http_404", "closed"), ("expression_error", "half_open")]
)
def test_what_the_probe_came_to_decides(bench, actor, code, after):
    opens(bench, actor)
    reset_time_over()
    run_id = started(definition({"probe": ONCE}), actor=actor)
    bench.has_started("probe")

    bench.ended("probe", failure(code))
    bench.until(lambda: state(run_id) == "failed")

    assert CircuitBreaker.objects.get().state == after


def test_a_late_result_tells_the_breaker_nothing(bench, actor):
    late = {"retry": {"max_attempts": 1}, "timeout": "50ms", "circuit_breaker": GUARD}
    run_id = started(definition({"late": late, "z": {}}, on_failure="continue"), actor=actor)
    bench.has_started("late")
    bench.has_started("z")
    bench.until(lambda: step(run_id, "late").state == "failed")
    before = CircuitBreaker.objects.get()

    bench.ended("late", failure("network"))
    bench.turn(2)

    assert (before.state, len(before.failures)) == ("closed", 1)  # the timeout
    assert CircuitBreaker.objects.get().revision == before.revision


def test_an_attempt_that_was_cancelled_tells_the_breaker_nothing(bench, actor):
    run_id = started(definition({"a": ONCE}), actor=actor)
    bench.has_started("a")
    cancel_run(actor=actor, run_id=run_id)
    bench.renew()
    bench.ended("a", failure("network"))
    bench.until(lambda: state(run_id) == "cancelled")

    assert not CircuitBreaker.objects.exists()
