"""Script steps: `main(args)` in a sandboxed Python dialect, in worker processes that are not ours to lose.

pydantic-monty runs each script in a fresh session of a pooled worker process: no files, no
network, no environment. All four of its limits are passed; a worker that ignores them is killed.
What comes back is checked like a stranger's.
"""

import os
import re
import threading
import time
from datetime import timedelta
from typing import Any

import pydantic_monty as monty

from runs.executors.base import Call, StepFailure
from staterail.core.strict_json import StrictJSONError, loads
from workflows.definition.durations import parse_duration

JSON = Any
ALLOWED = frozenset({"json", "re", "math", "datetime", "hashlib", "collections", "itertools"})
MAX_SOURCE = 64 * 1024
MAX_PRINTED = 256 * 1024
MAX_RECURSION = 200
GRACE_SECONDS = 1.0
PRELUDE = """
def eval(*args, **kwargs):
    raise NameError("there is no eval in a script")
exec = eval
"""  # within the sandbox they could do no harm, but a script that needs them does not say what it does
CALL = "import json as _json\n_json.dumps(main(args))"
DEFAULT_MEMORY_MB, DEFAULT_TIME = 32, "1s"
MAX_TIME = timedelta(seconds=60)
_ESCAPES = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_IMPORT = re.compile(r"^\s*(?:import\s+(.+)|from\s+(\.*[\w.]*)\s+import\b)", re.MULTILINE)


class ScriptExecutor:
    """A pool of sandbox processes, as many as may run at once."""

    def __init__(self, processes: int | None = None) -> None:
        self._processes = processes or os.cpu_count() or 1
        self._lock = threading.Lock()
        self._pool: monty.Monty | None = None

    def execute(self, call: Call) -> JSON:
        """Raises StepFailure: `script_error`, `script_timeout` (retryable) or `script_memory`."""
        source, args, seconds, memory = _config(call.config)
        limits = monty.ResourceLimits(
            max_feed_duration_secs=seconds,
            max_memory=memory,
            max_recursion_depth=MAX_RECURSION,
            max_total_sleep_secs=seconds,
        )
        printed = _Printed(call)
        try:
            with self._started().checkout(limits=limits, script_name="script.py") as session:
                began = time.monotonic()
                value = self._run(session, source, args, printed)
            if time.monotonic() - began > seconds + GRACE_SECONDS:
                raise _timeout(seconds)
        except monty.MontyError as error:
            raise _failure(error, seconds, printed.over) from None
        except (TimeoutError, ConnectionError, OSError) as error:
            raise StepFailure("script_timeout", f"The sandbox did not answer: {error}", retryable=True) from None
        finally:
            printed.flush()
        return value

    def _run(self, session: Any, source: str, args: JSON, printed: "_Printed") -> JSON:
        session.feed_run(PRELUDE)
        session.feed_run(source, print_callback=printed)
        try:
            text = session.feed_run(CALL, inputs={"args": args}, print_callback=printed)
            return loads(text, max_depth=200)
        except StrictJSONError as error:
            raise StepFailure(
                "script_error", f"What main returned cannot be kept: {error.message}", retryable=False
            ) from None
        except monty.MontyRuntimeError as error:
            if isinstance(error.exception(), NameError) and "'main'" in str(error) and len(error.traceback()) <= 1:
                raise StepFailure("script_error", "The script defines no main(args).", retryable=False) from None
            raise

    def _started(self) -> monty.Monty:
        with self._lock:
            if self._pool is None:
                self._pool = monty.Monty(
                    min_processes=1, max_processes=self._processes, request_timeout=MAX_TIME.total_seconds() + 5,
                    feed_duration_limit_grace=GRACE_SECONDS, max_checkouts_per_worker=200,
                )  # fmt: skip
                self._pool.__enter__()
            return self._pool

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)


class _Printed:
    """What `print` writes, line by line into the step's log, cut at a bound."""

    def __init__(self, call: Call) -> None:
        self._call, self._rest, self._left, self.over = call, "", MAX_PRINTED, False

    def __call__(self, stream: str, text: str) -> None:
        if self.over:
            return
        if len(text) > self._left:
            text, self.over = text[: self._left], True
        self._left -= len(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._call.log.write(_clean(line))
        if self.over:
            self.flush()
            self._call.log.write("output truncated: a script prints 256 KiB at most", "warning")

    def flush(self) -> None:
        if self._rest:
            self._call.log.write(_clean(self._rest))
            self._rest = ""


def _clean(line: str) -> str:
    return _ESCAPES.sub(lambda match: repr(match.group())[1:-1], line)


def _config(config: JSON) -> tuple[str, JSON, float, int]:
    """(source, args, seconds, bytes). A retry may bring any input, so all is checked again."""
    if not isinstance(config, dict):
        raise StepFailure("script_error", "The step's input is no object.", retryable=False)
    source, memory = config.get("source"), config.get("memory_mb", DEFAULT_MEMORY_MB)
    if not isinstance(source, str) or len(source.encode("utf-8", "replace")) > MAX_SOURCE or "\x00" in source:
        raise StepFailure("script_error", "`source` is text of at most 64 KiB.", retryable=False)
    if isinstance(memory, bool) or not isinstance(memory, int) or not 1 <= memory <= 512:
        raise StepFailure("script_error", "`memory_mb` is a whole number between 1 and 512.", retryable=False)
    try:
        limit = min(parse_duration(config.get("time", DEFAULT_TIME)), MAX_TIME)
    except ValueError as error:
        raise StepFailure("script_error", f"`time`: {error}", retryable=False) from None
    for match in _IMPORT.finditer(source):
        for name in (match.group(1) or match.group(2) or "").split(","):
            root = name.strip().split(" ")[0].split(".")[0]
            if root and root not in ALLOWED:
                raise StepFailure(
                    "script_error", f"ImportError: a script cannot import {root[:60]!r}.", retryable=False
                )
    return source, config.get("args"), max(limit.total_seconds(), 0.001), memory * 1024 * 1024


def _failure(error: monty.MontyError, seconds: float, over: bool) -> StepFailure:
    if isinstance(error, monty.MontyCrashedError):
        if getattr(error, "timed_out", False):
            return _timeout(seconds)
        return StepFailure("script_memory", "The script broke its sandbox's bounds and was ended.", retryable=False)
    inner = error.exception()
    if isinstance(inner, TimeoutError):
        return _timeout(seconds)
    if isinstance(inner, MemoryError):
        return StepFailure("script_memory", f"The script used more memory than it may: {inner}", retryable=False)
    place = ""
    if isinstance(error, monty.MontyRuntimeError | monty.MontySyntaxError):
        frames = [frame for frame in error.traceback() if "_json" not in (frame.source_line or "")]
        place = f" (line {frames[-1].line})" if frames else ""
    return StepFailure("script_error", f"{type(inner).__name__}: {inner}{place}"[:2000], retryable=False)


def _timeout(seconds: float) -> StepFailure:
    return StepFailure("script_timeout", f"The script ran longer than {seconds:g} s.", retryable=True)
