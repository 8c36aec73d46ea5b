"""Task steps: a registered Python function, on a thread of the worker."""

import logging
import traceback
from typing import Any
from uuid import UUID

from runs.executors.base import Call, StepFailure
from staterail.core.redaction import redact_text
from workflows.task_registry import TaskError, registered

JSON = Any
MAX_MESSAGE = 2000  # characters
_NOWHERE = logging.Logger("task", logging.DEBUG)  # known to no handler: what a task logs is its step's only


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Writes into the step's log, without the secrets of this attempt. Never raises, like any logger."""

    def __init__(self, call: Call) -> None:
        super().__init__(_NOWHERE, {})
        self._call = call

    def log(self, level: int, msg: object, *args: object, exc_info: Any = None, **kwargs: Any) -> None:
        if self._call.log.is_cut:
            return
        try:
            text = logging.LogRecord("task", level, "", 0, msg, args, None).getMessage()
        except Exception:  # arguments that do not fit their format, or a __str__ that raises
            text = f"{msg!s:.1000} (its arguments do not fit)" if isinstance(msg, str) else "a message without a text"
        if exc_info:
            text += "\n" + _traceback_of(exc_info)
        self._call.log.write(redact_text(text, self._call.secrets), _level_name(level))


class TaskContext:
    """What a task is told: the `ctx` of `(ctx, **args)`. Every attempt has one: it costs only what is asked of it."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def run_id(self) -> UUID:
        return self._call.run_id

    @property
    def step_id(self) -> str:
        return self._call.step_id

    @property
    def attempt(self) -> int:
        """From 1, over all generations."""
        return self._call.attempt

    @property
    def generation(self) -> int:
        return self._call.generation

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of a generation: send it along with effects."""
        call = self._call
        return f"{call.run_id}:{call.step_id}:{call.generation}"

    @property
    def trace_id(self) -> str:
        return self._call.trace_id

    @property
    def corr_id(self) -> str:
        return self._call.corr_id

    @property
    def metadata(self) -> dict[str, JSON]:
        """The run's; a copy."""
        known: dict[str, JSON] = _copy(self._call.metadata)
        return known

    @property
    def logger(self) -> TaskLogger:
        """Its lines are the step's log."""
        return TaskLogger(self._call)

    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more: long work looks now and then."""
        return self._call.cancelled.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, at most until cancelled; whether it was."""
        return self._call.cancelled.wait(seconds)


def execute(call: Call) -> JSON:
    """Raises StepFailure: what the task raised as TaskError, `task_error` for any other exception."""
    config = call.config if isinstance(call.config, dict) else {}
    name, args = config.get("name"), config.get("args")
    task = registered().get(name) if isinstance(name, str) else None
    if task is None:
        raise StepFailure("unknown_task", f"No Task {str(name)[:100]!r} is registered here.", retryable=False)
    if args is None:
        args = {}
    if not isinstance(args, dict):
        raise StepFailure("task_error", "`args` is an object.", retryable=False)
    context = TaskContext(call)
    try:
        return task.function(context, **_copy(args))
    except TypeError as error:
        try:
            task.signature.bind(context, **args)
        except TypeError as mismatch:
            message = f"{name} does not take these args: {mismatch}"
            raise StepFailure("task_error", message, retryable=False) from None
        raise _broke(call, error) from None
    except TaskError as error:
        raise _failure_of(call, error) from None
    except BaseException as error:  # a task that calls sys.exit() must not take the thread along
        raise _broke(call, error) from None


def _broke(call: Call, error: BaseException) -> StepFailure:
    """What a task raised that is no TaskError."""
    call.log.write(redact_text(_traceback_of(error), call.secrets), "error")
    message = redact_text(f"{type(error).__name__}: {_text_of(error)}", call.secrets)
    return StepFailure("task_error", message[:MAX_MESSAGE], retryable=True)


def _copy(value: JSON) -> JSON:
    """Args without expressions belong to the definition, which all its runs share: a task gets its own."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _failure_of(call: Call, error: TaskError) -> StepFailure:
    code = error.code if isinstance(error.code, str) and error.code.strip() else "task_error"
    message = redact_text(str(error.message), call.secrets)
    return StepFailure(code, message[:MAX_MESSAGE], retryable=bool(error.retryable))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text cannot be told)"


def _traceback_of(exc_info: Any) -> str:
    if isinstance(exc_info, BaseException):
        return "".join(traceback.format_exception(exc_info))
    if isinstance(exc_info, tuple):
        return "".join(traceback.format_exception(*exc_info))
    return traceback.format_exc()


def _level_name(level: int) -> str:
    if level >= logging.ERROR:
        return "error"
    if level >= logging.WARNING:
        return "warning"
    return "info" if level >= logging.INFO else "debug"
