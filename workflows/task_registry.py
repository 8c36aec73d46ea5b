"""The Python functions that a Task step may name.

A project's own stand in a module `staterail_tasks.py` of any installed app:

    from workflows.task_registry import TaskError, task

    @task("orders.reserve")
    def reserve(ctx, *, sku, qty):
        "Reserve stock for an order."
        …
        return {"reserved": qty}

`isolated=True` gives each attempt a process of its own, which can be killed at its limit.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


class TaskError(Exception):
    """A task's own failure: `code` is what `retry.errors` and failure transitions match."""

    def __init__(self, code: str, message: str = "", retryable: bool = False) -> None:
        super().__init__(message or code)
        self.code, self.message, self.retryable = code, message or code, retryable


@dataclass(frozen=True, slots=True)
class TaskType:
    """A registered function. `summary` is its docstring's first line."""

    name: str
    function: Callable[..., Any]
    summary: str
    isolated: bool

    @property
    def signature(self) -> inspect.Signature:
        return _signature(self.function)


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)  # 10 µs, and each step of each run asks


_tasks: dict[str, TaskType] = {}


def task(name: str, *, isolated: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a plain function `(ctx, **args) -> JSON` under `name`. Raises ValueError where it is taken."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        known = _tasks.get(name)
        if known is not None and known.function.__qualname__ != function.__qualname__:
            raise ValueError(f"two tasks are called {name!r}")
        summary = (function.__doc__ or "").strip().splitlines()[:1]
        _tasks[name] = TaskType(name, function, summary[0] if summary else "", isolated)
        return function

    return register


def registered() -> Mapping[str, TaskType]:
    """All tasks by name."""
    return _tasks


def signatures() -> dict[str, inspect.Signature]:
    """What the functions of all tasks take, by name."""
    return {name: task.signature for name, task in _tasks.items()}
