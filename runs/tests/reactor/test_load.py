"""Much at once: nobody starves, and a step costs what it costs in a small run."""

import time
from datetime import timedelta

import pytest

from runs.models import Event, StepRun, WorkflowRun
from runs.services import RunRequest, start_runs
from runs.tests.factories import an_actor, published
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import started, state

pytestmark = pytest.mark.django_db
DELAY = {"kind": "Delay", "config": {"for": "1h"}}


def test_five_thousand_timers_that_are_due_at_once_all_fire_soon(committed, benches):
    bench, actor = benches(threads=32), an_actor()
    version = published(definition({"wait": DELAY}), actor)
    start_runs(actor=actor, workflow=version.workflow, requests=[RunRequest()] * 5000)
    open_runs = WorkflowRun.objects.exclude(state="completed")
    bench.until(lambda: not open_runs.filter(state="pending").exists())
    bench.until(lambda: not bench.reactor.runs.owned)
    past = bench.store.now() - timedelta(seconds=1)
    StepRun.objects.update(wake_at=past)
    open_runs.update(wake_at=past)
    since = time.monotonic()

    bench.until(lambda: not open_runs.exists())

    assert time.monotonic() - since < 15  # 2 s alone; a bound that only a scan of all for each would break
    assert Event.objects.filter(event_type="step_completed").count() == 5000


def test_runs_take_turns_at_the_threads_however_wide_one_of_them_is(benches, monkeypatch):
    monkeypatch.setattr("runs.reactor.ownership.FAIR_SECONDS", 0.0)
    bench, actor = benches(threads=1), an_actor()
    for n in range(3):
        started(definition({f"w{n}_{k}": {} for k in range(40)}), actor=actor, slug=f"wide{n}")
    bench.until(lambda: bench.hands.calls and len(bench.reactor.runs.owned) == 3)
    late = started(definition("late"), actor=actor, slug="late")
    bench.until(lambda: bench.owns(late))

    bench.hands.let_go()
    bench.until(lambda: state(late) == "completed")

    assert len(bench.hands.calls) < 20  # of 121


def test_a_wide_run_starts_as_many_steps_as_there_are_threads_and_the_others_wait(benches):
    bench = benches(threads=3)
    run_id = started(definition({f"w{n}": {} for n in range(20)}))

    bench.until(lambda: len(bench.hands.calls) == 3)
    bench.turn(3)

    assert len(bench.hands.calls) == 3
    assert StepRun.objects.filter(run_id=run_id, state="queued", reason="ready").count() == 17


def test_no_more_runs_are_claimed_than_there_is_room_for(benches):
    bench = benches(threads=2)
    actor = an_actor()
    version = published(definition("a"), actor)
    start_runs(actor=actor, workflow=version.workflow, requests=[RunRequest()] * 30)

    bench.turn(10)

    owned = WorkflowRun.objects.filter(lease_owner=bench.reactor.owner).count()
    assert owned == len(bench.reactor.runs.owned)
    assert owned <= 4 * 2 + 2


@pytest.mark.parametrize(("limit", "value"), [("MAX_STEPS", 1), ("MAX_BYTES", 1)])
def test_the_room_is_bounded_by_steps_and_bytes_once_there_are_many_runs(benches, monkeypatch, limit, value):
    bench = benches(threads=100)
    actor = an_actor()
    version = published(definition("a"), actor)
    start_runs(actor=actor, workflow=version.workflow, requests=[RunRequest(input={"x": "y"})] * 70)
    bench.until(lambda: len(bench.reactor.runs.owned) == 70)
    room = bench.reactor.runs.room()

    monkeypatch.setattr(f"runs.reactor.ownership.{limit}", value)

    assert (room > 0, bench.reactor.runs.room()) == (True, 0)


def test_a_run_with_much_to_store_does_not_hold_up_the_others_commit(bench, monkeypatch):
    monkeypatch.setattr("runs.reactor.loop.BATCH_BYTES", 1000)
    ids = [started(definition("a"), slug=f"f{n}") for n in range(3)]
    bench.until(lambda: len(bench.hands.calls) == 3)
    batches = bench.reactor.batches
    bench.hands.end("a", "x" * 900)
    bench.until(lambda: len(bench.inbox.results) == 3)

    bench.turn(2)

    assert {state(id) for id in ids} == {"completed"}
    assert bench.reactor.batches - batches >= 2
