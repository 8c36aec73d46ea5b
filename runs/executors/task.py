"""Task steps: a registered Python function, on a thread of the worker."""

import inspect
import logging
import threading
import traceback
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from runs.executors.base import Call, StepFailure
from workflows.task_registry import TaskError, registered

JSON = Any
MAX_MESSAGE = 2000


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Writes into the step's log; knows no handlers, so nothing is left behind."""

    def __init__(self, call: Call) -> None:
        super().__init__(logging.Logger("task", logging.DEBUG), {})
        self._call = call

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, exc_info: Any = None, **kwargs: Any) -> None:
        text = str(msg) % args if args else str(msg)
        if exc_info:
            text += "\n" + traceback.format_exc()
        self._call.log.write(text, logging.getLevelName(level).lower())


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a task is told: the `ctx` of `(ctx, **args)`."""

    run_id: UUID
    step_id: str
    attempt: int  # from 1, over all generations
    generation: int
    idempotency_key: str  # the same for every attempt of a generation: send it along with effects
    trace_id: str
    corr_id: str
    metadata: dict[str, JSON]
    logger: TaskLogger
    _cancelled: threading.Event

    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more: long work looks now and then."""
        return self._cancelled.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, at most until cancelled; whether it was."""
        return self._cancelled.wait(seconds)


def execute(call: Call) -> JSON:
    """Raises StepFailure: what the task raised as TaskError, `task_error` for any other exception."""
    config = call.config if isinstance(call.config, dict) else {}
    name, args = config.get("name"), config.get("args") or {}
    task = registered().get(name) if isinstance(name, str) else None
    if task is None:
        raise StepFailure("unknown_task", f"No Task {str(name)[:100]!r} is registered here.", retryable=False)
    context = context_of(call)
    if not isinstance(args, dict):
        raise StepFailure("task_error", "`args` is an object.", retryable=False)
    try:
        inspect.signature(task.function).bind(context, **args)
    except TypeError as error:
        raise StepFailure("task_error", f"{name} does not take these args: {error}", retryable=False) from None
    try:
        return task.function(context, **args)
    except TaskError as error:
        raise StepFailure(error.code, error.message[:MAX_MESSAGE], retryable=error.retryable) from None
    except BaseException as error:  # a task that calls sys.exit() must not take the thread along
        call.log.write(traceback.format_exc(), "error")
        message = f"{type(error).__name__}: {error}"[:MAX_MESSAGE]
        raise StepFailure("task_error", message, retryable=True) from None


def context_of(call: Call) -> TaskContext:
    return TaskContext(
        run_id=call.run_id, step_id=call.step_id, attempt=call.attempt, generation=call.generation,
        idempotency_key=f"{call.run_id}:{call.step_id}:{call.generation}", trace_id=call.trace_id, corr_id=call.corr_id,
        metadata=call.metadata, logger=TaskLogger(call), _cancelled=call.cancelled,
    )  # fmt: skip
