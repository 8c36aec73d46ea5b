"""The built-in Tasks."""

import threading
import time
from typing import Any

import pytest

from runs.executors.task import execute
from runs.tests.executors.calls import failure_of, task_call, told


def test_noop_does_nothing() -> None:
    assert execute(task_call("core.noop")) is None


@pytest.mark.parametrize("args", [{}, {"a": [1, None, {"b": "ü"}]}, {"ctx": 1, "self": 2, "name": 3, "args": {}}])
def test_echo_returns_its_args_whatever_their_names(args: dict[str, Any]) -> None:
    assert execute(task_call("core.echo", args)) == args


def test_sleep_sleeps() -> None:
    started = time.monotonic()

    assert execute(task_call("core.sleep", {"seconds": 0.05})) is None
    assert time.monotonic() - started >= 0.05


def test_sleep_ends_when_cancelled() -> None:
    call, started = task_call("core.sleep", {"seconds": 60}), time.monotonic()
    threading.Timer(0.05, call.cancelled.set).start()

    execute(call)

    assert time.monotonic() - started < 5


@pytest.mark.parametrize("seconds", [-1, 86_401, "1", None, True, float("nan"), float("inf"), [1]])
def test_sleep_takes_seconds_of_a_day(seconds: Any) -> None:
    failure = failure_of(execute, task_call("core.sleep", {"seconds": seconds}))

    assert told(failure) == ("bad_args", "`seconds` is a number between 0 and 86400.", False)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"code": "boom", "message": "as asked"}, ("boom", "as asked", False)),
        ({"code": "boom", "message": "as asked", "retryable": True}, ("boom", "as asked", True)),
        ({"code": "boom"}, ("boom", "boom", False)),
        ({"code": ""}, ("bad_args", "`code` is a text.", False)),
        ({"code": 5}, ("bad_args", "`code` is a text.", False)),
        ({"code": "boom", "retryable": "false"}, ("bad_args", "`retryable` is true or false.", False)),
    ],
)
def test_fail_fails_as_told(args: dict[str, Any], expected: tuple[str, str, bool]) -> None:
    assert told(failure_of(execute, task_call("core.fail", args))) == expected


@pytest.mark.parametrize("wanted", [3, 3.0])
def test_flaky_fails_until_its_attempt(wanted: float) -> None:
    args = {"succeed_on_attempt": wanted, "value": {"a": 1}}

    early = failure_of(execute, task_call("core.flaky", args, attempt=2))

    assert told(early) == ("flaky", "Attempt 2 of 3 that it takes.", True)
    assert execute(task_call("core.flaky", args, attempt=3)) == {"a": 1}
    assert execute(task_call("core.flaky", args, attempt=4)) == {"a": 1}


@pytest.mark.parametrize("wanted", ["3", None, True, 2.5])
def test_flaky_takes_a_whole_number(wanted: Any) -> None:
    failure = failure_of(execute, task_call("core.flaky", {"succeed_on_attempt": wanted}))

    assert told(failure) == ("bad_args", "`succeed_on_attempt` is a whole number.", False)


@pytest.mark.parametrize("name", ["core.sleep", "core.fail", "core.flaky"])
def test_an_arg_that_is_missing_or_unknown_fails_at_once(name: str) -> None:
    for args in ({}, {"seconds": 1, "code": "a", "succeed_on_attempt": 1, "odd": 1}):
        failure = failure_of(execute, task_call(name, args))
        assert (failure.code, failure.retryable) == ("task_error", False)
