"""What the main process of a worker of the queue `tasks` does beside its children: leases, cancels, the end."""

import contextlib
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from celery import bootsteps
from celery.signals import task_received, worker_process_init
from celery.worker import state as worker_state
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from runs import store, workers
from runs.isolated.taking import TELL, store_end
from runs.machine.stimuli import Lost, PutBack, Stimulus
from runs.models import StepRun
from runs.store.interface import LEASE

logger = logging.getLogger(__name__)
TASK = "runs.execute_isolated"
RENEW_SECONDS = 2.0  # how soon a cancel is heard, and the death of a child
PATIENCE_SECONDS = 3.0  # between being told and being killed
STOP_SECONDS = 20.0  # for children to end before they are put back


class Keeper(threading.Thread):
    """Renews the leases of what the children execute, and kills what nobody waits for any more."""

    def __init__(self, name: str) -> None:
        super().__init__(name="isolated", daemon=True)
        self.id, self.worker = uuid4(), name
        self.over = threading.Event()
        self._told: dict[str, float] = {}
        self._seen: set[str] = set()  # executions that were seen to hold their step
        self.received: set[str] = set()  # whose messages came, and that have not been seen to end

    def run(self) -> None:
        while not self.over.wait(RENEW_SECONDS):
            try:
                workers.beat(self.id, self.worker, "tasks")
                self.look()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("leases of isolated tasks cannot be renewed now: %s", error)
                connection.close()
        connection.close()

    def look(self) -> None:
        active = {request.id: request for request in _active()}
        self._told = {id: at for id, at in self._told.items() if id in active}
        self._mourn(self.received - {request.id for request in list(worker_state.reserved_requests)})
        if not active:
            return
        now = store.current().now()
        held = {row.holder: row for row in _held(active)}
        for id, request in active.items():
            row = held.get(id)
            if row is not None:
                StepRun.objects.filter(id=row.id, holder=id).update(wake_at=_lease_end(row, request, now))
                self._seen.add(id)
            dead = id in self._seen if row is None else row.run.stopping is not None
            if dead:  # its attempt is no longer the live one, or its run is being cancelled
                self._end(id, request)

    def _mourn(self, gone: set[str]) -> None:
        """Executions that Celery has no more: where one still holds its step, its child died."""
        self._seen -= gone
        self.received -= gone
        for row in _held(gone):
            _tell_of(row, lambda step, attempt: Lost(step, attempt, alone=True))

    def _end(self, id: str, request: Any) -> None:
        """Tell the child; once its patience is over, kill it."""
        told = self._told.setdefault(id, time.monotonic())
        late = time.monotonic() - told > PATIENCE_SECONDS
        _signal(request, signal.SIGKILL if late else TELL)


def _active() -> list[Any]:
    return [request for request in list(worker_state.active_requests) if request.name == TASK]


def _held(ids: Collection[str]) -> list[StepRun]:
    if not ids:
        return []
    held = StepRun.objects.filter(holder__in=list(ids), state="running").select_related("run")
    return list(held.only("id", "holder", "started_at", "attempt", "run_id", "step_id", "run__stopping"))


def _lease_end(row: StepRun, request: Any, now: datetime) -> datetime:
    timeout = (request.kwargs or {}).get("timeout")
    if timeout is None or row.started_at is None:
        return now + LEASE
    return min(now + LEASE, row.started_at + timedelta(seconds=timeout))


def _signal(request: Any, number: int) -> None:
    pid = getattr(request, "worker_pid", None)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@worker_process_init.connect
def _child_begins(**_: Any) -> None:
    """A word that comes between two executions ends nobody; and a task's memory has a bound."""
    signal.signal(TELL, signal.SIG_IGN)
    limit = settings.STATERAIL_ISOLATED_MEMORY_MB * 1024 * 1024
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class IsolatedStep(bootsteps.StartStopStep):
    """Starts the keeper in a worker of the queue `tasks`; at the end puts back what does not end in time."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.keeper: Keeper | None = None
        self.wanted = "tasks" in parent.app.amqp.queues.consume_from
        self.hostname = str(parent.hostname)

    def start(self, parent: Any) -> None:
        if self.wanted:
            keeper = self.keeper = Keeper(self.hostname)
            task_received.connect(lambda request=None, **_: keeper.received.add(request.id), weak=False)
            keeper.start()

    def stop(self, parent: Any) -> None:
        if self.keeper is None:
            return
        until = time.monotonic() + STOP_SECONDS
        while _active() and time.monotonic() < until:
            time.sleep(0.05)
        self.keeper.over.set()
        self.keeper.join(RENEW_SECONDS * 2)
        _put_back()
        with contextlib.suppress(DatabaseError, InterfaceError):
            workers.leave(self.keeper.id)

    terminate = stop


def _put_back() -> None:
    """An orderly stop costs neither a try nor a loss: the step goes back to its queue, then its child goes."""
    active = {request.id: request for request in _active()}
    if not active:
        return
    for row in _held(active):
        _tell_of(row, PutBack)
        _signal(active[str(row.holder)], signal.SIGKILL)


def _tell_of(row: StepRun, stimulus: Callable[[int, int], Stimulus]) -> None:
    """Store how an attempt ended that its child did not tell of."""
    loaded = store.current().load([row.run_id]).get(row.run_id)
    if loaded is not None and row.step_id in loaded.snapshot.plan.index:
        store_end(row.run_id, stimulus(loaded.snapshot.plan.index[row.step_id], row.attempt))
