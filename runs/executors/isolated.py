"""An attempt in a process of its own, which can be killed: with all its descendants, at its limit.

The child gets its call over a private pipe (never by arguments or environment) and answers in
length-prefixed JSON frames on another: what it prints is only log, it cannot forge a result by it.
"""

import codecs
import contextlib
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from runs.executors.base import Call, StepFailure
from runs.executors.descendants import kill_tree
from runs.executors.logs import LineWriter
from staterail.core.redaction import redact_text

JSON = Any
CHILD = "runs.isolated_child"
MAX_FRAME = 8 * 1024 * 1024  # bytes: an output or a line of 1 MiB, however its characters are escaped
CANCEL_GRACE_SECONDS = 1.0
CLOSED_GRACE_SECONDS = 1.0  # for a child that has closed its answers to end
# What Script and HttpCall need of the environment. A Task is the operator's own code, and finds here
# what it would find on a thread of the worker.
HARMLESS = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "MONTY_BIN",
    "LD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV",
)  # fmt: skip


class ChildDied(Exception):
    """The child is gone, and has left no result."""


def run_alone(call: Call, *, allow: Sequence[str] = (), own: Sequence[str] = ()) -> JSON:
    """Execute a call of any kind in a spawned child; `allow` and `own` are those of the HTTP allow list.

    Raises StepFailure, or ChildDied.
    """
    child = _Child(call, {"entries": list(allow), "own": list(own)})
    try:
        return child.result()
    finally:
        child.kill()


class _Child:
    def __init__(self, call: Call, allow: dict[str, list[str]]) -> None:
        self.call = call
        self._told = _told(call, allow)
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own child
                # -P: not what lies in the working directory; -u: lines come as they are printed
                [sys.executable, "-P", "-u", "-m", CHILD, str(to_child), str(from_child)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=(to_child, from_child), start_new_session=True, env=_environment(call.kind),
            )  # fmt: skip
        except BaseException:
            os.close(self._write)
            os.close(self._read)
            raise
        finally:
            os.close(to_child)
            os.close(from_child)
        assert self.process.stdout is not None
        self._output = self.process.stdout.fileno()
        self._frames = bytearray()
        self._printed = LineWriter(call.log)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for fd in (self._write, self._read, self._output):
            os.set_blocking(fd, False)

    def result(self) -> JSON:
        """What the child answers in time."""
        call = self.call
        deadline = None if call.timeout is None else time.monotonic() + call.timeout
        told_at: float | None = None
        with selectors.DefaultSelector() as waiting:  # a select() would break past 1,024 open files
            waiting.register(self._write, selectors.EVENT_WRITE)
            waiting.register(self._read, selectors.EVENT_READ)
            waiting.register(self._output, selectors.EVENT_READ)
            while self._read in waiting.get_map():
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    what = f"No result within {call.timeout:g} s: the child was killed."
                    raise StepFailure("timeout", what, retryable=True)
                if call.cancelled.is_set() and told_at is None:
                    told_at = now
                    self._signal(signal.SIGTERM)
                if told_at is not None and now > told_at + CANCEL_GRACE_SECONDS:
                    break
                for key, _ in waiting.select(0.1 if deadline is None else min(0.1, deadline - now)):
                    if key.fd == self._write:
                        self._tell(waiting)
                    elif key.fd == self._output:
                        self._listen(waiting)
                    elif (frame := self._answer(waiting)) is not None:
                        self._listen(None)  # what it printed before it answered
                        return _outcome(frame)
        if told_at is not None:
            raise StepFailure("interrupted", "The attempt was cancelled.", retryable=False)
        status = self._status()
        self._listen(None)
        raise ChildDied(f"The child process of this attempt died ({status}).")

    def _tell(self, waiting: selectors.BaseSelector) -> None:
        """Hand over the call, as much as the pipe takes: a child that does not read it blocks nobody."""
        try:
            self._told = self._told[os.write(self._write, self._told) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._told = b""  # it died already: the end of its answers tells
        if not self._told:
            waiting.unregister(self._write)
            self._close_write()

    def _answer(self, waiting: selectors.BaseSelector) -> dict[str, JSON] | None:
        """Read what it says: lines go to the log, the frame that ends the attempt is returned."""
        data = _read(self._read)
        if data is None:
            return None
        if not data:
            waiting.unregister(self._read)
        self._frames += data
        for frame in self._whole_frames():
            if "log" in frame:
                self.call.log.write(str(frame["log"]), str(frame.get("level")))
            elif "result" in frame or "failure" in frame:
                return frame
            else:
                raise ChildDied("The child process sent what is no answer.")
        return None

    def _whole_frames(self) -> Iterator[dict[str, JSON]]:
        while len(self._frames) >= 4:
            (size,) = struct.unpack(">I", self._frames[:4])
            if size > MAX_FRAME:
                raise ChildDied("The child process sent what is no answer.")
            if len(self._frames) < 4 + size:
                return
            data = bytes(self._frames[4 : 4 + size])
            del self._frames[: 4 + size]
            try:
                frame = json.loads(data)
            except (ValueError, RecursionError):
                frame = None
            if not isinstance(frame, dict):
                raise ChildDied("The child process sent what is no answer.")
            yield frame

    def _listen(self, waiting: selectors.BaseSelector | None) -> None:
        """Log what it printed: once, or without a selector all that is there, and the last line."""
        while data := _read(self._output):
            self._printed.write(redact_text(self._decoder.decode(data), self.call.secrets))
            if waiting is not None:
                return
        if waiting is None:
            self._printed.flush()
        elif data == b"":
            waiting.unregister(self._output)

    def _status(self) -> str:
        """How it ended. It stays a zombie, so that its number is nobody else's until all is killed."""
        until = time.monotonic() + CLOSED_GRACE_SECONDS
        while time.monotonic() < until:
            ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None:
                by_signal = ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
                return f"{'signal' if by_signal else 'exit status'} {ended.si_status}"
            time.sleep(0.01)
        return "it closed its answers"

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _close_write(self) -> None:
        if self._write >= 0:
            os.close(self._write)
            self._write = -1

    def kill(self) -> None:
        """Nothing that it started is left after this."""
        kill_tree(self.process.pid)
        self.process.wait()
        self._close_write()
        os.close(self._read)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _told(call: Call, allow: dict[str, list[str]]) -> bytes:
    told = {
        "run_id": str(call.run_id), "step_id": call.step_id, "kind": call.kind, "attempt": call.attempt,
        "generation": call.generation, "config": call.config, "timeout": call.timeout, "secrets": call.secrets,
        "trace_id": call.trace_id, "corr_id": call.corr_id, "metadata": call.metadata, "depth": call.depth,
        "allow": allow, "parent": os.getpid(),
    }  # fmt: skip
    data = json.dumps(told).encode()
    return struct.pack(">I", len(data)) + data


def _environment(kind: str) -> dict[str, str]:
    known = os.environ if kind == "Task" else {name: os.environ[name] for name in HARMLESS if name in os.environ}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**known, "PYTHONPATH": path}


def _read(fd: int) -> bytes | None:
    """What is there; b"" at the end, None where there is nothing yet."""
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None


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
