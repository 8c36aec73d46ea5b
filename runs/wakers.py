"""Runs that other runs set going: what waited for a circuit breaker that has closed."""

import logging
from collections.abc import Container, Iterator
from uuid import UUID

from runs import breakers, store
from runs.machine.decide import decide_all
from runs.machine.stimuli import BreakerClosed
from runs.store import Lease, Write

logger = logging.getLogger(__name__)


def wake_waiting(tenant_id: UUID, key: str, mine: Container[UUID]) -> Iterator[tuple[UUID, str]]:
    """Wake the steps that wait for a breaker, a batch at a time.

    Yields (run id, step id) of the runs in `mine`, which their owner must tell itself. A run that
    somebody else changes meanwhile is left: its step looks again by itself when its time comes.
    """
    current = store.current()
    for batch in breakers.waiting(tenant_id, key):
        yield from ((waiting.run_id, waiting.step_id) for waiting in batch if waiting.run_id in mine)
        others: dict[UUID, list[str]] = {}
        for waiting in batch:
            if waiting.run_id not in mine:
                others.setdefault(waiting.run_id, []).append(waiting.step_id)
        writes = []
        for run_id, loaded in current.load(others).items():
            snapshot = loaded.snapshot
            stimuli = [BreakerClosed(snapshot.plan.index[id]) for id in others[run_id] if id in snapshot.plan.index]
            decision = decide_all(snapshot, stimuli, current.now())
            if decision.changes:
                writes.append(Write(snapshot.head, snapshot.plan, decision, lease=Lease.WAKE))
        current.persist(writes)
