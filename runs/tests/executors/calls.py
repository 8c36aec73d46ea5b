"""Calls and their ends, for the tests of all executors."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import factory
import pytest

from runs.executors.base import Call, StepFailure

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


def script_call(source: str, args: Any = None, /, timeout: float | None = None, **config: Any) -> Call:
    return CallFactory(kind="Script", timeout=timeout, config={"source": source, "args": args} | config)


def http_call(config: Any, **fields: Any) -> Call:
    return CallFactory(kind="HttpCall", config=config, **fields)


def failure_of(execute: Callable[..., Any], *args: Any, **kwargs: Any) -> StepFailure:
    with pytest.raises(StepFailure) as caught:
        execute(*args, **kwargs)
    return caught.value


def told(failure: StepFailure) -> tuple[str, str, bool]:
    return failure.code, failure.message, failure.retryable


def logged(call: Call) -> list[tuple[str, str]]:
    return [(line.level, line.message) for line in call.log.drain()]
