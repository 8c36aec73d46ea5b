"""What any worker of the queue `runs` does now and then.

It makes the next months' partitions of the event log, and deletes what is kept for a time, a few rows at a time.
"""

import logging
import threading
from datetime import UTC, datetime
from typing import Any

from django.contrib.sessions.models import Session
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import QuerySet

from runs.store.partitions import ensure_partitions
from staterail.accounts.idempotency import expired

logger = logging.getLogger(__name__)
EVERY_SECONDS = 600.0
BATCH = 500  # rows in one transaction: nobody waits for long


def make_room() -> list[str]:
    """Make the partitions that the event log will need; their names. Any number of processes may do so at once."""
    return ensure_partitions(connection) if connection.vendor == "postgresql" else []


def keep_house() -> int:
    """Delete answers and sessions whose time is over; how many. Any number of processes may do so at once."""
    now = datetime.now(UTC)
    return _delete(expired(now).order_by("created_at")) + _delete(
        Session.objects.filter(expire_date__lt=now).order_by("expire_date")
    )


def _delete(found: QuerySet[Any]) -> int:
    deleted = 0
    while True:
        with transaction.atomic():
            keys = list(found.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
            found.model._default_manager.filter(pk__in=keys).delete()
        deleted += len(keys)
        if len(keys) < BATCH:
            return deleted


class Housekeeper(threading.Thread):
    """Keeps house at once and then every ten minutes, until `stop()`."""

    def __init__(self) -> None:
        super().__init__(name="housekeeper", daemon=True)
        self._asked = threading.Event()

    def run(self) -> None:
        while not self._asked.is_set():
            for chore in (make_room, keep_house):
                try:
                    chore()
                except (DatabaseError, InterfaceError) as error:
                    logger.warning("housekeeping failed, it is tried again later: %s", error)
                finally:
                    connection.close()
            self._asked.wait(EVERY_SECONDS)

    def stop(self) -> None:
        self._asked.set()
