"""The lines that an attempt writes, bounded: past the limit they are cut, and the log says so."""

import threading
from datetime import UTC, datetime
from typing import NamedTuple

LIMIT_BYTES = 1024 * 1024  # an attempt


class LogLine(NamedTuple):
    ts: datetime
    level: str  # debug | info | warning | error
    message: str


class LogBuffer:
    """Collects lines from any thread; `drain` hands out what came since the last time."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._lock = threading.Lock()
        self._lines: list[LogLine] = []
        self._left = limit_bytes
        self._cut = False

    def write(self, message: str, level: str = "info") -> None:
        if self._cut:
            return
        with self._lock:
            size = len(message.encode("utf-8", "replace"))
            if size > self._left:
                message = message.encode("utf-8", "replace")[: self._left].decode("utf-8", "ignore")
                self._cut = True
            self._left -= size
            if message or not self._cut:
                self._lines.append(LogLine(datetime.now(UTC), level, message))
            if self._cut:
                self._lines.append(LogLine(datetime.now(UTC), "warning", "log truncated: 1 MiB an attempt is kept"))

    def drain(self) -> list[LogLine]:
        if not self._lines:
            return []
        with self._lock:
            lines, self._lines = self._lines, []
        return lines
