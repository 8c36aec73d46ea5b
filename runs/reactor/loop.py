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
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from runs.machine.decide import decide_all
from runs.machine.decision import Decision, Execute, Interrupt
from runs.machine.states import RUN_FINAL
from runs.machine.stimuli import BreakerClosed, EngineError, PutBack, StartReady
from runs.reactor import set_current
from runs.reactor.attempts import Attempts
from runs.reactor.broken import end_broken
from runs.reactor.gates import Gates
from runs.reactor.outcomes import Outcomes, outcomes_of
from runs.reactor.owned import Owned
from runs.reactor.ownership import Ownership
from runs.reactor.pool import Job, Result
from runs.reactor.sending import Send, Sending
from runs.reactor.surroundings import Surroundings
from runs.store import Store, Write
from runs.store.interface import LEASE
from runs.store.safely import persist_safely

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
RENEW_SECONDS = LEASE.total_seconds() / 3
DRAIN = 2_000  # items of the inbox at a time
GATHER_SECONDS = 0.001  # that a batch waits for others, where they come thick
MAX_GIVEN_UP = 16
BATCH_BYTES = 8 * 1024 * 1024  # of values in one commit, about
UNSTORABLE_FOR = timedelta(minutes=1)  # that a run is let alone of which nothing can be stored
Planned = tuple[Owned, Write, list[Job]]
"""What is to be stored, and the attempts that begin once it is."""


@dataclass(frozen=True, slots=True)
class Ring:
    """There may be work: look."""


@dataclass(frozen=True, slots=True)
class Poke:
    """Somebody else wrote to these runs."""

    run_ids: tuple[UUID, ...]


class Reactor(threading.Thread):
    """Start it with `start()`; `stop()` finishes or puts back what it holds. See the module."""

    def __init__(
        self, store: Store, pool_size: int, executors: Any, alone: Any, *, name: str = "", send: Send | None = None,
        around: Surroundings | None = None,
    ) -> None:  # fmt: skip
        """`alone` executes what needs a child of its own; with `send`, isolated tasks go to workers of their own."""
        super().__init__(name="reactor", daemon=True)
        self.worker = name or f"{socket.gethostname()}:{os.getpid()}"
        self._emitter = f"reactor:{self.worker}"[:64]
        self.store, self.around = store, around or Surroundings()
        self.inbox = self.around.inbox()
        self.pool = self.around.pool(pool_size, self.inbox, executors, alone)
        self.gates = Gates()
        self.outcomes = Outcomes()
        self.attempts = Attempts(self.pool, self.gates, store, self.around.monotonic)
        self.sending = Sending(send, self.around.monotonic)
        self.runs = Ownership(store, self.attempts, self.sending, self.around)
        self.stopping = threading.Event()
        self.stop_seconds = 5.0
        self.failure: BaseException | None = None
        self.decided = self.persisted = self.batches = 0
        self._rung = True
        self._next_poll = self._next_renewal = 0.0

    @property
    def owner(self) -> UUID:
        return self.runs.owner

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

    def figures(self) -> dict[str, int]:
        """What it holds now, and what it has done since its start."""
        return {
            "owned_runs": len(self.runs.owned), "ready_runs": len(self.runs.ready),
            "executing_steps": self.pool.in_flight, "threads": self.pool.size,
            "lost_threads_total": self.pool.given_up, "decisions_total": self.decided,
            "persisted_total": self.persisted, "batches_total": self.batches,
        }  # fmt: skip

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
            self.around.disconnect()

    def turn(self) -> None:
        """One round: wait for something to happen, decide, store, carry out."""
        self._collect(self._patience())
        now = self.around.monotonic()
        if now >= self._next_renewal:
            self._next_renewal = now + RENEW_SECONDS
            self._renew()
        self.runs.mark_due(self.around.random())
        if not self.stopping.is_set() and (self._wants_more() or now >= self._next_poll):
            self._next_poll = now + POLL_SECONDS
            self._rung = self.runs.claim()
        self.attempts.store_logs(self.runs.owned.values())
        self._decide_and_store()

    def _wants_more(self) -> bool:
        """Whether there may be work, and room for it: a ring that finds none is heard once there is some."""
        return self._rung and self.runs.room() > 0

    def _patience(self) -> float:
        """Seconds to wait for the inbox."""
        if self.runs.active or (self.runs.ready and self.pool.free > 0) or self._wants_more():
            return 0.0
        now = self.around.monotonic()
        until = min(self._next_poll, self._next_renewal)
        due = self.runs.timers.next()
        if due is not None:
            until = min(until, now + (due - self.runs.clock.now()).total_seconds())
        return max(0.0, until - now)

    def _collect(self, patience: float) -> None:
        """Take what has come; while most threads are busy also what comes in a moment: one commit is for all."""
        moment: float | None = None
        try:
            item = self.inbox.get(timeout=patience) if patience > 0 else self.inbox.get_nowait()
            for _ in range(DRAIN):
                self._take(item)
                if self.inbox.empty() and self.pool.free < self.pool.size // 2:
                    moment = moment or self.around.monotonic() + GATHER_SECONDS
                    item = self.inbox.get(timeout=max(0.0, moment - self.around.monotonic()))
                else:
                    item = self.inbox.get_nowait()
            self._take(item)
        except Empty:
            pass

    def _take(self, item: Any) -> None:
        if isinstance(item, Result):
            run = self.runs.owned.get(item.run_id)
            self.attempts.ended(item, run)
            if run is not None:
                self.runs.activate(run)
        elif isinstance(item, Ring):
            self._rung = True
        elif isinstance(item, Poke):
            self.runs.mark_stale(item.run_ids)

    def _renew(self) -> None:
        for run in self.attempts.give_up_deaf(self.runs.owned):
            self.runs.activate(run)
        if self.pool.given_up >= MAX_GIVEN_UP:
            logger.error("%d threads are stuck: this worker stops", self.pool.given_up)
            self.stop()
        self.around.beat(self.owner, self.worker, "runs", self.figures())
        self.runs.renew()
        for run in self.runs.owned.values():
            self.sending.follow(run)
        self._tell_breakers()  # what the database did not take the last time

    # Decide and store

    def _decide_and_store(self) -> None:
        self.runs.load_stale()
        runs = self.runs.whose_turn(self.pool.free)
        if not runs:
            return
        now = self.runs.clock.now()
        gates = self.gates.ask([run.snapshot for run in runs], now, self.sending.apart, free=self.pool.free)
        room, left = self.pool.free if not self.stopping.is_set() else 0, len(runs)
        planned: list[Planned] = []
        waiting: set[Owned] = set()  # goes on waiting for a thread
        for run in runs:
            if room > 0 or run.has_news:
                write, jobs = self._decide(run, max(1, room // left) if room > 0 else 0, gates, now)
                if write is not None:
                    room -= len(jobs)
                    planned.append((run, write, jobs))
            elif run in self.runs.ready and run not in self.runs.active:
                waiting.add(run)
            left -= 1
        for batch in _batches(planned):
            self._store(batch, now)
        self._tell_breakers()
        for run_id in list(self.sending.waiting):
            self.sending.follow(self.runs.owned[run_id])
        self.runs.release([(run, run.next_due()) for run in runs if run not in waiting and self._waits_long(run)])

    def _decide(self, run: Owned, room: int, gates: Gates, now: datetime) -> tuple[Write | None, list[Job]]:
        """What is to be stored of a run, and the attempts that begin once it is."""
        snapshot, stimuli, run.fresh = run.snapshot, list(run.stimuli), False
        if not self.stopping.is_set():
            stimuli.append(StartReady(room, self.worker, *gates.given(snapshot.head), run.apart))
        try:
            decision = decide_all(snapshot, stimuli, now)
            jobs = [gates.job(snapshot, command) for command in decision.commands if isinstance(command, Execute)]
        except Exception as error:  # a bug, or rows that contradict each other: this run's own misfortune
            logger.exception("run %s: cannot decide", run.id)
            run.stimuli = []
            decision, jobs = end_broken(snapshot, f"{type(error).__name__}: {error}", now), []
        self.decided += 1
        logs = list(run.logs)
        if not decision.changes and not logs:
            stimuli, run.stimuli = run.stimuli, []
            self.runs.timers.add_missed(run, stimuli, now)
            return None, []
        return Write(snapshot.head, snapshot.plan, decision, logs=logs, emitter=self._emitter), jobs

    def _store(self, batch: list[Planned], now: datetime) -> None:
        try:
            winners, broken = persist_safely(self.store, [write for _, write, _ in batch])
        except (DatabaseError, InterfaceError):  # perhaps stored, perhaps not: the rows will say
            for run, _, jobs in batch:
                run.doubt(jobs)
            raise
        self.batches += 1
        self.persisted += len(winners)
        for run, write, jobs in batch:
            if write.decision.run_id in winners:
                self._won(run, write.decision, jobs, now)
            elif run.id in broken:
                self._cannot_store(run, broken[run.id])
            else:  # another's write came first: load it and judge again
                self.runs.mark_stale([run.id])

    def _won(self, run: Owned, decision: Decision, jobs: list[Job], now: datetime) -> None:
        """Carry out what is stored: nothing in here may fail, a neighbour's attempts would be taken for lost."""
        stimuli, run.stimuli, run.logs, run.unstorable = run.stimuli, [], [], False
        self.outcomes.add(outcomes_of(run.snapshot, stimuli, now))
        run.apply(decision)
        self.runs.active.pop(run, None)
        for job in jobs:
            self.runs.served(run)
            self.attempts.execute(run, job)
        for command in decision.commands:
            if isinstance(command, Interrupt):
                self.attempts.tell(run.jobs.get((command.step, command.attempt)))
        self.runs.timers.add_changed(run, decision)
        self.runs.timers.add_missed(run, stimuli, now)

    def _cannot_store(self, run: Owned, why: str) -> None:
        """A value of this run does not fit its column: it fails for that. Where not even that fits, it waits."""
        if run.unstorable:
            self.runs.release([(run, self.runs.clock.now() + UNSTORABLE_FOR)])
            return
        run.unstorable, run.stimuli, run.logs = True, [EngineError(why)], []
        self.runs.mark_stale([run.id])

    def _tell_breakers(self) -> None:
        owned = self.runs.owned
        for run_id, step_id in self.outcomes.tell(owned):
            run = owned[run_id]
            run.stimuli.append(BreakerClosed(run.snapshot.plan.index[step_id]))
            self.runs.activate(run)

    def _waits_long(self, run: Owned) -> bool:
        """Once its decision is stored: forget a run that ended; whether to let go this one until its time."""
        runs = self.runs
        if run.id not in runs.owned or run.stale:
            return False
        if run not in runs.active and run.snapshot.run.state in RUN_FINAL:
            runs.forget(run.id)
            self._rung = self._rung or run.snapshot.run.limited  # its end may have woken one that was held back
            return False
        if not run.has_news:
            runs.active.pop(run, None)
        if run.has_ready():
            runs.ready.setdefault(run, self.around.monotonic())
            self.sending.follow(run)
            return False
        runs.ready.pop(run, None)
        self.sending.follow(run)
        if not run.is_idle():
            return False
        due = run.next_due()
        return due is None or due > runs.clock.now() + LEASE

    # Trouble, and the end

    def _recover(self, delay: float) -> None:
        """After a failure of the database: nobody knows what was stored, so load everything anew."""
        self.around.disconnect()
        self.stopping.wait(delay * (0.5 + self.around.random() / 2))
        self._rung = True
        self._next_renewal = 0.0  # the leases may be near their end, and a claim's answer be lost
        self.runs.mark_stale(list(self.runs.owned))

    def _drain_and_release(self) -> None:
        """Short attempts end, long ones are put back, all runs are let go."""
        until = self.around.monotonic() + self.stop_seconds
        runs = self.runs
        try:
            runs.load_stale()  # attempts begun in a commit whose answer was lost are among what is put back
            while self.pool.in_flight and self.around.monotonic() < until:
                self._collect(0.05)
                self._decide_and_store()
            for run in runs.owned.values():
                for (i, attempt), job in run.jobs.items():
                    self.attempts.tell(job)
                    run.stimuli.append(PutBack(i, attempt))
                    runs.activate(run)
                run.jobs.clear()
            for _ in range(3):  # a lost race is loaded and judged again
                self._decide_and_store()
            past = runs.clock.now() - timedelta(seconds=1)
            runs.release([(run, past) for run in runs.owned.values()])
            self.around.leave(self.owner)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the database failed at the end; the leases run out by themselves: %s", error)


def _batches(planned: list[Planned]) -> Iterator[list[Planned]]:
    """At least one write each, and as many as BATCH_BYTES hold."""
    batch: list[Planned] = []
    size = 0
    for run, write, jobs in planned:
        more = _size(write)
        if batch and size + more > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((run, write, jobs))
        size += more
    if batch:
        yield batch


def _size(write: Write) -> int:
    rows = sum(len(row.output or "") + len(row.input or "") for row in write.decision.steps.values())
    return rows + sum(len(line.message) for batch in write.logs for line in batch.lines)
