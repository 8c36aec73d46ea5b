"""The sandbox's processes, as seen from outside: one that stops responding is killed, and its pool starts another.

The pool itself watches a script, but not what comes before it and after: there it waits as long as for the
longest script.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

from runs.executors.descendants import children

PATIENCE = 3.0  # seconds for what a process answers at once
LOOK = 0.5  # seconds

_lock = threading.Lock()
_busy: set[int] = set()  # of all pools of this process
_waiting: dict[object, float] = {}  # until when
_looking = False


@contextlib.contextmanager
def busy(pid: int | None) -> Iterator[None]:
    """This process is a script's: what others wait for is no fault of it."""
    taken = {pid} if pid is not None else set()
    with _lock:
        _busy.update(taken)
    try:
        yield
    finally:
        with _lock:
            _busy.difference_update(taken)


@contextlib.contextmanager
def answering(*programs: str) -> Iterator[None]:
    """What is done here waits for a process that no script has: past PATIENCE all such of these `programs` are killed.

    Where the system has no /proc nothing is, and the pool's own deadline stays.
    """
    global _looking
    mark = object()
    with _lock:
        _waiting[mark] = time.monotonic() + PATIENCE
        if not _looking:
            _looking = True
            threading.Thread(target=_look, args=(programs,), name="script-workers", daemon=True).start()
    try:
        yield
    finally:
        with _lock:
            del _waiting[mark]


def _look(programs: tuple[str, ...]) -> None:
    global _looking
    while True:
        time.sleep(LOOK)
        with _lock:
            if not _waiting:
                _looking = False
                return
            if min(_waiting.values()) <= time.monotonic():
                for pid in children(os.getpid()):
                    if pid not in _busy:
                        _kill_old(pid, programs)


def _kill_old(pid: int, programs: tuple[str, ...]) -> None:
    """SIGKILL to a process of these programs that has had time to start."""
    with contextlib.suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat, open(f"/proc/{pid}/cmdline", "rb") as command:
                started = int(stat.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
                words = os.fsdecode(command.read()).split("\0")
            if time.clock_gettime(time.CLOCK_BOOTTIME) - started > PATIENCE and not set(programs).isdisjoint(words):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)
