"""The runs in this reactor's hands: claimed, loaded, renewed, let go.

`active` has something to decide, `ready` has a step that waits for nothing but a thread. What is
stale (somebody else wrote, or nobody knows what was stored) is loaded anew before the next decision.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice, zip_longest
from uuid import UUID

from runs.machine.draft import Draft
from runs.machine.stimuli import Due, EngineError, Failed, Lost, PutBack, Succeeded
from runs.reactor.attempts import Attempts
from runs.reactor.owned import Owned, Timers
from runs.reactor.sending import Sending
from runs.reactor.surroundings import Surroundings
from runs.store import Lease, Store, Write
from runs.store.safely import load_safely
from staterail.core.clock import DatabaseClock

logger = logging.getLogger(__name__)
MAX_OWNED = 512
MAX_STEPS = 50_000  # held in memory, over all owned runs
MAX_BYTES = 64 * 1024 * 1024  # of inputs and outputs held
HOLD_WHEN_FULL = timedelta(seconds=1)  # a run that waits longer is let go, where others wait for its place
FAIR_SECONDS = 1.0  # that a ready run waits before it goes ahead of runs that are under way


class Ownership:
    """Only the reactor's thread uses it."""

    def __init__(self, store: Store, attempts: Attempts, sending: Sending, around: Surroundings) -> None:
        self.owner = around.owner()  # new with every start of a process
        self.store, self.attempts, self.sending = store, attempts, sending
        self._monotonic = around.monotonic
        self.clock = DatabaseClock(around.monotonic)
        self.most_runs = MAX_OWNED
        self.owned: dict[UUID, Owned] = {}
        self.ready: dict[Owned, float] = {}  # since when (monotonic)
        self.active: dict[Owned, None] = {}
        self.timers = Timers()
        self._steps = 0
        self._runs_of: Counter[UUID] = Counter()  # tenant -> how many of its runs are here
        self._served: dict[UUID, int] = {}  # tenant -> when it last had a thread
        self._turns = 0

    # What there is to do

    def activate(self, run: Owned) -> None:
        self.active[run] = None

    def mark_stale(self, run_ids: Iterable[UUID]) -> None:
        for run_id in run_ids:
            run = self.owned.get(run_id)
            if run is not None:
                run.stale = True
                self.active[run] = None

    def mark_due(self, draw: float) -> None:
        """Runs whose time has come; `draw` in [0, 1) is the jitter of a retry that follows."""
        for run, step in self.timers.pop_due(self.clock.now(), self.owned):
            if step is not None and self._is_held_apart(run, step):
                run.stale = True  # its holder may have prolonged its lease, which no revision tells
            else:
                run.stimuli.append(Due(step, draw))
            self.active[run] = None

    def _is_held_apart(self, run: Owned, step: int) -> bool:
        """Whether another process executes the step, as of before its lease's end."""
        row = run.snapshot.steps[step]
        return (
            row.holder is not None and row.wake_at is not None and not (run.loaded_at and run.loaded_at >= row.wake_at)
        )

    def whose_turn(self, free: int) -> list[Owned]:
        """Runs with news, then runs that wait for a thread; these first once one waited for long."""
        waiting: list[Owned] = []
        if self.ready and free > 0:
            others = (run for run in self.ready if run not in self.active)
            waiting = list(others if len(self._runs_of) > 1 else islice(others, free))
        if not waiting:
            return list(self.active)
        first = self._monotonic() - self.ready[waiting[0]] > FAIR_SECONDS
        waiting = self._in_turn(waiting)[:free]
        return [*waiting, *self.active] if first else [*self.active, *waiting]

    def _in_turn(self, runs: list[Owned]) -> list[Owned]:
        """Tenants in turn, from the one on that was served longest ago; of each the run first that waits longest."""
        if len(self._runs_of) < 2:
            return runs
        of_tenant: dict[UUID, list[Owned]] = {}
        for run in runs:
            of_tenant.setdefault(run.snapshot.head.tenant_id, []).append(run)
        tenants = sorted(of_tenant, key=lambda id: self._served.get(id, 0))
        return [run for run in chain.from_iterable(zip_longest(*(of_tenant[t] for t in tenants))) if run is not None]

    def served(self, run: Owned) -> None:
        """An attempt of it begins: other runs, and other tenants, that wait for a thread go before it now."""
        self.ready.pop(run, None)
        self._turns += 1
        self._served[run.snapshot.head.tenant_id] = self._turns

    # In and out

    def room(self) -> int:
        """For how many more runs there is room, by their number, their steps and their bytes."""
        room = min(self.most_runs - len(self.owned), 4 * self.attempts.pool.size - len(self.ready))
        if room <= 0 or len(self.owned) <= 64:  # a small number is never too much
            return room
        full = self._steps > MAX_STEPS or sum(run.bytes for run in self.owned.values()) > MAX_BYTES
        return 0 if full else room

    def claim(self) -> bool:
        """Take over due runs up to the room; whether there may be more, also where there is no room now."""
        if len(self.owned) >= self.most_runs:
            self._make_room()
        room = self.room()
        if room <= 0:
            return True
        claimed = self.store.claim(self.owner, room)
        self.load(claimed)
        return len(claimed) == room

    def _make_room(self) -> None:
        """Let go of those that wait for their time, though it is near: others wait for us."""
        soon = self.clock.now() + HOLD_WHEN_FULL
        waits = [(run, run.next_due()) for run in self.owned.values() if run not in self.active and run.is_idle()]
        self.release([(run, due) for run, due in waits if due is None or due > soon])

    def load_stale(self) -> None:
        self.load([run.id for run in self.active if run.stale])

    def load(self, run_ids: list[UUID]) -> None:
        """Take runs into our hands as they stand; attempts that nobody here works on were lost with their worker."""
        if not run_ids:
            return
        self.clock.observe(self.store.now())
        loaded = load_safely(self.store, run_ids)
        for run_id in run_ids:
            found = loaded.get(run_id)
            if found is None or found.lease_owner != self.owner:
                self.forget(run_id)
                continue
            run = self.owned.get(run_id)
            if run is None:
                run = self.owned[run_id] = Owned(found.snapshot, self.sending.apart(found.snapshot.plan))
                self._steps += len(found.snapshot.plan.steps)
                self._runs_of[found.snapshot.head.tenant_id] += 1
            run.take(found.snapshot)
            run.loaded_at = self.clock.now()
            self.timers.add_all(run)
            self.attempts.tell_dead(run)
            self._miss_attempts(run)
            if found.broken is not None:
                run.stimuli = [EngineError(found.broken)]
            self.active[run] = None

    def _miss_attempts(self, run: Owned) -> None:
        """Attempts that the rows say execute, and that no thread here works on."""
        rows = run.snapshot.steps
        told = {(s.step, s.attempt) for s in run.stimuli if isinstance(s, Succeeded | Failed | Lost | PutBack)}
        for i in run.executing():
            key = (i, rows[i].attempt)
            if key in run.jobs or key in told or rows[i].holder is not None:
                continue
            unstarted = run.in_doubt.get(key)
            if unstarted is not None:  # our own write, whose answer was lost: start what it said
                self.attempts.execute(run, unstarted)
            else:
                run.stimuli.append(Lost(*key))
        run.in_doubt = {}

    def forget(self, run_id: UUID) -> None:
        """Drop a run that ended, was let go, or is another's now. Its attempts are told to end."""
        self.sending.forget(run_id)
        run = self.owned.pop(run_id, None)
        if run is None:
            return
        self.active.pop(run, None)
        self.ready.pop(run, None)
        head = run.snapshot.head
        self._steps -= len(run.snapshot.plan.steps)
        self._runs_of[head.tenant_id] -= 1
        if not self._runs_of[head.tenant_id]:
            del self._runs_of[head.tenant_id]
            self._served.pop(head.tenant_id, None)
        for job in run.jobs.values():
            self.attempts.tell(job)

    def renew(self) -> None:
        """Prolong all leases; find out what others took over or wrote to."""
        revisions = self.store.renew(self.owner)
        self.load([id for id in revisions if id not in self.owned])  # claimed, and the answer was lost
        for run_id in [id for id in self.owned if id not in revisions]:
            logger.warning("run %s: the lease was lost", run_id)
            self.forget(run_id)
        self.mark_stale([id for id, run in self.owned.items() if revisions.get(id) != run.snapshot.run.revision])

    def release(self, waiting: Sequence[tuple[Owned, datetime | None]]) -> None:
        """Let runs go until their time, guarded: whoever wrote meanwhile has woken nobody, so those we keep."""
        now = self.clock.now()
        writes = []
        for run, wake_at in waiting:
            decision = Draft(run.snapshot, now).decision  # nothing but the next revision
            writes.append(Write(run.snapshot.head, run.snapshot.plan, decision, lease=Lease.RELEASE, wake_at=wake_at))
        winners = self.store.persist(writes)
        for run, _ in waiting:
            if run.id in winners:
                self.forget(run.id)
            else:
                self.mark_stale([run.id])
