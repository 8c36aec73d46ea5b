"""What all processes count together, in Redis where there is one.

A Redis that does not answer at once is left alone for a while: who asks counts for itself then.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from django.conf import settings

logger = logging.getLogger(__name__)
T = TypeVar("T")
TIMEOUT_SECONDS = 0.1
PAUSE_SECONDS = 2.0  # after a failure


class Shared:
    """A client of settings.REDIS_URL, made at first use; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._not_before = 0.0

    def ask(self, question: Callable[[Any], T]) -> T | None:
        """The answer, or None where there is no Redis, or none that answers."""
        url = settings.REDIS_URL
        if not url or time.monotonic() < self._not_before:
            return None
        try:
            return question(self._client(url))
        except redis.RedisError as error:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            logger.warning("Redis does not answer, this process counts for itself: %s", error)
            return None

    def _client(self, url: str) -> Any:
        with self._lock:
            if url not in self._clients:
                self._clients[url] = redis.Redis.from_url(
                    url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
                )
            return self._clients[url]


shared = Shared()
