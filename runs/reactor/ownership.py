"""The runs in this reactor's hands: claimed, loaded, renewed, let go.

`active` has something to decide, `ready` has a step that waits for nothing but a thread. What is
stale (somebody else wrote, or nobody knows what was stored) is loaded anew before the next decision.
"""

import logging
import time
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID, uuid4

from runs.machine.decide import decide_all
from runs.machine.stimuli import Due, EngineError, Failed, Lost, PutBack, Succeeded
from runs.reactor.attempts import Attempts
from runs.reactor.owned import Owned, Timers
from runs.store import Lease, Store, Write
from staterail.core.clock import DatabaseClock

logger = logging.getLogger(__name__)
MAX_OWNED = 512
MAX_STEPS = 50_000  # held in memory, over all owned runs
MAX_BYTES = 64 * 1024 * 1024  # of inputs and outputs held
FAIR_SECONDS = 1.0  # that a ready run waits before it goes ahead of runs that are under way


class Ownership:
    """Only the reactor's thread uses it."""

    def __init__(self, store: Store, attempts: Attempts) -> None:
        self.owner = uuid4()  # new with every start of a process
        self.store, self.attempts = store, attempts
        self.clock = DatabaseClock()
        self.owned: dict[UUID, Owned] = {}
        self.ready: dict[UUID, float] = {}  # since when (monotonic)
        self.active: dict[UUID, None] = {}
        self.timers = Timers()
        self._steps = 0

    # What there is to do

    def activate(self, run: Owned) -> None:
        self.active[run.id] = None

    def mark_stale(self, run_ids: Iterable[UUID]) -> None:
        for run_id in run_ids:
            run = self.owned.get(run_id)
            if run is not None:
                run.stale = True
                self.active[run_id] = None

    def mark_due(self, draw: float) -> None:
        """Runs whose time has come; `draw` in [0, 1) is the jitter of a retry that follows."""
        for run, step in self.timers.pop_due(self.clock.now(), self.owned):
            run.stimuli.append(Due(step, draw))
            self.active[run.id] = None

    def whose_turn(self, free: int) -> list[Owned]:
        """Runs with news, then runs that wait for a thread; these first once one waited for long."""
        waiting: list[UUID] = []
        if self.ready and free > 0:
            waiting = [id for id in self.ready if id not in self.active][:free]
        first = waiting and time.monotonic() - self.ready[waiting[0]] > FAIR_SECONDS
        ids = [*waiting, *self.active] if first else [*self.active, *waiting]
        return [self.owned[id] for id in ids]

    # In and out

    def room(self) -> int:
        """For how many more runs there is room, by their number, their steps and their bytes."""
        room = min(MAX_OWNED - len(self.owned), 4 * self.attempts.pool.size - len(self.ready))
        if room <= 0 or len(self.owned) <= 64:  # a small number is never too much
            return room
        full = self._steps > MAX_STEPS or sum(run.bytes for run in self.owned.values()) > MAX_BYTES
        return 0 if full else room

    def claim(self) -> bool:
        """Take over due runs up to the room; whether there may be more."""
        room = self.room()
        if room <= 0:
            return False
        claimed = self.store.claim(self.owner, room)
        self.load(claimed)
        return len(claimed) == room

    def load_stale(self) -> None:
        self.load([id for id in self.active if self.owned[id].stale])

    def load(self, run_ids: list[UUID]) -> None:
        """Take runs into our hands as they stand; attempts that nobody here works on were lost with their worker."""
        if not run_ids:
            return
        self.clock.observe(self.store.now())
        loaded = self.store.load(run_ids)
        for run_id in run_ids:
            found = loaded.get(run_id)
            if found is None or found.lease_owner != self.owner:
                self.forget(run_id)
                continue
            run = self.owned.get(run_id)
            if run is None:
                run = self.owned[run_id] = Owned(found.snapshot)
                self._steps += len(found.snapshot.plan.steps)
            run.take(found.snapshot)
            self.timers.add_all(run)
            self.attempts.tell_dead(run)
            self._miss_attempts(run)
            if found.broken is not None:
                run.stimuli = [EngineError(found.broken)]
            self.active[run_id] = None

    def _miss_attempts(self, run: Owned) -> None:
        """Attempts that the rows say execute, and that no thread here works on."""
        rows = run.snapshot.steps
        told = {(s.step, s.attempt) for s in run.stimuli if isinstance(s, Succeeded | Failed | Lost | PutBack)}
        for i in run.executing():
            key = (i, rows[i].attempt)
            if key in run.jobs or key in told:
                continue
            unstarted = run.in_doubt.get(key)
            if unstarted is not None:  # our own write, whose answer was lost: start what it said
                self.attempts.execute(run, unstarted)
            else:
                run.stimuli.append(Lost(*key))
        run.in_doubt = {}

    def forget(self, run_id: UUID) -> None:
        """Drop a run that ended, was let go, or is another's now. Its attempts are told to end."""
        self.active.pop(run_id, None)
        self.ready.pop(run_id, None)
        run = self.owned.pop(run_id, None)
        if run is not None:
            self._steps -= len(run.snapshot.plan.steps)
            for job in run.jobs.values():
                self.attempts.tell(job)

    def renew(self) -> None:
        """Prolong all leases; find out what others took over or wrote to."""
        if not self.owned:
            return
        revisions = self.store.renew(self.owner)
        for run_id in [id for id in self.owned if id not in revisions]:
            logger.warning("run %s: the lease was lost", run_id)
            self.forget(run_id)
        self.mark_stale([id for id, run in self.owned.items() if revisions[id] != run.snapshot.run.revision])

    def release(self, run: Owned, wake_at: datetime | None) -> None:
        """Let a run go, guarded: whoever wrote meanwhile has woken nobody, so then we keep it and look again."""
        snapshot = run.snapshot
        decision = decide_all(snapshot, (), self.clock.now())
        write = Write(snapshot.head, snapshot.plan, decision, lease=Lease.RELEASE, wake_at=wake_at)
        if self.store.persist([write]):
            self.forget(run.id)
        else:
            self.mark_stale([run.id])
