"""`max_concurrent_runs`: never one too many, and nobody who is held back is forgotten."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from django.db import transaction

from runs.machine.stimuli import Cancel, StartReady, Succeeded
from runs.models import WorkflowRun
from runs.store import Store, Write
from runs.store.admission import HELD, SLOT
from runs.store.safely import persist_safely
from runs.tests.store.worlds import World
from workflows.models import Workflow

START = StartReady(10, "w")
NULL_FLOW = 1  # one step `a`, in `versions`


@pytest.fixture
def limited(world: World) -> World:
    """Of the workflow with one step, one run at a time."""
    Workflow.objects.filter(id=world.versions[NULL_FLOW].workflow_id).update(max_concurrent_runs=1)
    return world


class Savepoints:
    """A reactor persists without a transaction around it; in a test's, what is refused must undo itself alone."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def persist(self, writes: Sequence[Write]) -> set[UUID]:
        with transaction.atomic():
            return self.store.persist(writes)


def test_a_run_that_finds_no_place_is_held_and_woken_by_the_end_of_another(limited):
    first, second = limited.start(NULL_FLOW), limited.start(NULL_FLOW)
    limited.run_ready(first)

    held = not limited.run_ready(second)
    before = WorkflowRun.objects.get(id=second)
    limited.tell(first, Succeeded(0, 1, "{}"))
    after = WorkflowRun.objects.get(id=second)

    assert held
    assert (before.state, before.admission, before.wake_at > limited.store.now()) == ("pending", HELD, True)
    assert (after.admission, after.wake_at <= limited.store.now()) == (HELD, True)
    assert limited.run_ready(second)
    assert WorkflowRun.objects.get(id=second).admission == SLOT


def test_an_end_that_loses_its_race_frees_no_place_for_another_of_its_batch(limited):
    first, second = limited.start(NULL_FLOW), limited.start(NULL_FLOW)
    limited.run_ready(first)
    limited.look(first)
    limited.tell(first, Cancel())  # the attempt is told, and still executes

    stale_end = limited.write(first, Succeeded(0, 1, "{}"), stale=True)
    winners = limited.store.persist([stale_end, limited.write(second, START)])

    assert winners == set()
    assert [WorkflowRun.objects.get(id=id).admission for id in (first, second)] == [SLOT, HELD]


def test_a_run_that_would_begin_in_the_batch_of_anothers_end_is_woken_by_it(limited):
    first, second = limited.start(NULL_FLOW), limited.start(NULL_FLOW)
    limited.run_ready(first)

    limited.store.persist([limited.write(first, Succeeded(0, 1, "{}")), limited.write(second, START)])
    waiting = WorkflowRun.objects.get(id=second)

    assert WorkflowRun.objects.get(id=first).state == "completed"
    assert (waiting.admission, waiting.wake_at <= limited.store.now()) == (HELD, True)
    assert limited.run_ready(second)


def test_places_given_by_a_batch_that_could_not_be_stored_are_given_back(limited):
    poisonous, first, second = [limited.start(NULL_FLOW) for _ in range(3)]
    bad = limited.write(poisonous, Cancel())
    bad.decision.events[-1] = bad.decision.events[-1]._replace(seq=1)  # there is such an event

    writes = [bad, limited.write(second, START), limited.write(first, START)]
    winners, broken = persist_safely(Savepoints(limited.store), writes)

    assert (winners, set(broken)) == ({second}, {poisonous})
    assert [WorkflowRun.objects.get(id=id).admission for id in (first, second)] == [HELD, SLOT]


def test_an_end_that_is_stored_at_the_second_try_wakes_the_next(limited):
    first, second, poisonous = [limited.start(NULL_FLOW) for _ in range(3)]
    limited.run_ready(first)
    limited.run_ready(second)
    bad = limited.write(poisonous, Cancel())
    bad.decision.events[-1] = bad.decision.events[-1]._replace(seq=1)

    winners, _ = persist_safely(Savepoints(limited.store), [limited.write(first, Succeeded(0, 1, "{}")), bad])
    waiting = WorkflowRun.objects.get(id=second)

    assert winners == {first}
    assert (waiting.admission, waiting.wake_at <= limited.store.now()) == (HELD, True)
