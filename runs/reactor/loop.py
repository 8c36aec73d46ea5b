"""The reactor: one thread that claims runs, decides, stores a batch at a time, and starts steps.

    loop: results = drain(inbox); claim while there is room
          decisions = decide(run, what happened to it, now)     pure
          winners = store.persist(decisions)                    one commit
          forget or load anew who lost; start the winners' steps on the pool

It never executes a step itself, and only it starts one. What it was told is kept until it is
stored: where the database fails it reloads and decides again.
"""

import logging
import os
import random
import socket
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID, uuid4

from django.db import DatabaseError, InterfaceError, connection

from runs.machine.decide import decide_all
from runs.machine.decision import Execute, Interrupt
from runs.machine.snapshot import Snapshot
from runs.machine.states import RUN_FINAL
from runs.machine.stimuli import BreakerClosed, EngineError, Failed, Lost, PutBack, StartReady, Succeeded
from runs.reactor import set_current
from runs.reactor.gates import Gates
from runs.reactor.owned import Owned, Timers
from runs.reactor.pool import Job, Pool, Result
from runs.store import Lease, LogBatch, Store, Write
from runs.store.interface import LEASE
from runs.store.safely import persist_safely
from staterail.core.clock import DatabaseClock

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
RENEW_SECONDS = LEASE.total_seconds() / 3
MAX_OWNED = 512
MAX_STEPS = 50_000  # held in memory, over all owned runs
MAX_BYTES = 64 * 1024 * 1024  # of inputs and outputs held
DRAIN = 2_000  # items of the inbox at a time
FAIR_SECONDS = 1.0  # that a ready run waits before it goes ahead of runs that are under way
GIVE_UP_SECONDS = 5.0  # after it was told to end, a thread is taken for lost
MAX_GIVEN_UP = 16
LOG_SECONDS = 1.0  # a running attempt's lines are stored this often


@dataclass(frozen=True, slots=True)
class Ring:
    """There may be work: look."""


@dataclass(frozen=True, slots=True)
class Poke:
    """Somebody else wrote to these runs."""

    run_ids: tuple[UUID, ...]


class Reactor(threading.Thread):
    """Start it with `start()`; `stop()` finishes or puts back what it holds. See the module."""

    def __init__(self, store: Store, pool_size: int, executors: Any, alone: Any, *, name: str = "") -> None:
        super().__init__(name="reactor", daemon=True)
        self.owner = uuid4()  # new with every start of a process
        self.worker = name or f"{socket.gethostname()}:{os.getpid()}"
        self.store, self.clock = store, DatabaseClock()
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.pool = Pool(pool_size, self.inbox, executors, alone)
        self.gates = Gates()
        self.owned: dict[UUID, Owned] = {}
        self.ready: dict[UUID, float] = {}  # runs with a step that waits for a thread, since when (monotonic)
        self.active: dict[UUID, None] = {}  # runs with something to decide
        self.timers = Timers()
        self.stopping = threading.Event()
        self.stop_seconds = 5.0
        self.failure: BaseException | None = None
        self.decided = self.persisted = self.batches = 0
        self._rung = True
        self._next_poll = self._next_renewal = self._next_logs = 0.0

    # Doors: any thread

    def ring(self) -> None:
        self.inbox.put(Ring())

    def poke(self, *run_ids: UUID) -> None:
        self.inbox.put(Poke(run_ids))

    def stop(self, seconds: float = 5.0) -> None:
        """Stop claiming at once; attempts get `seconds` to end, then they are put back. Does not wait: join."""
        self.stop_seconds = seconds
        self.stopping.set()
        self.inbox.put(Ring())

    # The loop

    def run(self) -> None:
        set_current(self)
        delay = 0.1
        try:
            while not self.stopping.is_set():
                try:
                    self.turn()
                    delay = 0.1
                except (DatabaseError, InterfaceError) as error:
                    logger.warning("the database failed, trying again: %s", error)
                    self._recover(delay)
                    delay = min(delay * 2, 5.0)
            self._drain_and_release()
        except BaseException as error:
            self.failure = error
            logger.exception("the reactor died")
            raise
        finally:
            set_current(None)
            self.pool.close()
            connection.close()

    def turn(self) -> None:
        """One round: wait for something to happen, decide, store, carry out."""
        self._collect(self._patience())
        now = time.monotonic()
        if now >= self._next_renewal:
            self._renew()
        for run, due in self.timers.pop_due(self.clock.now(), self.owned, random.random()):  # noqa: S311 — jitter
            run.stimuli.append(due)
            self.active[run.id] = None
        if not self.stopping.is_set() and (self._rung or now >= self._next_poll):
            self._claim()
        if now >= self._next_logs:
            self._store_logs()
        self._decide_and_store()

    def _patience(self) -> float:
        """Seconds to wait for the inbox."""
        if self.active or (self.ready and self.pool.free > 0) or self._rung:
            return 0.0
        now = time.monotonic()
        until = min(self._next_poll, self._next_renewal)
        due = self.timers.next()
        if due is not None:
            until = min(until, now + (due - self.clock.now()).total_seconds())
        return max(0.0, until - now)

    def _collect(self, patience: float) -> None:
        try:
            item = self.inbox.get(timeout=patience) if patience > 0 else self.inbox.get_nowait()
            for _ in range(DRAIN):
                self._take(item)
                item = self.inbox.get_nowait()
            self._take(item)
        except Empty:
            pass

    def _take(self, item: Any) -> None:
        if isinstance(item, Result):
            self.pool.done(item.job)
            run = self.owned.get(item.run_id)
            if run is None:
                return  # lost meanwhile: whoever owns it knows what to make of the attempt
            key = (item.job.step, item.job.call.attempt)
            run.jobs.pop(key, None)
            self._add_logs(run, item.job, item.logs)
            run.log_numbers.pop(key, None)
            run.stimuli.append(item.stimulus)
            self.active[run.id] = None
        elif isinstance(item, Ring):
            self._rung = True
        elif isinstance(item, Poke):
            for run_id in item.run_ids:
                if run_id in self.owned:
                    self.owned[run_id].stale = True
                    self.active[run_id] = None

    # Claim and load

    def _room(self) -> int:
        waiting = len(self.ready)
        room = min(MAX_OWNED - len(self.owned), 4 * self.pool.size - waiting)
        if room > 0 and len(self.owned) > 64:  # a small number is never too much
            snapshots = [run.snapshot for run in self.owned.values()]
            if sum(len(s.plan.steps) for s in snapshots) > MAX_STEPS or sum(s.size() for s in snapshots) > MAX_BYTES:
                return 0
        return room

    def _claim(self) -> None:
        self._rung, self._next_poll = False, time.monotonic() + POLL_SECONDS
        room = self._room()
        if room <= 0:
            return
        claimed = self.store.claim(self.owner, room)
        self._load(claimed)
        self._rung = len(claimed) == room  # there may be more

    def _load(self, run_ids: list[UUID]) -> None:
        """Take runs into our hands as they stand; attempts that nobody here works on were lost with their worker."""
        if not run_ids:
            return
        self.clock.observe(self.store.now())
        loaded = self.store.load(run_ids)
        for run_id in run_ids:
            found, known = loaded.get(run_id), self.owned.get(run_id)
            if found is None or found.lease_owner != self.owner:
                self._forget(run_id)
                continue
            run = known or Owned(found.snapshot)
            run.snapshot, run.stale, run.due = found.snapshot, False, None
            self.owned[run_id] = run
            self.timers.add_all(run)
            self._tell_dead(run)
            rows = run.snapshot.steps
            lost = [i for i in run.executing() if (i, rows[i].attempt) not in run.jobs]
            told = {(s.step, s.attempt) for s in run.stimuli if isinstance(s, Succeeded | Failed | Lost | PutBack)}
            run.stimuli += [Lost(i, rows[i].attempt) for i in lost if (i, rows[i].attempt) not in told]
            if found.broken is not None:
                run.stimuli = [EngineError(found.broken)]
            self.active[run_id] = None

    def _forget(self, run_id: UUID) -> None:
        self.active.pop(run_id, None)
        self.ready.pop(run_id, None)
        run = self.owned.pop(run_id, None)
        if run is not None:
            for job in run.jobs.values():
                job.call.cancelled.set()

    def _renew(self) -> None:
        self._next_renewal = time.monotonic() + RENEW_SECONDS
        self._give_up_deaf_threads()
        if not self.owned:
            return
        revisions = self.store.renew(self.owner)
        for run_id in [id for id in self.owned if id not in revisions]:
            logger.warning("run %s: the lease was lost", run_id)
            self._forget(run_id)
        for run_id, run in self.owned.items():
            if revisions[run_id] != run.snapshot.run.revision:
                run.stale = True
                self.active[run_id] = None

    # Decide and store

    def _decide_and_store(self) -> None:
        stale = [id for id in self.active if self.owned[id].stale]
        self._load(stale)
        runs = self._whose_turn()
        if not runs:
            return
        now = self.clock.now()
        gates = self.gates.ask([run.snapshot for run in runs], now)
        room, writes = self.pool.free, []
        for left, run in zip(range(len(runs), 0, -1), runs, strict=True):
            share = max(1, room // left) if room > 0 and not self.stopping.is_set() else 0
            write = self._decide(run, share, gates, now)
            if write is not None:
                room -= sum(isinstance(command, Execute) for command in write.decision.commands)
                writes.append(write)
        self._store(writes)
        for run in runs:
            if run.id in self.owned and not run.stale:
                self._after(run)

    def _whose_turn(self) -> list[Owned]:
        """Runs with news, then runs that wait for a thread; these first once one waited for long."""
        waiting: list[UUID] = []
        if self.ready and self.pool.free > 0:
            waiting = [id for id in self.ready if id not in self.active][: self.pool.free]
        first = waiting and time.monotonic() - self.ready[waiting[0]] > FAIR_SECONDS
        ids = [*waiting, *self.active] if first else [*self.active, *waiting]
        return [self.owned[id] for id in ids]

    def _decide(self, run: Owned, room: int, gates: Any, now: datetime) -> Write | None:
        snapshot, stimuli = run.snapshot, list(run.stimuli)
        if not self.stopping.is_set():
            stimuli.append(
                StartReady(
                    room,
                    self.worker,
                    gates.secret_names(snapshot.head.tenant_id),
                    gates.of_run.get(snapshot.head.id, {}),
                )
            )
        try:
            decision = decide_all(snapshot, stimuli, now)
        except Exception as error:  # a bug, or rows that contradict each other: this run's own misfortune
            logger.exception("run %s: cannot decide", run.id)
            run.stimuli = []
            decision = decide_all(snapshot, [EngineError(f"{type(error).__name__}: {error}")], now)
        self.decided += 1
        logs = list(run.logs)
        if not decision.changes and not logs:
            run.stimuli = []
            return None
        return Write(snapshot.head, snapshot.plan, decision, logs=logs, emitter=f"reactor:{self.worker}"[:64])

    def _store(self, writes: list[Write]) -> None:
        if not writes:
            return
        winners, broken = persist_safely(self.store, writes)
        self.batches += 1
        self.persisted += len(winners)
        for write in writes:
            run = self.owned[write.decision.run_id]
            if write.decision.run_id in broken:
                run.stimuli, run.logs, run.stale = [EngineError(broken[run.id])], [], True
                self.active[run.id] = None
            elif write.decision.run_id not in winners:
                run.stale = True  # another's write came first: load it and judge again
                self.active[run.id] = None
            else:
                self._won(run, write)

    def _won(self, run: Owned, write: Write) -> None:
        decision = write.decision
        outcomes, run.stimuli, run.logs = run.stimuli, [], []
        run.snapshot.apply(decision)
        self.active.pop(run.id, None)
        for command in decision.commands:
            if isinstance(command, Execute):
                self._execute(run, command)
            elif isinstance(command, Interrupt):
                self._tell(run.jobs.get((command.step, command.attempt)))
        self.timers.add_changed(run, decision)
        if self.gates.guarded(run.snapshot.plan):
            self._record(run.snapshot, outcomes)

    def _record(self, snapshot: Snapshot, outcomes: list[Any]) -> None:
        """Tell the circuit breakers how attempts ended; wake what waited for one that closed."""
        for run_id, step_id in self.gates.record(snapshot, outcomes, self.clock.now(), set(self.owned)):
            run = self.owned[run_id]
            run.stimuli.append(BreakerClosed(run.snapshot.plan.index[step_id]))
            self.active[run_id] = None

    def _after(self, run: Owned) -> None:
        """Once its decision is stored: forget a run that ended, let go one that waits long."""
        snapshot = run.snapshot
        if run.id not in self.active and snapshot.run.state in RUN_FINAL:
            for job in run.jobs.values():
                self._tell(job)
            del self.owned[run.id]
            self.ready.pop(run.id, None)
            return
        self.active.pop(run.id, None) if not (run.stimuli or run.stale) else None
        if run.has_ready():
            self.ready.setdefault(run.id, time.monotonic())
            return
        self.ready.pop(run.id, None)
        if not run.jobs and not run.stimuli and not run.executing():
            due = run.next_due()
            if due is None or due > self.clock.now() + LEASE:
                self._release(run, due)

    def _release(self, run: Owned, wake_at: datetime | None) -> None:
        """Let a run go, guarded: whoever wrote meanwhile has woken nobody, so then we keep it and look again."""
        snapshot = run.snapshot
        decision = decide_all(snapshot, (), self.clock.now())
        write = Write(snapshot.head, snapshot.plan, decision, lease=Lease.RELEASE, wake_at=wake_at)
        if self.store.persist([write]):
            self.owned.pop(run.id, None)
            self.active.pop(run.id, None)
            self.ready.pop(run.id, None)
        else:
            run.stale = True
            self.active[run.id] = None

    # Executors

    def _execute(self, run: Owned, command: Execute) -> None:
        job = self.gates.job(run.snapshot, command)
        run.jobs[(command.step, command.attempt)] = job
        self.pool.submit(job)

    def _tell(self, job: Job | None) -> None:
        if job is not None and job.told_at is None:
            job.told_at = time.monotonic()
            job.call.cancelled.set()

    def _tell_dead(self, run: Owned) -> None:
        for job in run.dead_jobs():
            self._tell(job)

    def _give_up_deaf_threads(self) -> None:
        """Threads that ignore the end of their attempt; too many of them and the process is to be replaced."""
        since = time.monotonic() - GIVE_UP_SECONDS
        for run in self.owned.values():
            for key, job in list(run.jobs.items()):
                if job.told_at is not None and job.told_at < since and not job.given_up:
                    logger.warning(
                        "step %s of run %s ignores its end: its thread is given up", job.call.step_id, run.id
                    )
                    self.pool.give_up(job)
                    del run.jobs[key]
        if self.pool.given_up >= MAX_GIVEN_UP:
            logger.error("%d threads are stuck: this worker stops", self.pool.given_up)
            self.stop()

    def _add_logs(self, run: Owned, job: Job, lines: list[Any]) -> None:
        if lines:
            key = (job.step, job.call.attempt)
            first = run.log_numbers.get(key, 0) + 1
            run.logs.append(LogBatch(job.call.step_id, job.call.attempt, first, lines))
            run.log_numbers[key] = first + len(lines) - 1

    def _store_logs(self) -> None:
        """Lines of attempts that still execute: an operator reads along."""
        self._next_logs = time.monotonic() + LOG_SECONDS
        for run in list(self.owned.values()):
            for (i, attempt), job in run.jobs.items():
                lines = self.pool.lines_so_far(job)
                if lines:
                    first = run.log_numbers.get((i, attempt), 0) + 1
                    self.store.append_logs(run.snapshot.head, [LogBatch(job.call.step_id, attempt, first, lines)])
                    run.log_numbers[(i, attempt)] = first + len(lines) - 1

    # Trouble, and the end

    def _recover(self, delay: float) -> None:
        """After a failure of the database: nobody knows what was stored, so load everything anew."""
        connection.close()
        self.stopping.wait(delay * (0.5 + random.random() / 2))  # noqa: S311 — jitter
        self._rung = True
        for run in self.owned.values():
            run.stale = True
            self.active[run.id] = None

    def _drain_and_release(self) -> None:
        """Short attempts end, long ones are put back, all runs are let go."""
        until = time.monotonic() + self.stop_seconds
        try:
            while self.pool.in_flight and time.monotonic() < until:
                self._collect(0.05)
                self._decide_and_store()
            for run in self.owned.values():
                for (i, attempt), job in run.jobs.items():
                    self._tell(job)
                    run.stimuli.append(PutBack(i, attempt))
                    self.active[run.id] = None
                run.jobs.clear()
            for _ in range(3):  # a lost race is loaded and judged again
                self._decide_and_store()
            for run in list(self.owned.values()):
                self._release(run, datetime.now(UTC) - timedelta(seconds=1))
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the database failed at the end; the leases run out by themselves: %s", error)
