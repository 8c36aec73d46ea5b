"""The lines that an attempt writes, bounded: past the limit they are cut, and the log says so.

What is written is a stranger's text: what would move a terminal's cursor, or what a database
refuses to store, is escaped before anybody else sees it.
"""

import re
import threading
from datetime import UTC, datetime
from typing import NamedTuple

LIMIT_BYTES = 1024 * 1024  # an attempt
LIMIT_LINES = 20_000  # an attempt: each is a row, and the reactor that writes them has other runs to serve
LEVELS = ("debug", "info", "warning", "error")
CUT = "log truncated: 1 MiB or 20,000 lines an attempt are kept"

# An ANSI sequence as one, else its letters would stay; C0 and C1 without tab and line feed; halves
# of surrogate pairs; and what turns the direction of the text around it.
_UNSAFE = re.compile(
    "\x1b\\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


class LogLine(NamedTuple):
    ts: datetime
    level: str  # one of LEVELS
    message: str


class LogBuffer:
    """Collects lines from any thread; `drain` hands out what came since the last time."""

    __slots__ = ("_lock", "_lines", "_left", "_lines_left", "_cut")

    def __init__(self, limit_bytes: int = LIMIT_BYTES, limit_lines: int = LIMIT_LINES) -> None:
        self._lock = threading.Lock()
        self._lines: list[LogLine] = []
        self._left, self._lines_left = limit_bytes, limit_lines
        self._cut = False

    @property
    def is_cut(self) -> bool:
        """Whether the limit was met: nothing more is kept."""
        return self._cut

    def write(self, message: str, level: str = "info") -> None:
        """Add a line. Another level than those of LEVELS becomes `info`."""
        if self._cut:
            return
        message = escaped(message)
        size = len(message.encode()) + 1  # its line end
        with self._lock:
            if self._cut:  # by another thread meanwhile: it is said once
                return
            at = datetime.now(UTC)
            if size <= self._left and self._lines_left > 0:
                self._left -= size
                self._lines_left -= 1
                self._lines.append(LogLine(at, level if level in LEVELS else "info", message))
                return
            self._cut = True
            if self._lines_left > 0 and (kept := message.encode()[: self._left].decode("utf-8", "ignore")):
                self._lines.append(LogLine(at, level if level in LEVELS else "info", kept))
            self._lines.append(LogLine(at, "warning", CUT))

    def drain(self) -> list[LogLine]:
        """The lines since the last call, oldest first."""
        if not self._lines:
            return []
        with self._lock:
            lines, self._lines = self._lines, []
        return lines


class LineWriter:
    """Makes lines of text that comes in pieces, as processes write it."""

    MAX_LINE = 64 * 1024  # characters; a longer one is broken

    def __init__(self, log: LogBuffer) -> None:
        self._log, self._rest = log, ""

    def write(self, text: str) -> None:
        if self._log.is_cut:
            self._rest = ""
            return
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log.write(line.removesuffix("\r"))
        while len(self._rest) >= self.MAX_LINE and not self._log.is_cut:
            self._log.write(self._rest[: self.MAX_LINE])
            self._rest = self._rest[self.MAX_LINE :]

    def flush(self) -> None:
        """Write what has no line end yet."""
        if self._rest:
            self._log.write(self._rest)
            self._rest = ""


def escaped(text: str) -> str:
    """`text` with control characters as `\\x1b`, `\\x00` …; line feeds and tabs stay."""
    return _UNSAFE.sub(lambda match: ascii(match.group())[1:-1], text)
