"""The built-in Tasks, for samples and tests."""

from typing import Any

from workflows.task_registry import TaskError, task

JSON = Any
MAX_SLEEP = 86_400


@task("core.noop")
def noop(ctx: Any, /) -> None:
    """Does nothing; its output is null."""


@task("core.echo")
def echo(ctx: Any, /, **args: JSON) -> JSON:
    """Returns its args."""
    return args


@task("core.sleep")
def sleep(ctx: Any, /, *, seconds: float) -> None:
    """Sleeps for some seconds, at most a day; ends early when cancelled."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SLEEP:
        raise TaskError("bad_args", f"`seconds` is a number between 0 and {MAX_SLEEP}.")
    if seconds:
        ctx.wait(seconds)


@task("core.fail")
def fail(ctx: Any, /, *, code: str, message: str = "", retryable: bool = False) -> None:
    """Fails with a code."""
    if not isinstance(code, str) or not code:
        raise TaskError("bad_args", "`code` is a text.")
    if not isinstance(retryable, bool):
        raise TaskError("bad_args", "`retryable` is true or false.")
    raise TaskError(code, str(message), retryable)


@task("core.flaky")
def flaky(ctx: Any, /, *, succeed_on_attempt: int, value: JSON = None) -> JSON:
    """Fails, retryable, until that attempt."""
    if (
        isinstance(succeed_on_attempt, bool)
        or not isinstance(succeed_on_attempt, int | float)
        or succeed_on_attempt % 1
    ):
        raise TaskError("bad_args", "`succeed_on_attempt` is a whole number.")
    if ctx.attempt < succeed_on_attempt:
        raise TaskError("flaky", f"Attempt {ctx.attempt} of {succeed_on_attempt:g} that it takes.", retryable=True)
    return value
