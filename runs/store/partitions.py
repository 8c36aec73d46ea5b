"""Months of the event log. A run's id is a UUIDv7, so a range of ids is a range of time."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

AHEAD = 13  # months that have a partition before they begin


def ensure_partitions(connection: Any) -> list[str]:
    """Make the partitions that are missing, from this month on; the names of the new ones.

    `runs_event_rest` takes what has none: it stays empty as long as this is called once a year. Two
    processes may call it at once.
    """
    made = []
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        for _ in range(AHEAD):
            after = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
            name = f"runs_event_{month:%Y_%m}"
            cursor.execute("SELECT to_regclass(%s) IS NULL", [name])
            if cursor.fetchone()[0]:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext('runs_event'))")
                cursor.execute(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF runs_event"
                    f" FOR VALUES FROM ('{first_id(month)}') TO ('{first_id(after)}')"
                )
                made.append(name)
            month = after
    return made


def first_id(at: datetime) -> UUID:
    """The lowest id of a run that is made at this time."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)
