"""A lock that serves its waiters in the order in which they came."""

import threading
from collections import deque


class FairLock:
    """First come, first served: `release` hands the lock to the longest waiter."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._held = False
        self._waiters: deque[threading.Lock] = deque()

    def acquire(self, timeout: float = -1) -> bool:
        """Wait for our turn, at most `timeout` seconds where it is not negative; whether it came."""
        with self._mutex:
            if not self._held:
                self._held = True
                return True
            gate = threading.Lock()
            gate.acquire()
            self._waiters.append(gate)
        try:
            if gate.acquire(timeout=timeout):  # opened by the holder before us, who leaves the lock held
                return True
        except BaseException:  # a signal's handler raised: nobody must wait for us
            self._give_up(gate)
            raise
        self._give_up(gate)
        return False

    def _give_up(self, gate: threading.Lock) -> None:
        with self._mutex:
            if gate in self._waiters:
                self._waiters.remove(gate)
                return
        self.release()  # it was handed to us meanwhile

    def release(self) -> None:
        with self._mutex:
            if self._waiters:
                self._waiters.popleft().release()
            else:
                self._held = False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
