"""The threads that execute steps. They know no database: a job comes in, a result goes to the inbox.

A thread cannot be killed. One that ignores the end of its attempt is given up and replaced;
with many such the process drains and leaves the rest to its supervisor.
"""

import logging
import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

from runs.executors.base import Executor
from runs.executors.logs import LogLine
from runs.reactor.job import Job, Result, failed, lines_of, outcome_of

logger = logging.getLogger(__name__)

__all__ = ["Job", "Pool", "Result"]


class Pool:
    """At most `size` attempts at a time. Only the reactor's thread calls its methods."""

    def __init__(
        self, size: int, inbox: "SimpleQueue[Any]", executors: Mapping[str, Executor], alone: Executor
    ) -> None:
        self.size, self.in_flight, self.given_up = size, 0, 0
        self._inbox, self._executors, self._alone = inbox, executors, alone
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = 0

    @property
    def free(self) -> int:
        return self.size - self.in_flight

    def submit(self, job: Job) -> None:
        self.in_flight += 1
        if self._threads < min(self.in_flight, self.size):
            self._add_thread()
        self._jobs.put(job)

    def done(self, job: Job) -> None:
        """A result was taken from the inbox."""
        if not job.given_up:
            self.in_flight -= 1

    def give_up(self, job: Job) -> None:
        """Count its thread as lost, and let another take its place."""
        job.given_up = True
        self.given_up += 1
        self.in_flight -= 1
        self._threads -= 1

    def lines_so_far(self, job: Job) -> list[LogLine]:
        """What a running attempt wrote since the last time."""
        return lines_of(job.call)

    def close(self) -> None:
        for _ in range(self._threads):
            self._jobs.put(None)

    def _add_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"executor-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call = job.call
            try:
                stimulus = outcome_of(job, self._alone if call.alone else self._executors[call.kind])
            except BaseException as error:  # whatever it is, the thread and the run must go on
                logger.exception("step %s of run %s: the executor broke", call.step_id, call.run_id)
                stimulus = failed(job, "task_error", f"{type(error).__name__}: {error}", retryable=True)
            self._inbox.put(Result(call.run_id, job, stimulus, lines_of(call)))
            if job.given_up:
                return
