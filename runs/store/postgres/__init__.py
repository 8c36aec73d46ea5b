"""The PostgreSQL store."""

from runs.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
