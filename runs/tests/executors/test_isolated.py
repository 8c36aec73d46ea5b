"""A process of its own: what comes back from it, what it can do to us (nothing), and that nothing of it stays."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runs.executors.base import Call
from runs.executors.descendants import descendants
from runs.executors.isolated import ChildDied, run_alone
from runs.executors.logs import CUT, LIMIT_BYTES
from runs.tests.executors.calls import RUN, TRACE, CallFactory, failure_of, logged, script_call, task_call, told
from staterail.testing.effects import EffectsServer


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """After each test no process and no file of it is left open."""
    files = len(os.listdir("/proc/self/fd"))
    yield
    assert descendants(os.getpid()) == []
    assert len(os.listdir("/proc/self/fd")) == files


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


# What comes back.


def test_a_task_of_a_process_of_its_own_is_told_what_one_on_a_thread_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_URL", "x")
    call = task_call("test.facts", metadata={"team": "a"}, secrets=("s3cret",), timeout=30)
    call.config["odd"] = "s3cret"

    output = run_alone(call)

    assert output["ctx"] == [2, 3, f"{RUN}:charge:3", TRACE, "corr-1", {"team": "a"}]
    assert output["pid"] != os.getpid()
    assert output["group"] == output["session"] == output["pid"]
    assert output["stdin"] == ""
    assert [argument.isdigit() for argument in output["arguments"][1:]] == [True, True]
    assert "s3cret" not in str(output)
    assert "ORDERS_URL" in output["environment"]  # an operator's code finds what it would find on a thread
    assert output["open"] <= 6  # its three streams, where it answers, the folder that it counts, and one of slack


def test_large_args_and_outputs_pass() -> None:
    blob = "ü" * 400_000

    assert run_alone(task_call("core.echo", {"blob": blob}, timeout=30)) == {"blob": blob}


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("core.fail", {"code": "boom", "message": "as asked", "retryable": True}, ("boom", "as asked", True)),
        ("test.raise_value_error", {}, ("task_error", "ValueError: no such luck", True)),
        ("test.big", {"bytes": 10_000_000}, ("output_too_large", "The output is larger than 1 MiB.", False)),
    ],
)
def test_a_failure_comes_back_as_it_is(name: str, args: dict[str, Any], expected: tuple[str, str, bool]) -> None:
    assert told(failure_of(run_alone, task_call(name, args, timeout=30))) == expected


def test_an_output_that_is_no_json_is_told() -> None:
    failure = failure_of(run_alone, task_call("test.not_json", timeout=30))

    assert (failure.code, failure.retryable) == ("bad_output", False)


def test_what_it_prints_and_logs_is_in_the_log() -> None:
    call = task_call("test.prints", {"text": "one\ntwo \x1b[31m ü", "end": ""}, timeout=30)

    assert run_alone(call) == "printed"
    assert sorted(logged(call)) == [("info", "logged"), ("info", "one"), ("info", "two \\x1b[31m ü")]


def test_a_log_without_end_is_cut_and_the_result_comes() -> None:
    call = task_call("test.print_lines", {"n": 18_000, "text": "x" * 100}, timeout=60)

    assert run_alone(call) == 18_000
    lines = logged(call)
    assert LIMIT_BYTES - 25_000 < sum(len(text) for _, text in lines[:-1]) <= LIMIT_BYTES
    assert lines[-1] == ("warning", CUT)


def test_a_secret_that_is_printed_is_not_in_the_log() -> None:
    call = task_call("test.prints", {"text": "key: line one\nline two"}, secrets=("line one\nline two",), timeout=30)

    run_alone(call)

    assert ("info", "key: ***") in logged(call)


# What it cannot do.


def test_nobody_can_answer_in_its_place() -> None:
    assert run_alone(task_call("test.forge", timeout=30)) == "true"


@pytest.mark.parametrize(
    ("name", "args", "status"),
    [
        ("test.kill_worker", {}, "signal 9"),
        ("test.exit", {"status": 3}, "exit status 3"),
        ("test.close_answers", {}, "it closed its answers"),
    ],
)
def test_a_child_that_ends_without_an_answer_has_died(name: str, args: dict[str, Any], status: str) -> None:
    with pytest.raises(ChildDied, match=status):
        run_alone(task_call(name, args, timeout=30))


def test_a_child_killed_from_outside_has_died() -> None:
    call = task_call("test.waits", timeout=30)

    def kill() -> None:
        until(lambda: call.log._lines)  # it waits
        os.kill(descendants(os.getpid())[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ChildDied, match="signal 9"):
        run_alone(call)
    killer.join(5)


def test_a_child_that_cannot_start_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no.such.settings")
    call = task_call("core.noop", timeout=30)

    failure = failure_of(run_alone, call)

    assert (failure.code, failure.retryable) == ("task_error", True)
    assert "no.such" in failure.message or "No module" in failure.message


def test_it_starts_wherever_the_worker_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(tmp_path)

    assert run_alone(task_call("core.echo", {"a": 1}, timeout=30)) == {"a": 1}


def test_it_starts_in_a_process_with_many_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.fail("this test needs 2,000 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        assert run_alone(task_call("core.noop", timeout=30)) is None
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Its end.


def test_it_is_killed_at_its_limit() -> None:
    started = time.monotonic()

    failure = failure_of(run_alone, task_call("test.ignore_cancel", {"seconds": 60}, timeout=1.5))

    assert told(failure) == ("timeout", "No result within 1.5 s: the child was killed.", True)
    assert time.monotonic() - started < 5


def test_a_child_that_never_reads_its_call_is_killed_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.executors.isolated.CHILD", "staterail.testing.deaf")

    failure = failure_of(run_alone, task_call("core.echo", {"blob": "x" * 900_000}, timeout=0.7))

    assert (failure.code, failure.retryable) == ("timeout", True)


def test_a_cancelled_task_may_end_by_itself() -> None:
    call = task_call("test.waits", timeout=30)
    threading.Thread(target=lambda: (until(lambda: call.log._lines), call.cancelled.set())).start()

    assert run_alone(call) == "cancelled"


@pytest.mark.parametrize("when", ["at once", "while it runs"])
def test_a_cancelled_task_that_does_not_listen_is_killed(when: str) -> None:
    call = task_call("test.ignore_cancel", {"seconds": 60}, timeout=30)
    threading.Timer(0.0 if when == "at once" else 1.5, call.cancelled.set).start()
    started = time.monotonic()

    assert told(failure_of(run_alone, call)) == ("interrupted", "The attempt was cancelled.", False)
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("then", ["end", "hang", "die"])
def test_what_it_started_does_not_outlive_it(then: str, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    call = task_call("test.leave_behind", {"path": str(path), "then": then}, timeout=8 if then == "hang" else 30)

    if then == "end":
        assert run_alone(call) == "end"
    elif then == "hang":
        assert failure_of(run_alone, call).code == "timeout"
    else:
        with pytest.raises(ChildDied, match="exit status 7"):
            run_alone(call)

    pids = [int(line) for line in path.read_text().split()]
    assert len(pids) == (1 if then == "die" else 2)
    until(lambda: not any(is_alive(pid) for pid in pids))


# The other kinds.


def test_a_script_may_be_alone() -> None:
    call = script_call("def main(args):\n    print('hello')\n    return args['n'] + 1", {"n": 1}, timeout=30)

    assert run_alone(call) == 2
    assert logged(call) == [("info", "hello")]


def test_a_lonely_script_that_never_ends_is_killed_with_its_sandbox() -> None:
    call = script_call("def main(args):\n    while True: pass", timeout=1.5, time="60s")

    assert failure_of(run_alone, call).code == "timeout"


def test_an_http_call_may_be_alone_and_has_the_workers_allow_list() -> None:
    with closing(EffectsServer()) as server, server:
        call = CallFactory(
            kind="HttpCall", timeout=30, secrets=("s3cret",),
            config={"url": f"{server.url}/echo-headers", "headers": {"X-Key": "s3cret"}},
        )  # fmt: skip
        allowed = run_alone(call, allow=[server.netloc])
        refused = failure_of(run_alone, call)

    assert allowed["body"]["x-key"] == "s3cret"
    assert refused.code == "blocked_address"


@pytest.mark.parametrize("kind", ["HttpCall", "Script"])
def test_neither_a_script_nor_an_http_call_is_given_the_workers_environment(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "canary")
    monkeypatch.setenv("DATABASE_URL", "canary")
    monkeypatch.setattr("runs.executors.isolated.CHILD", "staterail.testing.reveal_environment")

    names = run_alone(Call(RUN, "a", kind, 1, 1, config={}, timeout=30))

    assert {"SECRET_KEY", "DATABASE_URL", "STATERAIL_DATA", "STATERAIL_SECRET_KEYS"} & set(names) == set()
