"""The child of `runs.executors.isolated`: reads one call, executes it, answers, and waits to be killed.

It stands outside of `executors` because a Task needs Django set up to be found. It never touches
the database by itself.
"""

import contextlib
import ctypes
import json
import os
import signal
import struct
import sys
import threading
from typing import Any
from uuid import UUID

from runs.executors.base import Call, StepFailure
from runs.executors.logs import LIMIT_BYTES, LIMIT_LINES, LogBuffer
from staterail.core.strict_json import dumps

JSON = Any
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MAX_OUTPUT = 1024 * 1024  # bytes of JSON
LINGER_SECONDS = 10


class PipedLog(LogBuffer):
    """Sends each line at once. Its own limit is wider than the parent's, who is the one to cut."""

    def __init__(self, answer: "Answer") -> None:
        super().__init__(2 * LIMIT_BYTES, 2 * LIMIT_LINES)
        self._answer = answer

    def write(self, message: str, level: str = "info") -> None:
        super().write(message, level)
        for line in self.drain():
            self._answer.send({"log": line.message, "level": line.level})


class Answer:
    """Length-prefixed JSON frames."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lock = fd, threading.Lock()

    def send(self, frame: dict[str, JSON]) -> None:
        self.send_text(json.dumps(frame))

    def send_text(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        data = struct.pack(">I", len(data)) + data
        with self._lock:
            while data:
                data = data[os.write(self._fd, data) :]


def main(read: int, write: int) -> None:
    os.set_inheritable(read, False)
    os.set_inheritable(write, False)  # what the task starts cannot answer for it
    with os.fdopen(read, "rb") as pipe:
        (size,) = struct.unpack(">I", pipe.read(4))
        told = json.loads(pipe.read(size))
    _live_and_die_with(told.pop("parent"))
    allow = told.pop("allow")
    answer = Answer(write)
    told |= {"run_id": UUID(told["run_id"]), "secrets": tuple(told["secrets"])}
    call = Call(**told, log=PipedLog(answer))
    signal.signal(signal.SIGTERM, lambda *_: call.cancelled.set())
    own = os.getpid()
    text = _answer_of(call, allow)
    if os.getpid() != own:  # the task has forked, and its copy came back too: only one of them answers
        os._exit(0)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    answer.send_text(text)
    # The parent kills this process while its descendants still hang on it, so that none gets away.
    threading.Event().wait(LINGER_SECONDS)
    os._exit(0)


def _answer_of(call: Call, allow: dict[str, list[str]]) -> str:
    """The frame that ends the attempt, as JSON."""
    try:
        output = _execute(call, allow)
        try:
            text = dumps(output)
        except (TypeError, ValueError, RecursionError) as error:
            raise StepFailure("bad_output", f"The output is no JSON: {error}", retryable=False) from None
        if len(text.encode("utf-8", "surrogatepass")) > MAX_OUTPUT:
            raise StepFailure("output_too_large", "The output is larger than 1 MiB.", retryable=False)
    except StepFailure as failure:
        return json.dumps({"failure": _told(failure)})
    except BaseException as error:  # as on a thread of the worker: a bug is told, and does not look like a death
        bug = StepFailure("task_error", f"{type(error).__name__}: {error}", retryable=True)
        return json.dumps({"failure": _told(bug)})
    return f'{{"result":{text}}}'


def _told(failure: StepFailure) -> dict[str, JSON]:
    return {
        "code": failure.code, "message": failure.message, "retryable": failure.retryable, "details": failure.details,
        "retry_after": failure.retry_after,
    }  # fmt: skip


def _execute(call: Call, allow: dict[str, list[str]]) -> JSON:
    if call.kind == "Task":
        import django

        django.setup()  # finds the apps' staterail_tasks
        from runs.executors.task import execute

        return execute(call)
    if call.kind == "Script":
        from runs.executors.script import ScriptExecutor

        return ScriptExecutor(1).execute(call)
    from runs.executors.http_call import HttpExecutor
    from staterail.core.net.guard import AllowList

    return HttpExecutor(AllowList.parse(**allow)).execute(call)


def _live_and_die_with(parent: int) -> None:
    """Linux: the child does not outlive the worker, and what its task daemonises stays its descendant."""
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
