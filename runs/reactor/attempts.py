"""Attempts in this process's hands: given to the pool, told to end, given up, and what they wrote."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from runs.reactor.gates import Gates
from runs.reactor.owned import Owned
from runs.reactor.pool import Job, Pool, Result
from runs.store import LogBatch, Store

logger = logging.getLogger(__name__)
GIVE_UP_SECONDS = 5.0  # after it was told to end, a thread is taken for lost
LOG_SECONDS = 1.0  # a running attempt's lines are stored this often


class Attempts:
    """Only the reactor's thread uses it."""

    def __init__(self, pool: Pool, gates: Gates, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.pool, self.gates, self.store, self._monotonic = pool, gates, store, monotonic
        self._next_logs = 0.0
        self._told: dict[int, Job] = {}  # told to end, and not ended yet, of whatever run

    def execute(self, run: Owned, job: Job) -> None:
        run.jobs[(job.step, job.call.attempt)] = job
        self.gates.begun(run.id, job.step)
        self.pool.submit(job)

    def ended(self, result: Result, run: Owned | None) -> None:
        """Take a result; of a run that was lost meanwhile, whoever owns it knows what to make of the attempt."""
        self.pool.done(result.job)
        self._told.pop(id(result.job), None)
        if run is None:
            return
        key = (result.job.step, result.job.call.attempt)
        if run.jobs.get(key) is result.job:  # else the run was lost and is ours again: what was lost with it, is
            del run.jobs[key]
            if result.logs:
                run.logs.append(self._batch(run, result.job, result.logs))
            run.log_numbers.pop(key, None)
        run.stimuli.append(result.stimulus)  # of an attempt that is not the live one it changes nothing

    def tell(self, job: Job | None) -> None:
        """Nobody waits for this attempt any more: its executor is to end."""
        if job is not None and job.told_at is None:
            job.told_at = self._monotonic()
            self._told[id(job)] = job
            job.call.cancelled.set()

    def tell_dead(self, run: Owned) -> None:
        """The same for all attempts that a run just loaded no longer waits for."""
        for job in run.dead_jobs():
            self.tell(job)

    def give_up_deaf(self, owned: Mapping[UUID, Owned]) -> list[Owned]:
        """Replace threads that ignore the end of their attempt; the runs that are rid of one."""
        rid = []
        since = self._monotonic() - GIVE_UP_SECONDS
        for key, job in list(self._told.items()):
            if job.told_at is not None and job.told_at < since:
                logger.warning(
                    "step %s of run %s ignores its end: its thread is given up", job.call.step_id, job.call.run_id
                )
                self.pool.give_up(job)
                del self._told[key]
                run = owned.get(job.call.run_id)
                if run is not None and run.jobs.pop((job.step, job.call.attempt), None) is not None:
                    rid.append(run)
        return rid

    def store_logs(self, runs: Iterable[Owned]) -> None:
        """Lines of attempts that still execute: an operator reads along."""
        if self._monotonic() < self._next_logs:
            return
        self._next_logs = self._monotonic() + LOG_SECONDS
        for run in runs:
            for job in run.jobs.values():
                lines = self.pool.lines_so_far(job)
                if lines:
                    run.logs.append(self._batch(run, job, lines))  # kept until it is known to be stored
                    self.store.append_logs(run.snapshot.head, run.logs)
                    run.logs = []

    def _batch(self, run: Owned, job: Job, lines: list[Any]) -> LogBatch:
        key = (job.step, job.call.attempt)
        first = run.log_numbers.get(key, 0) + 1
        run.log_numbers[key] = first + len(lines) - 1
        return LogBatch(job.call.step_id, job.call.attempt, first, lines)
