"""Months of the event log. A run's id is a UUIDv7, so a range of ids is a range of time."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import transaction

logger = logging.getLogger(__name__)
AHEAD = 13  # months that have a partition before they begin


def ensure_partitions(connection: Any) -> list[str]:
    """Make the partitions that are missing, from this month on; the names of the new ones.

    `runs_event_rest` takes what has none; a month that has events there gets no partition any more. Any number of
    processes may call it at once. Nobody waits for it longer than for its two timeouts.
    """
    months = {f"runs_event_{first:%Y_%m}": (first, after) for first, after in _months(datetime.now(UTC))}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL ORDER BY name", [list(months)]
        )
        missing = [name for (name,) in cursor.fetchall()]
    return [name for name in missing if _made(connection, name, *map(first_id, months[name]))]


def _made(connection: Any, name: str, first: UUID, after: UUID) -> bool:
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '5s'")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('runs_event'))")
        cursor.execute(
            "SELECT to_regclass(%s) IS NOT NULL,"
            " EXISTS (SELECT FROM runs_event_rest WHERE run_id >= %s AND run_id < %s)",
            [name, first, after],
        )
        exists, late = cursor.fetchone()
        if late:
            logger.warning("the month of %s has events in runs_event_rest: it gets no partition", name)
        if exists or late:
            return False
        cursor.execute(f"CREATE TABLE {name} PARTITION OF runs_event FOR VALUES FROM ('{first}') TO ('{after}')")
    return True


def _months(now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """This month and those after it: when each begins and ends."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(AHEAD):
        after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        yield first, after
        first = after


def first_id(at: datetime) -> UUID:
    """The lowest id of a run that is made at this time."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)
