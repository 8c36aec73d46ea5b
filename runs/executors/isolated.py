"""An attempt in a process of its own, which can be killed: with its whole process group, at its limit.

The child gets its call over a private pipe (never by arguments or environment) and answers in
length-prefixed JSON frames on another: what it prints is only log, it cannot forge a result by it.
"""

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from typing import Any

from runs.executors.base import Call, StepFailure

JSON = Any
MAX_FRAME = 4 * 1024 * 1024
CANCEL_GRACE_SECONDS = 1.0


class ChildDied(Exception):
    """The child is gone, and has left no result."""


def run_alone(call: Call) -> JSON:
    """Execute a call of any kind in a spawned child. Raises StepFailure, or ChildDied."""
    child = _Child(call)
    try:
        return child.result()
    finally:
        child.kill()


class _Child:
    def __init__(self, call: Call) -> None:
        self.call = call
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own child
                [sys.executable, "-m", "runs.executors.child", str(to_child), str(from_child)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=(to_child, from_child), start_new_session=True,
            )  # fmt: skip
        except OSError:
            os.close(self._write)
            os.close(self._read)
            raise
        finally:
            os.close(to_child)
            os.close(from_child)
        self._buffer = b""
        self._printed = b""

    def result(self) -> JSON:
        call, deadline, told = self.call, None, None
        if call.timeout is not None:
            deadline = time.monotonic() + call.timeout
        self._send()
        assert self.process.stdout is not None
        sources = {self._read, self.process.stdout.fileno()}
        while sources:
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise StepFailure(
                    "timeout", f"No result within {call.timeout:g} s: the child was killed.", retryable=True
                )
            if call.cancelled.is_set() and told is None:
                told = now
                self._signal(signal.SIGTERM)
            if told is not None and now > told + CANCEL_GRACE_SECONDS:
                raise StepFailure("interrupted", "The attempt was cancelled.", retryable=False)
            ready, _, _ = select.select(list(sources), [], [], 0.1)
            for source in ready:
                data = os.read(source, 65536)
                if not data:
                    sources.discard(source)
                elif source == self._read:
                    self._buffer += data
                    for frame in self._frames():
                        if "result" in frame or "failure" in frame:
                            return _outcome(frame)
                else:
                    self._log_output(data)
            if self._read not in sources:
                break
        if told is not None:
            raise StepFailure("interrupted", "The attempt was cancelled.", retryable=False)
        raise ChildDied(f"The child process of this attempt died ({self._status()}).")

    def _send(self) -> None:
        call = self.call
        told = {
            "run_id": str(call.run_id), "step_id": call.step_id, "kind": call.kind, "attempt": call.attempt,
            "generation": call.generation, "config": call.config, "timeout": call.timeout, "trace_id": call.trace_id,
            "corr_id": call.corr_id, "metadata": call.metadata, "parent": os.getpid(),
        }  # fmt: skip
        data = json.dumps(told).encode()
        try:
            with os.fdopen(self._write, "wb") as pipe:
                pipe.write(struct.pack(">I", len(data)) + data)
        except BrokenPipeError:
            pass  # it died already: the end of its answers tells

    def _frames(self) -> list[dict[str, JSON]]:
        frames = []
        while len(self._buffer) >= 4:
            (size,) = struct.unpack(">I", self._buffer[:4])
            if size > MAX_FRAME:
                raise ChildDied("The child process sent what is no answer.")
            if len(self._buffer) < 4 + size:
                break
            data, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
            try:
                frame = json.loads(data)
            except ValueError:
                raise ChildDied("The child process sent what is no answer.") from None
            if not isinstance(frame, dict):
                raise ChildDied("The child process sent what is no answer.")
            if "log" in frame:
                self.call.log.write(str(frame["log"]), str(frame.get("level", "info"))[:8])
            else:
                frames.append(frame)
        return frames

    def _log_output(self, data: bytes) -> None:
        *lines, self._printed = (self._printed + data).split(b"\n")
        for line in lines:
            self.call.log.write(line.decode("utf-8", "replace"))
        if len(self._printed) > 65536:
            self._printed = b""

    def _status(self) -> str:
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its answers"
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Nothing of the child's group is left after this."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._read)


def _outcome(frame: dict[str, JSON]) -> JSON:
    failure = frame.get("failure")
    if failure is None:
        return frame.get("result")
    if not isinstance(failure, dict):
        raise ChildDied("The child process sent what is no answer.")
    retry_after, details = failure.get("retry_after"), failure.get("details")
    raise StepFailure(
        str(failure.get("code", "task_error"))[:100], str(failure.get("message", ""))[:2000],
        retryable=bool(failure.get("retryable")), details=details if isinstance(details, dict) else None,
        retry_after=float(retry_after) if isinstance(retry_after, int | float) else None,
    )  # fmt: skip
