"""How often somebody may fail to come in, and how fast a caller may write; counted in this process."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from django.conf import settings

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


class Rate:
    """So many calls a second for a key, and twice as many at once after a pause; then RateLimited. 0: any number."""

    def __init__(self, per_second: Callable[[], float]) -> None:
        self._per_second = per_second
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> calls left, at (monotonic)

    def take(self, key: str) -> None:
        """Count one call. Raises RateLimited where there is none left."""
        rate = self._per_second()
        if rate <= 0:
            return
        with self._lock:
            now = time.monotonic()
            left, at = self._buckets.pop(key, (2 * rate, now))
            left = min(2 * rate, left + (now - at) * rate)
            self._buckets[key] = (max(0.0, left - 1) if left >= 1 else left, now)
            while len(self._buckets) > MAX_KEYS:
                self._buckets.popitem(last=False)
        if left < 1:
            raise RateLimited("Too many writes a second: wait a moment.", retry_after=(1 - left) / rate)

    def clear(self) -> None:
        with self._lock:
            self._buckets.clear()


tokens = Failures(limit=10)  # by address
logins = Failures(limit=5)  # by account and address
writes = Rate(lambda: settings.STATERAIL_WRITES_PER_SECOND)  # by token or user
