"""What is kept for a time and then deleted, by any worker of the queue `runs`, a few rows at a time."""

import logging
import threading
from datetime import UTC, datetime
from typing import Any

from django.contrib.sessions.models import Session
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import QuerySet

from staterail.accounts.idempotency import expired

logger = logging.getLogger(__name__)
EVERY_SECONDS = 600.0
BATCH = 500  # rows in one transaction: nobody waits for long


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
            try:
                keep_house()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("housekeeping failed, it is tried again later: %s", error)
            finally:
                connection.close()
            self._asked.wait(EVERY_SECONDS)

    def stop(self) -> None:
        self._asked.set()
