"""What a child of a worker of the queue `tasks` does: take the step, execute it, store its end."""

import logging
import random
import signal
import threading
import time
from collections.abc import Sequence
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection, transaction

from runs import doorbell, store
from runs.executors.task import execute as execute_task
from runs.machine.decide import decide_all
from runs.machine.decision import Execute
from runs.machine.stimuli import StartReady, Stimulus, TakeApart
from runs.reactor.gates import Gates
from runs.reactor.job import Job, lines_of, outcome_of
from runs.store import Lease, Loaded, LogBatch, Write
from runs.store.admission import HELD
from runs.store.interface import LEASE

logger = logging.getLogger(__name__)
RACES = 50  # lost to others before the message is dropped: it is sent again
STORE_SECONDS = 60.0  # that the end of an attempt is tried to be stored
LOG_SECONDS = 1.0
TELL = signal.SIGUSR2  # the main process to the child: nobody waits for this attempt any more


def execute(run_id: UUID, step_id: str, holder: str, worker: str) -> bool:
    """Take the step if it still waits, and execute it. False where there was nothing to do."""
    taken = take(run_id, step_id, holder, worker)
    if taken is None:
        return False
    loaded, job = taken
    before = signal.signal(TELL, lambda *_: job.call.cancelled.set())
    pump = _LogPump(loaded, job)
    try:
        outcome = outcome_of(job, execute_task)
    finally:
        signal.signal(TELL, before)
        logs = pump.stop()
    store_end(run_id, outcome, logs)
    return True


def take(run_id: UUID, step_id: str, holder: str, worker: str) -> tuple[Loaded, Job] | None:
    """queued → running, held by `holder`; None where the step does not wait (any more)."""
    current, gates = store.current(), Gates()
    for _ in range(RACES):
        loaded = current.load([run_id]).get(run_id)
        if loaded is None or loaded.broken is not None or loaded.snapshot.run.admission == HELD:
            return None
        snapshot, now = loaded.snapshot, current.now()
        i = snapshot.plan.index.get(step_id)
        if i is None:
            return None
        gates.ask([snapshot], now)
        names, verdicts = gates.given(snapshot.head)
        start = StartReady(1, worker, names, verdicts)
        decision = decide_all(snapshot, [TakeApart(i, holder, LEASE, start)], now)
        if not decision.changes:
            return None
        if _persist(
            loaded, Write(snapshot.head, snapshot.plan, decision, lease=Lease.WAKE, emitter=f"tasks:{worker}"[:64])
        ):
            command = next((c for c in decision.commands if isinstance(c, Execute)), None)
            return (loaded, gates.job(snapshot, command)) if command is not None else None
    return None


def store_end(run_id: UUID, outcome: Stimulus, logs: Sequence[LogBatch] = ()) -> None:
    """Store how the attempt ended. Late, or told by somebody else already, it changes nothing."""
    until, current = time.monotonic() + STORE_SECONDS, store.current()
    while time.monotonic() < until:
        try:
            loaded = current.load([run_id]).get(run_id)
            if loaded is None or loaded.broken is not None:
                return
            snapshot = loaded.snapshot
            decision = decide_all(snapshot, [outcome], current.now())
            if not decision.changes:
                return
            write = Write(snapshot.head, snapshot.plan, decision, lease=Lease.WAKE, logs=list(logs), emitter="tasks")
            if _persist(loaded, write):
                return
        except (DatabaseError, InterfaceError) as error:
            logger.warning("run %s: the end of an isolated attempt cannot be stored yet: %s", run_id, error)
            connection.close()
            time.sleep(0.2 + random.random())  # noqa: S311 - jitter
    logger.error("run %s: the end of an isolated attempt could not be stored: its lease will run out", run_id)


def _persist(loaded: Loaded, write: Write) -> bool:
    with transaction.atomic():
        won = bool(store.current().persist([write]))
        if won:
            doorbell.ring_after_commit(*([write.head.id] if loaded.lease_owner is not None else []))
    return won


class _LogPump:
    """Stores the attempt's lines once a second while it executes; an operator reads along."""

    def __init__(self, loaded: Loaded, job: Job) -> None:
        self._head, self._job, self._next = loaded.snapshot.head, job, 1
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="logs", daemon=True)
        self._thread.start()

    def stop(self) -> list[LogBatch]:
        """The lines that are not stored yet."""
        self._over.set()
        self._thread.join()
        return self._batch()

    def _work(self) -> None:
        try:
            while not self._over.wait(LOG_SECONDS):
                batch = self._batch()
                if batch:
                    store.current().append_logs(self._head, batch)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("lines of run %s are lost: %s", self._head.id, error)
        finally:
            connection.close()

    def _batch(self) -> list[LogBatch]:
        lines = lines_of(self._job.call)
        if not lines:
            return []
        batch = LogBatch(self._job.call.step_id, self._job.call.attempt, self._next, lines)
        self._next += len(lines)
        return [batch]
