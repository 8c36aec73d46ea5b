"""The runs that a reactor holds, what was told about each, and when to look at which again."""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from uuid import UUID

from runs.executors.base import Call
from runs.machine.commands import run_due
from runs.machine.decision import Decision
from runs.machine.snapshot import Snapshot
from runs.machine.states import StepState
from runs.machine.stimuli import Due, Stimulus
from runs.reactor.open_steps import OpenSteps
from runs.reactor.pool import Job
from runs.store import LogBatch

SPARE = 4096  # entries of the heap that may have lost their meaning
Entry = tuple[datetime, int, UUID, int | None]  # when, a tie-break, the run, its step (None: the run's own time)


class Owned:
    """One run in this reactor's hands."""

    __slots__ = (
        "snapshot", "jobs", "stimuli", "logs", "log_numbers", "stale", "fresh", "due", "bytes", "in_doubt", "apart",
        "loaded_at", "unstorable", "_open",
    )  # fmt: skip

    def __init__(self, snapshot: Snapshot, apart: frozenset[int] = frozenset()) -> None:
        self.snapshot = snapshot
        self._open = OpenSteps(snapshot, apart)
        self.jobs: dict[tuple[int, int], Job] = {}  # (step, attempt) -> what a thread works on
        self.stimuli: list[Stimulus] = []  # told, and not yet stored
        self.logs: list[LogBatch] = []
        self.log_numbers: dict[tuple[int, int], int] = {}  # lines stored of a live attempt
        self.stale = False  # somebody else wrote: load it anew before the next decision
        self.fresh = False  # just loaded: what needs no thread is not begun yet
        self.due: datetime | None = None  # the run's own time that is in the heap
        self.apart = apart  # isolated steps: sent to workers of their own, not started here
        self.loaded_at: datetime | None = None  # the database's time
        self.unstorable = False  # the last decision did not fit its columns
        self.bytes = 0  # of its input and outputs, as held in memory
        self.in_doubt: dict[tuple[int, int], Job] = {}  # starts that were stored, or not: the answer was lost

    @property
    def id(self) -> UUID:
        return self.snapshot.head.id

    @property
    def has_news(self) -> bool:
        """Whether there is anything to decide or to store but the start of an attempt."""
        return bool(self.stimuli or self.stale or self.fresh or self.logs)

    def take(self, snapshot: Snapshot) -> None:
        """The run as it was just loaded."""
        self.snapshot, self.stale, self.due, self.bytes = snapshot, False, None, snapshot.size()
        self.fresh = bool(snapshot.plan.special)
        self._open = OpenSteps(snapshot, self.apart)

    def apply(self, decision: Decision) -> None:
        """Take over a decision that was stored."""
        self.snapshot.apply(decision)
        self._open.change(decision.steps)
        self.bytes += sum(len(row.output) for row in decision.steps.values() if row.output is not None)

    def doubt(self, jobs: Iterable[Job]) -> None:
        """Nobody knows whether a decision was stored: remember what it would have started."""
        self.in_doubt = {(job.step, job.call.attempt): job for job in jobs}

    def has_ready(self) -> bool:
        """Whether a step waits for nothing but a thread (or for a breaker's word)."""
        return bool(self._open.ready)

    def sent(self) -> bool:
        """Whether a step waits for a worker of its own."""
        return bool(self._open.sent)

    def is_idle(self) -> bool:
        """Whether it waits for its time or for a person, and nothing of it is in our hands."""
        return not (self.jobs or self.has_news or self.has_ready() or self._open.executing or self.sent())

    def executing(self) -> list[int]:
        return list(self._open.executing)

    def next_due(self) -> datetime | None:
        """The earliest time at which something is due, or None where only a person can go on."""
        known = [at for at in (self._open.next_time(), run_due(self.snapshot.run)) if at is not None]
        return min(known, default=None)

    def dead_jobs(self) -> Iterator[Job]:
        """Attempts in a thread that the run no longer waits for, or that its stop has told to end."""
        stopping = self.snapshot.run.stopping is not None
        for (i, attempt), job in self.jobs.items():
            row = self.snapshot.steps.get(i)
            live = row is not None and row.state is StepState.RUNNING and row.attempt == attempt
            if stopping or not live:
                yield job

    def call_of(self, i: int, attempt: int) -> Call | None:
        job = self.jobs.get((i, attempt))
        return job.call if job is not None else None


class Timers:
    """Due times of owned runs. An entry that has moved meanwhile is seen as such when it comes up."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._count = itertools.count()
        self._limit = SPARE  # of entries, before those without a meaning are thrown out

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: datetime, run_id: UUID, step: int | None) -> None:
        heapq.heappush(self._heap, (at, next(self._count), run_id, step))

    def add_all(self, owned: Owned) -> None:
        """The times of a run that was just loaded."""
        snapshot = owned.snapshot
        for i in itertools.chain(snapshot.queued, snapshot.running):
            at = snapshot.steps[i].wake_at
            if at is not None:
                self.add(at, owned.id, i)
        self._add_run(owned)

    def add_changed(self, owned: Owned, decision: Decision) -> None:
        for i, row in decision.steps.items():
            if row.wake_at is not None:
                self.add(row.wake_at, owned.id, i)
        self._add_run(owned)

    def add_missed(self, owned: Owned, stimuli: Iterable[Stimulus], now: datetime) -> None:
        """A time that had come, and lies ahead again since the clock was put right: it must come once more."""
        for stimulus in stimuli:
            if isinstance(stimulus, Due):
                at = _time_of(owned, stimulus.step)
                if at is not None and at > now:
                    self.add(at, owned.id, stimulus.step)

    def _add_run(self, owned: Owned) -> None:
        at = run_due(owned.snapshot.run)
        if at is not None and at != owned.due:
            self.add(at, owned.id, None)
        owned.due = at

    def next(self) -> datetime | None:
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: datetime, owned: Mapping[UUID, Owned]) -> Iterator[tuple[Owned, int | None]]:
        """(run, step) whose time has come; no step: the run's own time."""
        if len(self._heap) > self._limit:
            self._throw_out(owned)
        while self._heap and self._heap[0][0] <= now:
            at, _, run_id, step = heapq.heappop(self._heap)
            run = owned.get(run_id)
            if run is not None and _time_of(run, step) == at:
                yield run, step

    def _throw_out(self, owned: Mapping[UUID, Owned]) -> None:
        """What nobody waits for: a step that ended in time left its deadline, a run that was let go all its times."""
        known: dict[tuple[datetime, UUID, int | None], Entry] = {}
        for entry in self._heap:
            at, _, run_id, step = entry
            run = owned.get(run_id)
            if run is not None and _time_of(run, step) == at:
                known[at, run_id, step] = entry
        self._heap = list(known.values())
        heapq.heapify(self._heap)
        self._limit = 2 * len(self._heap) + SPARE


def _time_of(run: Owned, step: int | None) -> datetime | None:
    if step is None:
        return run_due(run.snapshot.run)
    row = run.snapshot.steps.get(step)
    return row.wake_at if row is not None else None
