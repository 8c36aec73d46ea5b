"""Calls and their ends, for the tests of all executors."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import factory
import pytest

from runs.executors.base import Call, StepFailure
from runs.executors.descendants import descendants

RUN = UUID(int=7)
TRACE = "0af7651916cd43dd8448eb211c80319c"


class CallFactory(factory.Factory[Call]):
    class Meta:
        model = Call

    run_id = RUN
    step_id = "charge"
    kind = "Task"
    attempt = 2
    generation = 3
    config = factory.LazyFunction(dict)
    trace_id = TRACE
    corr_id = "corr-1"


def task_call(name: str, args: Any = None, **fields: Any) -> Call:
    return CallFactory(config={"name": name} | ({} if args is None else {"args": args}), **fields)


def body(*lines: str, head: str = "") -> str:
    """The source of a script with these lines in its `main`."""
    return "\n".join([*filter(None, [head]), "def main(args):", *(f"    {line}" for line in lines)])


def script_call(source: str, args: Any = None, /, timeout: float | None = None, **config: Any) -> Call:
    return CallFactory(kind="Script", timeout=timeout, config={"source": source, "args": args} | config)


def http_call(config: Any, **fields: Any) -> Call:
    return CallFactory(kind="HttpCall", config=config, **fields)


def kill_descendants() -> None:
    """kill -9 of all that this process has started; back when they are gone."""
    end = time.monotonic() + 10
    for pid in descendants(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    while descendants(os.getpid()):
        assert time.monotonic() < end, "they would not die"
        time.sleep(0.005)


def failure_of(execute: Callable[..., Any], *args: Any, **kwargs: Any) -> StepFailure:
    with pytest.raises(StepFailure) as caught:
        execute(*args, **kwargs)
    return caught.value


def told(failure: StepFailure) -> tuple[str, str, bool]:
    return failure.code, failure.message, failure.retryable


def logged(call: Call) -> list[tuple[str, str]]:
    return [(line.level, line.message) for line in call.log.drain()]
