"""Script steps: `main(args)` in a sandboxed Python dialect, in worker processes that are not ours to lose.

pydantic-monty runs each script in a fresh session of a pooled worker process: no files, no
network, no environment. All four of its limits are passed; a worker that ignores them is killed.
What comes back is checked like a stranger's.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pydantic_monty as monty

from runs.executors.base import Call, StepFailure
from runs.executors.logs import LineWriter
from runs.executors.sandbox import Sandbox
from runs.executors.script_config import MAX_TIME, ScriptConfig, parse_config
from runs.executors.workers import answering, busy
from staterail.core.strict_json import StrictJSONError, loads

JSON = Any
MAX_RECURSION = 200
MAX_OUTPUT = 1024 * 1024  # bytes of JSON
GRACE_SECONDS = 1.0
LONG_SECONDS = 2.0  # what a cancel need not wait for: longer scripts are watched
PRELUDE = """
def eval(*args, **kwargs):
    raise NameError("there is no eval in a script")
exec = eval
"""  # within the sandbox they could do no harm, but a script that needs them does not say what it does
DUMPS = "_staterail_json.dumps("
# Cut by syntax, which no script can redefine: more than is kept never crosses to us.
CALL = f"""
import json as _staterail_json
_staterail = main(_staterail_args)
_staterail = {DUMPS}_staterail, ensure_ascii=False, separators=(",", ":"))
f"{{_staterail!s:.{MAX_OUTPUT + 1}}}"
"""


class ScriptExecutor:
    """A pool of sandbox processes, as many as may run at once.

    With `strict` it refuses to start (IsolationMissing) unless every wall of `jail` stands here.
    """

    def __init__(self, processes: int | None = None, *, strict: bool = False) -> None:
        self._processes = processes or os.cpu_count() or 1
        self._slots = threading.BoundedSemaphore(self._processes)
        self._lock = threading.Lock()
        self._sandbox = Sandbox(strict=True) if strict else None
        self._pool: monty.Monty | None = None

    def execute(self, call: Call) -> JSON:
        """Raises StepFailure.

        `script_error`, `script_timeout` (retryable), `script_memory`, `bad_output`, `output_too_large`
        or `interrupted`.
        """
        config = parse_config(call.config)
        printed = LineWriter(call.log)
        with self._slot(call):
            try:
                return self._run(call, config, printed)
            except monty.MontyError as error:
                if call.cancelled.is_set():
                    raise _interrupted() from None
                raise _failure(error, config.seconds) from None
            finally:
                printed.flush()

    def _run(self, call: Call, config: ScriptConfig, printed: LineWriter) -> JSON:
        with contextlib.ExitStack() as stack:
            session = self._session(config, stack)
            stack.enter_context(_killed_on_cancel(call, session, config.seconds))
            text = session.feed_run(
                config.source + CALL,
                inputs={"_staterail_args": config.args},
                print_callback=lambda stream, piece: printed.write(piece),
            )
        if not isinstance(text, str):
            raise _bad_output("it is no text")
        if len(text) > MAX_OUTPUT or len(text.encode()) > MAX_OUTPUT:
            raise StepFailure("output_too_large", "The output is larger than 1 MiB.", retryable=False)
        try:
            return loads(text, max_depth=MAX_RECURSION)
        except StrictJSONError as error:
            raise _bad_output(error.message) from None

    def _session(self, config: ScriptConfig, stack: contextlib.ExitStack) -> Any:
        """A fresh session with the prelude run. A process that died while it was idle is no script's fault."""
        limits = monty.ResourceLimits(
            max_feed_duration_secs=config.seconds,
            max_memory=config.memory,
            max_recursion_depth=MAX_RECURSION,
            max_total_sleep_secs=config.seconds,
        )
        for left in range(self._processes, -1, -1):
            with contextlib.ExitStack() as attempt:
                try:
                    session = attempt.enter_context(self._checkout(limits))
                    session.feed_run(PRELUDE)
                except monty.MontyCrashedError:
                    if left:
                        continue
                    raise StepFailure("script_timeout", "The sandbox did not respond.", retryable=True) from None
                stack.push(attempt.pop_all())
                return session
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _checkout(self, limits: monty.ResourceLimits) -> Iterator[Any]:
        """A session in a process of the pool. One that does not respond is killed."""
        session = self._started().checkout(limits=limits, script_name="script.py")
        programs = self._sandbox.programs if self._sandbox is not None else ()

        def leave(*error: Any) -> None:
            with answering(*programs):
                session.__exit__(*error)

        with answering(*programs):
            session.__enter__()
        with contextlib.ExitStack() as stack:
            stack.push(leave)
            stack.enter_context(busy(session.worker_pid))
            yield session

    @contextlib.contextmanager
    def _slot(self, call: Call) -> Iterator[None]:
        """Wait for one of the processes, but not after the end of the attempt."""
        while not self._slots.acquire(timeout=0.1):
            if call.cancelled.is_set():
                raise _interrupted()
        try:
            if call.cancelled.is_set():
                raise _interrupted()
            yield
        finally:
            self._slots.release()

    def _started(self) -> monty.Monty:
        with self._lock:
            if self._pool is None:
                self._sandbox = self._sandbox or Sandbox()
                pool = monty.Monty(
                    binary_path=self._sandbox.launcher, min_processes=1, max_processes=self._processes,
                    request_timeout=MAX_TIME.total_seconds() + 5, feed_duration_limit_grace=GRACE_SECONDS,
                    max_checkouts_per_worker=200,
                )  # fmt: skip
                pool.__enter__()
                self._pool = pool
            if self._sandbox is not None:
                self._sandbox.restore()  # for the next process
            return self._pool

    def close(self) -> None:
        """End the processes. The next script starts them anew."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)


@contextlib.contextmanager
def _killed_on_cancel(call: Call, session: Any, seconds: float) -> Iterator[None]:
    """The engine cannot be interrupted, but its process is this script's alone for as long as it runs."""
    if seconds <= LONG_SECONDS or session.worker_pid is None or not hasattr(os, "pidfd_open"):
        yield
        return
    process, done = os.pidfd_open(session.worker_pid), threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            if call.cancelled.is_set():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                return

    watcher = threading.Thread(target=watch, daemon=True, name="script-cancel")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        os.close(process)


def _failure(error: monty.MontyError, seconds: float) -> StepFailure:
    if isinstance(error, monty.MontyCrashedError):
        if error.timed_out:
            return _timeout(seconds)
        return StepFailure("script_memory", "The script broke its sandbox's bounds and was ended.", retryable=False)
    inner = error.exception()
    if isinstance(inner, TimeoutError) and "limit exceeded" in str(inner):  # not one that the script raised
        return _timeout(seconds)
    if isinstance(inner, MemoryError):
        return StepFailure("script_memory", f"The script used more memory than it may: {inner}", retryable=False)
    place = ""
    if isinstance(error, monty.MontyRuntimeError | monty.MontySyntaxError):
        frames = error.traceback()
        if frames and DUMPS in (frames[-1].source_line or ""):
            return _bad_output(str(inner)[:1900])
        frames = [frame for frame in frames if "_staterail" not in (frame.source_line or "")]
        place = f" (line {frames[-1].line})" if frames else ""
        if not frames and isinstance(inner, NameError) and "'main'" in str(inner):
            return StepFailure("script_error", "The script defines no main(args).", retryable=False)
        if not frames and isinstance(inner, SyntaxError):  # it went on into the lines that we add
            what = "SyntaxError: The source ends in the middle of a statement."
            return StepFailure("script_error", what, retryable=False)
    return StepFailure("script_error", f"{type(inner).__name__}: {str(inner)[:1900]}{place}", retryable=False)


def _bad_output(why: str) -> StepFailure:
    return StepFailure("bad_output", f"The output is no JSON: {why}", retryable=False)


def _timeout(seconds: float) -> StepFailure:
    return StepFailure("script_timeout", f"The script ran longer than {seconds:g} s.", retryable=True)


def _interrupted() -> StepFailure:
    return StepFailure("interrupted", "The attempt was cancelled.", retryable=False)
