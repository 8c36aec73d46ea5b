"""The sandbox's processes, as seen from outside: one that stops responding is killed, and the pool starts another."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator

PATIENCE = 3.0  # seconds for what a process answers at once
LOOK = 0.5  # seconds


class Workers:
    """Thread-safe. Where the system has no pidfd, nothing is killed here: the pool's own deadline stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, int] = {}  # their pidfds: a pid may come to mean another process
        self._busy: set[int] = set()
        self._waiting: dict[object, float] = {}  # until when
        self._looking = False

    @contextlib.contextmanager
    def busy(self, pid: int | None) -> Iterator[None]:
        """This process is a script's: what others wait for is no fault of it."""
        if pid is None or not hasattr(os, "pidfd_open"):
            yield
            return
        with self._lock:
            if pid not in self._known or self._is_dead(pid):
                self._forget(*filter(self._is_dead, list(self._known)))
                with contextlib.suppress(ProcessLookupError):
                    self._known[pid] = os.pidfd_open(pid)
            self._busy.add(pid)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(pid)

    @contextlib.contextmanager
    def answer(self) -> Iterator[None]:
        """What is done here waits for a process that no script has: past PATIENCE all such are killed."""
        mark = object()
        with self._lock:
            self._waiting[mark] = time.monotonic() + PATIENCE
            if not self._looking:
                self._looking = True
                threading.Thread(target=self._look, name="script-workers", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                del self._waiting[mark]

    def close(self) -> None:
        with self._lock:
            self._forget(*self._known)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK)
            with self._lock:
                if not self._waiting:
                    self._looking = False
                    return
                if min(self._waiting.values()) <= time.monotonic():
                    self._kill_idle()

    def _kill_idle(self) -> None:
        for pid in self._known.keys() - self._busy:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._known[pid], signal.SIGKILL)

    def _is_dead(self, pid: int) -> bool:
        poll = select.poll()
        poll.register(self._known[pid], select.POLLIN)
        return bool(poll.poll(0))

    def _forget(self, *pids: int) -> None:
        for pid in pids:
            os.close(self._known.pop(pid))
