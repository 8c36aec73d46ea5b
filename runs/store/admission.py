"""`max_concurrent_runs`: which runs of a limited workflow may begin, and who is woken when one ends.

A run that begins takes a place (`admission` slot) and gives it back at its end; one that finds none is held,
`pending (concurrency)`, with a look every HELD_FOR as a net. Whoever admits or ends such a run locks the
workflow's row first, by a statement of its own: one statement would count with the snapshot from before its
wait. Places go by the runs' ids, so the oldest first, and the end of a run wakes the next in its own commit.
Batches without such a run touch none of this.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from runs.machine.states import RUN_FINAL, RunState
from runs.models import WorkflowRun
from runs.store.interface import Store, Write
from workflows.models import Workflow

HELD, SLOT = "held", "slot"
HELD_FOR = timedelta(seconds=30)


def persist(store: Store, writes: Sequence[Write]) -> set[UUID]:
    """Store a batch, but hold runs back that have no place; those are no winners."""
    locked = {write.head.workflow_id for write in writes if _wants_place(write) or _gives_back(write)}
    for write in writes:
        if write.decision.run.state in RUN_FINAL and not _gives_back(write):
            write.decision.run.admission = None
    if not locked:
        return store.persist_admitted(writes)
    before = [write.decision.run.admission for write in writes]
    try:
        return _persist_limited(store, writes, locked)
    except Exception:  # rolled back: a second try, run by run, must ask for its places anew
        for write, admission in zip(writes, before, strict=True):
            write.decision.run.admission = admission
        raise


def _persist_limited(store: Store, writes: Sequence[Write], locked: set[UUID]) -> set[UUID]:
    with transaction.atomic():
        limits = dict(
            Workflow.objects.select_for_update(no_key=True, of=("self",))
            .filter(id__in=locked)
            .order_by("id")
            .values_list("id", "max_concurrent_runs")
        )
        refused = _places(store, limits, writes)
        winners = store.persist_admitted([write for write in writes if write.decision.run_id not in refused])
        for write in writes:
            if write.decision.run_id in refused:
                _hold(store, write)
        _wake(store, limits)
    return winners


def entitled(free: int, held: Iterable[UUID], wanting: Iterable[UUID]) -> set[UUID]:
    """Who gets the free places: the oldest of those that are held and those that want to begin now."""
    return set(sorted({*held, *wanting})[: max(0, free)])


def _wants_place(write: Write) -> bool:
    run = write.decision.run
    return run.limited and run.admission != SLOT and any(e.event_type == "run_started" for e in write.decision.events)


def _gives_back(write: Write) -> bool:
    return write.decision.run.admission == SLOT and write.decision.run.state in RUN_FINAL


def _places(store: Store, limits: dict[UUID, int | None], writes: Sequence[Write]) -> set[UUID]:
    """Give places to those that may begin; the ids of the others."""
    refused: set[UUID] = set()
    for workflow_id, limit in limits.items():
        mine = [write for write in writes if write.head.workflow_id == workflow_id]
        ending = [write for write in mine if _gives_back(write)]
        wanting = {write.decision.run_id: write for write in mine if _wants_place(write)}
        if wanting and limit is not None:
            held = WorkflowRun.objects.filter(workflow_id=workflow_id, admission=HELD).order_by("id")
            free = limit - _taken(workflow_id)  # the ends of this batch may lose their race: `_wake` sees who won
            refused |= wanting.keys() - entitled(free, held.values_list("id", flat=True)[: max(0, free)], wanting)
        for write in wanting.values():
            if write.decision.run_id not in refused:
                # a run that began and ended in one commit (its config failed) needs no place
                write.decision.run.admission = None if write.decision.run.state in RUN_FINAL else SLOT
        for write in ending:
            write.decision.run.admission = None
    return refused


def _taken(workflow_id: UUID) -> int:
    return WorkflowRun.objects.filter(workflow_id=workflow_id, admission=SLOT).count()


def _hold(store: Store, write: Write) -> None:
    """Let the run go until its turn, or HELD_FOR has passed."""
    WorkflowRun.objects.filter(id=write.decision.run_id, revision=write.decision.expected).update(
        revision=F("revision") + 1, lease_owner=None, wake_at=store.now() + HELD_FOR, admission=HELD
    )


def _wake(store: Store, limits: dict[UUID, int | None]) -> None:
    """Wake the oldest held runs, as many as there are places."""
    now = store.now()
    for workflow_id, limit in limits.items():
        held = WorkflowRun.objects.filter(workflow_id=workflow_id, admission=HELD, state=RunState.PENDING).order_by(
            "id"
        )
        free = None if limit is None else max(0, limit - _taken(workflow_id))
        asleep = Q(id__in=list(held.values_list("id", flat=True)[:free]), lease_owner=None, wake_at__gt=now)
        WorkflowRun.objects.filter(asleep).update(wake_at=now, revision=F("revision") + 1)
