"""The SQLite store."""

from runs.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
