"""Tasks that misbehave, for tests."""

import os
import signal
import time
from typing import Any

from workflows.task_registry import task

JSON = Any


@task("test.kill_worker")
def kill_worker(ctx: Any) -> None:
    """Kills the process that executes it."""
    os.kill(os.getpid(), signal.SIGKILL)


@task("test.ignore_cancel")
def ignore_cancel(ctx: Any, *, seconds: float) -> str:
    """Sleeps without a look at its cancellation."""
    time.sleep(seconds)
    return "late"


@task("test.isolated_sleep", isolated=True)
def isolated_sleep(ctx: Any, *, seconds: float) -> int:
    """Sleeps in a process of its own."""
    ctx.logger.info("process %d", os.getpid())
    time.sleep(seconds)
    return os.getpid()


@task("test.isolated_kill", isolated=True)
def isolated_kill(ctx: Any) -> None:
    """Kills its own process."""
    os.kill(os.getpid(), signal.SIGKILL)


@task("test.print_lines")
def print_lines(ctx: Any, *, n: int, text: str = "line") -> int:
    """Writes lines into its log."""
    for i in range(n):
        ctx.logger.info("%s %d", text, i)
    return n


@task("test.big")
def big(ctx: Any, *, bytes: int) -> dict[str, str]:
    """Returns a large value."""
    return {"blob": "x" * bytes}


@task("test.not_json")
def not_json(ctx: Any) -> JSON:
    """Returns a set."""
    return {1, 2}


@task("test.raise_value_error")
def raise_value_error(ctx: Any) -> None:
    """Raises what is no TaskError."""
    raise ValueError("no such luck")


@task("test.effect")
def effect(ctx: Any, *, path: str, seconds: float = 0.0) -> None:
    """Appends its idempotency key and attempt to a file, then sleeps."""
    with open(path, "a") as ledger:
        ledger.write(f"{ctx.idempotency_key} {ctx.attempt}\n")
        ledger.flush()
        os.fsync(ledger.fileno())
    ctx.wait(seconds)
