"""Task steps on a thread: what a function is told, and what becomes of whatever it does."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from runs.executors.task import TaskContext, execute
from runs.tests.executors.calls import RUN, TRACE, CallFactory, failure_of, logged, task_call, told
from workflows import task_registry
from workflows.task_registry import TaskError, task


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = dict(task_registry._tasks)
    yield
    task_registry._tasks.clear()
    task_registry._tasks.update(before)


def run(function: Any, /, args: Any = None, **fields: Any) -> Any:
    """Register a function as `t` and execute it."""
    task("t")(function)
    return execute(task_call("t", args, **fields))


def test_a_task_is_called_with_its_args_and_its_answer_is_the_output() -> None:
    assert run(lambda ctx, *, a, b=2: {"sum": a + b}, {"a": 1}) == {"sum": 3}


def test_what_a_task_is_told_of_its_attempt() -> None:
    seen: list[TaskContext] = []

    run(lambda ctx: seen.append(ctx), metadata={"team": "a"})

    ctx = seen[0]
    assert (ctx.run_id, ctx.step_id, ctx.attempt, ctx.generation) == (RUN, "charge", 2, 3)
    assert (ctx.trace_id, ctx.corr_id, ctx.metadata) == (TRACE, "corr-1", {"team": "a"})
    assert ctx.idempotency_key == f"{RUN}:charge:3"
    assert not ctx.cancelled()


def test_a_task_sees_that_it_was_cancelled() -> None:
    call = task_call("t")
    call.cancelled.set()
    task("t")(lambda ctx: [ctx.cancelled(), ctx.wait(60)])

    assert execute(call) == [True, True]


def test_a_task_cannot_change_what_other_runs_are_given() -> None:
    call = task_call("t", {"items": [{"n": 1}]}, metadata={"tags": []})

    def greedy(ctx: TaskContext, *, items: Any) -> None:
        items[0]["n"] = 99
        items.append("mine")
        ctx.metadata["tags"].append("mine")

    task("t")(greedy)
    execute(call)

    assert call.config == {"name": "t", "args": {"items": [{"n": 1}]}}
    assert call.metadata == {"tags": []}


@pytest.mark.parametrize("retryable", [True, False])
def test_a_task_error_is_the_failure_it_says(retryable: bool) -> None:
    def broken(ctx: Any) -> None:
        raise TaskError("out_of_stock", "No more.", retryable)

    assert told(failure_of(run, broken)) == ("out_of_stock", "No more.", retryable)


@pytest.mark.parametrize("code", ["", " ", None, 5])
def test_a_task_error_without_a_code_has_the_usual_one(code: Any) -> None:
    def broken(ctx: Any) -> None:
        raise TaskError(code, "odd")

    assert told(failure_of(run, broken)) == ("task_error", "odd", False)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no luck"), "ValueError: no luck"),
        (KeyError("a"), "KeyError: 'a'"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (MemoryError(), "MemoryError: "),
        (TypeError("inside"), "TypeError: inside"),
        (Unspeakable(), "Unspeakable: (its text cannot be told)"),
        (ValueError("a\x00b\x1b[2J\ud800"), "ValueError: a\\x00b\\x1b[2J\\ud800"),
    ],
)
def test_any_other_exception_is_a_task_error_with_its_traceback_in_the_log(error: BaseException, message: str) -> None:
    def broken(ctx: Any) -> None:
        raise error

    task("t")(broken)
    call = task_call("t")

    assert told(failure_of(execute, call)) == ("task_error", message, True)
    ((level, traceback),) = logged(call)
    assert level == "error"
    assert "in broken" in traceback


def test_endless_recursion_is_a_task_error() -> None:
    def deep(ctx: Any) -> Any:
        return deep(ctx)

    failure = failure_of(run, deep)

    assert (failure.code, failure.retryable) == ("task_error", True)


@pytest.mark.parametrize(
    ("args", "part"),
    [({}, "'a'"), ({"a": 1, "b": 2}, "'b'"), ({"ctx": 1, "a": 1}, "'ctx'")],
)
def test_args_that_do_not_fit_fail_at_once_and_are_named(args: dict[str, Any], part: str) -> None:
    calls: list[int] = []

    failure = failure_of(run, lambda ctx, *, a: calls.append(a), args)

    assert (failure.code, failure.retryable) == ("task_error", False)
    assert failure.message.startswith("t does not take these args:")
    assert part in failure.message
    assert calls == []


@pytest.mark.parametrize("args", [[], "a", 5, True])
def test_args_that_are_no_object_fail_at_once(args: Any) -> None:
    assert told(failure_of(run, lambda ctx: None, args)) == ("task_error", "`args` is an object.", False)


@pytest.mark.parametrize("config", [None, [], "x", {}, {"name": None}, {"name": 5}, {"name": "no.such"}, {"name": []}])
def test_a_task_that_is_not_registered_is_named(config: Any) -> None:
    failure = failure_of(execute, CallFactory(config=config))

    assert (failure.code, failure.retryable) == ("unknown_task", False)


def test_a_long_message_is_cut() -> None:
    def broken(ctx: Any) -> None:
        raise ValueError("x" * 10_000)

    assert len(failure_of(run, broken).message) == 2000


# The logger.


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (lambda log: log.debug("a %s", 1), ("debug", "a 1")),
        (lambda log: log.info("a"), ("info", "a")),
        (lambda log: log.info("100%"), ("info", "100%")),
        (lambda log: log.warning("%(a)s", {"a": 5}), ("warning", "5")),
        (lambda log: log.error({"a": 1}), ("error", "{'a': 1}")),
        (lambda log: log.critical("a"), ("error", "a")),
        (lambda log: log.log(35, "a"), ("warning", "a")),
        (lambda log: log.log(5, "a"), ("debug", "a")),
        (lambda log: log.info("a %d", "b"), ("info", "a %d (its arguments do not fit)")),
        (lambda log: log.info("a", "b"), ("info", "a (its arguments do not fit)")),
        (lambda log: log.info("a", extra={"b": 1}, stacklevel=2), ("info", "a")),
        (lambda log: log.info("a\x1b[2J\x00"), ("info", "a\\x1b[2J\\x00")),
    ],
)
def test_a_logged_line_stands_in_the_steps_log(write: Any, line: tuple[str, str]) -> None:
    call = task_call("t")
    task("t")(lambda ctx: write(ctx.logger))

    execute(call)

    assert logged(call) == [line]


def test_a_logged_exception_brings_its_traceback() -> None:
    def careful(ctx: TaskContext) -> None:
        try:
            raise ValueError("inner")
        except ValueError as error:
            ctx.logger.exception("first")
            ctx.logger.info("second", exc_info=error)

    call = task_call("t")
    task("t")(careful)
    execute(call)

    assert [(level, text.splitlines()[0], text.splitlines()[-1]) for level, text in logged(call)] == [
        ("error", "first", "ValueError: inner"),
        ("info", "second", "ValueError: inner"),
    ]


def test_what_a_task_logs_reaches_no_handler(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        run(lambda ctx: ctx.logger.error("mine"))

    assert caplog.records == []


# Secrets.


def test_secrets_are_gone_from_errors_and_logs_before_they_are_cut() -> None:
    secret = "s3cret-" + "z" * 40

    def careless(ctx: TaskContext) -> None:
        ctx.logger.info("with %s", secret)
        raise ValueError("x" * 1970 + secret)

    call = task_call("t", secrets=(secret,))
    task("t")(careless)

    failure = failure_of(execute, call)

    assert failure.message == "ValueError: " + "x" * 1970 + "***"
    assert all("s3cret" not in text for _, text in logged(call))


def test_a_secret_of_several_lines_is_gone_too() -> None:
    secret = "first line\nsecond line"
    call = task_call("t", secrets=(secret,))
    task("t")(lambda ctx: ctx.logger.info("key: %s", secret))

    execute(call)

    assert logged(call) == [("info", "key: ***")]
