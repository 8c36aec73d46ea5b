"""Script steps: the processes that run them, how a script is ended, what a process that dies or hangs costs."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from runs.executors.descendants import descendants
from runs.executors.script import ScriptExecutor
from runs.tests.executors.calls import body, failure_of, kill_descendants, logged, script_call, told

ENDLESS = "def main(args):\n    while True: pass"


@pytest.fixture(scope="module")
def executor() -> Iterator[ScriptExecutor]:
    with closing(ScriptExecutor(2)) as executor:
        yield executor


def test_many_scripts_run_at_once_and_each_has_its_own(executor: ScriptExecutor) -> None:
    def run(number: int) -> Any:
        return executor.execute(script_call("n = 0\n" + body("global n", "n += args", "print(n)", "return n"), number))

    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(run, range(100))) == list(range(100))
    assert len(descendants(os.getpid())) <= 4  # two processes, and one that waits for each


def test_one_that_never_ends_does_not_hold_up_the_others(executor: ScriptExecutor) -> None:
    with ThreadPoolExecutor(2) as threads:
        call = script_call(ENDLESS, time="60s")
        endless = threads.submit(failure_of, executor.execute, call)
        outputs = [executor.execute(script_call(body("return args"), number)) for number in range(20)]
        still_running = not endless.done()
        call.cancelled.set()

    assert outputs == list(range(20))
    assert still_running


def test_a_running_script_is_ended_when_it_is_cancelled(executor: ScriptExecutor) -> None:
    call, began = script_call(ENDLESS, time="60s"), time.monotonic()
    threading.Timer(0.3, call.cancelled.set).start()

    assert told(failure_of(executor.execute, call)) == ("interrupted", "The attempt was cancelled.", False)
    assert time.monotonic() - began < 10
    assert executor.execute(script_call(body("return 1"))) == 1


def test_a_script_that_waits_for_a_process_ends_when_it_is_cancelled() -> None:
    with closing(ScriptExecutor(1)) as executor, ThreadPoolExecutor(2) as threads:
        first, second = script_call(ENDLESS, time="60s"), script_call(body("return 1"), time="60s")
        running = threads.submit(failure_of, executor.execute, first)
        waiting = threads.submit(failure_of, executor.execute, second)
        second.cancelled.set()
        assert waiting.result(5).code == "interrupted"
        first.cancelled.set()
        assert running.result(5).code == "interrupted"


def test_a_script_that_was_cancelled_before_does_not_run(executor: ScriptExecutor) -> None:
    call = script_call(body("print('ran')"))
    call.cancelled.set()

    assert failure_of(executor.execute, call).code == "interrupted"
    assert logged(call) == []


def test_a_process_that_died_while_it_was_idle_is_no_scripts_fault(executor: ScriptExecutor) -> None:
    executor.execute(script_call(body("return 1")))
    kill_descendants()

    assert executor.execute(script_call(body("return 2"))) == 2


def stop_descendants() -> None:
    for pid in descendants(os.getpid()):
        os.kill(pid, signal.SIGSTOP)


def test_processes_that_stopped_responding_while_they_were_idle_are_replaced() -> None:
    with closing(ScriptExecutor(2)) as executor, ThreadPoolExecutor(1) as threads:
        executor.execute(script_call(body("return 1")))
        stop_descendants()

        assert threads.submit(executor.execute, script_call(body("return 2"))).result(30) == 2


def test_a_process_that_stops_responding_under_a_script_is_replaced() -> None:
    with closing(ScriptExecutor(1)) as executor, ThreadPoolExecutor(1) as threads:
        call = script_call(body("print('runs')", "while True: pass"), time="1s")
        running = threads.submit(failure_of, executor.execute, call)
        end = time.monotonic() + 30
        while not logged(call) and time.monotonic() < end:
            time.sleep(0.01)
        stop_descendants()

        assert running.result(30).code == "script_timeout"
        assert executor.execute(script_call(body("return 2"))) == 2


def test_a_closed_executor_waits_for_no_process_that_stopped_responding() -> None:
    with ThreadPoolExecutor(1) as threads:
        executor = ScriptExecutor(1)
        executor.execute(script_call(body("return 1")))
        stop_descendants()

        threads.submit(executor.close).result(30)


def test_a_process_that_dies_under_a_script_fails_it_and_no_other(executor: ScriptExecutor) -> None:
    call = script_call(body("print('runs')", "while True: pass"), time="30s")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(failure_of, executor.execute, call)
        end = time.monotonic() + 30
        while not logged(call) and time.monotonic() < end:
            time.sleep(0.01)
        for pid in descendants(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    failure = running.result()
    assert (failure.code, failure.retryable) == ("script_memory", False)
    assert executor.execute(script_call(body("return 2"))) == 2


def test_a_closed_executor_leaves_no_process_and_starts_anew() -> None:
    before = set(descendants(os.getpid()))
    executor = ScriptExecutor(1)
    executor.execute(script_call(body("return 1")))
    assert set(descendants(os.getpid())) - before

    executor.close()
    executor.close()

    end = time.monotonic() + 5
    while set(descendants(os.getpid())) - before and time.monotonic() < end:
        time.sleep(0.02)
    assert set(descendants(os.getpid())) - before == set()
    assert executor.execute(script_call(body("return 1"))) == 1
    executor.close()
