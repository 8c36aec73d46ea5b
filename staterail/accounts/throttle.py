"""Failed attempts to come in, counted by minute in this process: enough to make guessing useless."""

import threading
import time
from collections import OrderedDict

from staterail.core.errors import RateLimited

WINDOW_SECONDS = 60.0
MAX_KEYS = 10_000


class Failures:
    """At most `limit` failures a minute for a key; then RateLimited until the minute is over."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._found: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises RateLimited where the key has failed too often."""
        with self._lock:
            since, count = self._found.get(key, (0.0, 0))
        left = since + WINDOW_SECONDS - time.monotonic()
        if left > 0 and count >= self.limit:
            raise RateLimited("Too many failed attempts: wait a minute.", retry_after=left)

    def add(self, key: str) -> None:
        with self._lock:
            now = time.monotonic()
            since, count = self._found.pop(key, (now, 0))
            self._found[key] = (since, count + 1) if since + WINDOW_SECONDS > now else (now, 1)
            while len(self._found) > MAX_KEYS:
                self._found.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._found.clear()


tokens = Failures(limit=10)  # by address
logins = Failures(limit=5)  # by account and address
