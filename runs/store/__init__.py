"""The store of this process's database."""

from functools import cache

from django.db import connection

from runs.store.interface import Lease, Loaded, LogBatch, NewRun, Store, Write

__all__ = ["Lease", "Loaded", "LogBatch", "NewRun", "Store", "Write", "current"]


@cache
def current() -> Store:
    """The fast store where there is one for this database, else the plain one."""
    if connection.vendor == "sqlite":
        from runs.store.sqlite import SqliteStore

        return SqliteStore()
    if connection.vendor == "postgresql":
        from runs.store.postgres import PostgresStore

        return PostgresStore()
    from runs.store.reference import ReferenceStore

    return ReferenceStore()
