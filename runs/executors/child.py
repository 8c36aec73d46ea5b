"""The child of `isolated`: reads one call, executes it, answers, ends. It never touches the database."""

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
from runs.executors.logs import LogBuffer

JSON = Any
PR_SET_PDEATHSIG = 1


class PipedLog(LogBuffer):
    """Sends each line at once."""

    def __init__(self, answer: "Answer") -> None:
        super().__init__()
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
        data = json.dumps(frame).encode()
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
    _die_with(told.pop("parent"))
    answer = Answer(write)
    call = Call(**{**told, "run_id": UUID(told["run_id"])}, log=PipedLog(answer))
    signal.signal(signal.SIGTERM, lambda *_: call.cancelled.set())
    try:
        answer.send({"result": _execute(call)})
    except StepFailure as failure:
        answer.send({"failure": _told(failure)})
    except (TypeError, ValueError) as error:
        bad = StepFailure("bad_output", f"The output is no JSON: {error}", retryable=False)
        answer.send({"failure": _told(bad)})
    os._exit(0)  # whatever threads the task has left behind


def _told(failure: StepFailure) -> dict[str, JSON]:
    return {
        "code": failure.code, "message": failure.message, "retryable": failure.retryable, "details": failure.details,
        "retry_after": failure.retry_after,
    }  # fmt: skip


def _execute(call: Call) -> JSON:
    if call.kind == "Task":
        import django

        django.setup()  # finds the apps' staterail_tasks
        from runs.executors.task import execute

        return execute(call)
    if call.kind == "Script":
        from runs.executors.script import ScriptExecutor

        return ScriptExecutor(1).execute(call)
    from django.conf import settings

    from runs.executors.http_call import HttpExecutor
    from staterail.core.net.guard import AllowList

    return HttpExecutor(AllowList.parse(settings.STATERAIL_HTTP_ALLOW)).execute(call)


def _die_with(parent: int) -> None:
    """Linux: the child does not outlive the worker."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
