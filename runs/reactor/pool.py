"""The threads that execute steps. They know no database: a job comes in, a result goes to the inbox.

A thread cannot be killed. One that ignores the end of its attempt is given up and replaced;
with many such the process drains and leaves the rest to its supervisor.
"""

import json
import logging
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from runs.executors.base import Call, Executor, StepFailure
from runs.executors.isolated import ChildDied
from runs.executors.logs import LogLine
from runs.machine.stimuli import Failed, Lost, Succeeded
from staterail.core.redaction import redact_json_text, redact_text
from staterail.core.strict_json import dumps
from workflows.definition.expressions import ExpressionError
from workflows.definition.templates import Template

JSON = Any
OUTPUT_LIMIT_BYTES = 1024 * 1024
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Job:
    """An attempt to execute. With a `template`, the config is rendered here, with the secrets' values."""

    step: int
    call: Call
    template: Template | None = None
    context: dict[str, JSON] = field(default_factory=dict)
    told_at: float | None = None  # monotonic: when it was told to end
    given_up: bool = False


@dataclass(slots=True)
class Result:
    """How an attempt ended."""

    run_id: UUID
    job: Job
    stimulus: Succeeded | Failed | Lost
    logs: list[LogLine]


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
        return _redacted(job.call)

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
                stimulus = self._execute(job)
            except BaseException as error:  # whatever it is, the thread and the run must go on
                logger.exception("step %s of run %s: the executor broke", call.step_id, call.run_id)
                stimulus = _failed(job, "task_error", f"{type(error).__name__}: {error}", retryable=True)
            self._inbox.put(Result(call.run_id, job, stimulus, _redacted(call)))
            if job.given_up:
                return

    def _execute(self, job: Job) -> Succeeded | Failed | Lost:
        call = job.call
        try:
            if job.template is not None:
                call.config = job.template.render(job.context)
            output = (self._alone if call.alone else self._executors[call.kind])(call)
        except StepFailure as error:
            return _failed(
                job, error.code, error.message, retryable=error.retryable, details=error.details,
                retry_after=error.retry_after,
            )  # fmt: skip
        except ChildDied as error:
            call.log.write(str(error), "error")
            return Lost(job.step, call.attempt, alone=True)
        except ExpressionError as error:
            return _failed(job, "expression_error", f"config: {error}", retryable=False)
        try:
            text = dumps(output)
        except (TypeError, ValueError, RecursionError) as error:
            return _failed(job, "bad_output", f"The output is no JSON: {error}", retryable=False)
        if len(text) > OUTPUT_LIMIT_BYTES // 4 and len(text.encode("utf-8", "surrogatepass")) > OUTPUT_LIMIT_BYTES:
            return _failed(job, "output_too_large", "The output is larger than 1 MiB.", retryable=False)
        return Succeeded(job.step, call.attempt, redact_json_text(text, call.secrets))


def _failed(
    job: Job, code: str, message: str, *, retryable: bool, details: dict[str, JSON] | None = None,
    retry_after: float | None = None,
) -> Failed:  # fmt: skip
    secrets = job.call.secrets
    error: dict[str, JSON] = {
        "code": code[:100], "message": redact_text(message[:2000], secrets), "retryable": retryable,
    }  # fmt: skip
    if details:
        error["details"] = details
    try:
        error = json.loads(redact_json_text(dumps(error), secrets))
    except (TypeError, ValueError, RecursionError):
        error.pop("details", None)
    # jitter spreads retries; it is no secret
    return Failed(job.step, job.call.attempt, error, draw=random.random(), retry_after=retry_after)  # noqa: S311


def _redacted(call: Call) -> list[LogLine]:
    lines = call.log.drain()
    return [line._replace(message=redact_text(line.message, call.secrets)) for line in lines]
