"""What the open steps of a run wait for, kept up to date at the cost of what changes: a run may have thousands."""

import heapq
import itertools
from collections.abc import Iterable
from datetime import datetime

from runs.machine.snapshot import Snapshot
from runs.machine.states import Reason, StepState

SPARE = 64  # times of steps that wait for them no more

_OPEN = (StepState.QUEUED, StepState.RUNNING)


class OpenSteps:
    """Follows a snapshot: after each change of it, `change` is told which steps changed."""

    __slots__ = ("ready", "sent", "executing", "_snapshot", "_apart", "_times")

    def __init__(self, snapshot: Snapshot, apart: frozenset[int]) -> None:
        self.ready: set[int] = set()  # wait for nothing but a thread (or for a breaker's word)
        self.sent: set[int] = set()  # wait for a worker of their own
        self.executing: dict[int, None] = {}
        self._snapshot, self._apart = snapshot, apart
        self._times: list[tuple[datetime, int]] = []  # a heap
        self.change(itertools.chain(snapshot.queued, snapshot.running))

    def change(self, steps: Iterable[int]) -> None:
        rows = self._snapshot.steps
        for i in steps:
            row = rows[i]
            self.ready.discard(i)
            self.sent.discard(i)
            self.executing.pop(i, None)
            if row.reason is Reason.READY:
                (self.sent if i in self._apart else self.ready).add(i)
            elif row.reason is Reason.EXECUTING:
                self.executing[i] = None
            if row.wake_at is not None:
                heapq.heappush(self._times, (row.wake_at, i))
        if len(self._times) > SPARE + 2 * (len(self._snapshot.queued) + len(self._snapshot.running)):
            self._times = sorted({(at, i) for at, i in self._times if self._waits_for(at, i)})

    def next_time(self) -> datetime | None:
        """The earliest time that a step waits for."""
        while self._times and not self._waits_for(*self._times[0]):
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def _waits_for(self, at: datetime, i: int) -> bool:
        row = self._snapshot.steps[i]
        return row.wake_at == at and row.state in _OPEN
