"""One clock: the database's. A process keeps the offset of its monotonic clock to it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """The database's time, carried on between statements by the monotonic clock.

    A wall clock that is set, or runs an hour ahead on this machine, changes nothing:
    every statement of the store that returns a time corrects the offset.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base = datetime.now(UTC)
        self._at = monotonic()

    def observe(self, database_now: datetime) -> datetime:
        """Take over the time that a statement just returned."""
        self._base, self._at = database_now, self._monotonic()
        return database_now

    def now(self) -> datetime:
        """Aware UTC."""
        return self._base + timedelta(seconds=self._monotonic() - self._at)
