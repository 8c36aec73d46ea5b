"""How often somebody may fail to come in, and how fast a caller may write.

Counted by all web processes together in Redis where there is one, else (and while it does not answer) by each.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from django.conf import settings

from staterail.core.errors import RateLimited
from staterail.core.shared import shared

WINDOW_SECONDS = 60.0
MAX_KEYS = 10_000
# A bucket of calls, refilled all the time by Redis' own clock: seconds to wait for the next call, or 0
_TAKE = """
local rate, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local known = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = tonumber(known[1]) or most
left = math.min(most, left + (now - (tonumber(known[2]) or now)) * rate)
local wait = 0
if left >= 1 then left = left - 1 else wait = (1 - left) / rate end
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(most / rate * 1000) + 1000)
return tostring(wait)
"""
_ADD = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
"""


class Failures:
    """At most `limit` failures a minute for a key; then RateLimited until the minute is over."""

    def __init__(self, name: str, limit: int) -> None:
        self.name, self.limit = name, limit
        self._lock = threading.Lock()
        self._found: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises RateLimited where the key has failed too often."""
        with self._lock:
            since, count = self._found.get(key, (0.0, 0))
        left = since + WINDOW_SECONDS - time.monotonic()
        if left > 0 and count >= self.limit:
            raise RateLimited("Too many failed attempts: wait a minute.", retry_after=left)
        elsewhere = shared.ask(lambda redis: (redis.get(self._key(key)), redis.ttl(self._key(key))))
        if elsewhere is not None and int(elsewhere[0] or 0) >= self.limit:
            raise RateLimited("Too many failed attempts: wait a minute.", retry_after=max(1, elsewhere[1]))

    def add(self, key: str) -> None:
        shared.ask(lambda redis: redis.eval(_ADD, 1, self._key(key), int(WINDOW_SECONDS)))
        with self._lock:
            now = time.monotonic()
            since, count = self._found.pop(key, (now, 0))
            self._found[key] = (since, count + 1) if since + WINDOW_SECONDS > now else (now, 1)
            while len(self._found) > MAX_KEYS:
                self._found.popitem(last=False)

    def clear(self) -> None:
        """Forget what this process has counted, and what all have."""
        shared.ask(lambda redis: [redis.delete(key) for key in redis.scan_iter(self._key("*"))])
        with self._lock:
            self._found.clear()

    def _key(self, key: str) -> str:
        return f"staterail:failures:{self.name}:{key}"


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
        wait = shared.ask(lambda redis: float(redis.eval(_TAKE, 1, f"staterail:writes:{key}", rate, 2 * rate)))
        if wait is None:
            wait = self._take_here(key, rate)
        if wait > 0:
            raise RateLimited("Too many writes a second: wait a moment.", retry_after=wait)

    def _take_here(self, key: str, rate: float) -> float:
        """Seconds to wait, or 0."""
        with self._lock:
            now = time.monotonic()
            left, at = self._buckets.pop(key, (2 * rate, now))
            left = min(2 * rate, left + (now - at) * rate)
            self._buckets[key] = (max(0.0, left - 1) if left >= 1 else left, now)
            while len(self._buckets) > MAX_KEYS:
                self._buckets.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / rate

    def clear(self) -> None:
        shared.ask(lambda redis: [redis.delete(key) for key in redis.scan_iter("staterail:writes:*")])
        with self._lock:
            self._buckets.clear()


tokens = Failures("tokens", limit=10)  # by address
logins = Failures("logins", limit=5)  # by account and address
writes = Rate(lambda: settings.STATERAIL_WRITES_PER_SECOND)  # by token or user
