"""What an executor is handed, and what it may answer. Plain values: no database, no Django.

An executor is a function `execute(call: Call) -> JSON` that returns the step's output or raises
StepFailure. It runs on a thread of the pool (or alone in a child process) and watches
`call.cancelled`. Whatever else it raises is a bug of ours or of a task, and told as such.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from runs.executors.cancellation import Cancellation
from runs.executors.logs import LogBuffer, escaped

JSON = Any


class StepFailure(Exception):
    """An attempt failed.

    `code` and `message` may come from a stranger: control characters in them are escaped.
    `retry_after` is what a server asked for, in seconds: a floor for the wait.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        details: dict[str, JSON] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = escaped(code), escaped(message), retryable
        self.details, self.retry_after = details, retry_after


@dataclass(slots=True)
class Call:
    """One attempt of one step, ready to execute."""

    run_id: UUID
    step_id: str
    kind: str  # HttpCall | Task | Script
    attempt: int
    generation: int
    config: JSON  # resolved, secrets included: it must never be logged or returned
    timeout: float | None = None  # seconds for this attempt; None: no limit of its own
    secrets: tuple[str, ...] = ()  # values to redact from whatever comes back
    trace_id: str = ""
    corr_id: str = ""
    metadata: dict[str, JSON] = field(default_factory=dict)  # the run's
    depth: int = 0  # how many runs of StateRail stand above this one, each started by an HttpCall of the one before
    alone: bool = False  # in a child process of its own
    log: LogBuffer = field(default_factory=LogBuffer)
    cancelled: Cancellation = field(default_factory=Cancellation)


Executor = Callable[[Call], JSON]
