"""A batch with one run in it that cannot be stored must not take its neighbours down."""

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import DataError, IntegrityError

from runs.store.interface import Store, Write

logger = logging.getLogger(__name__)
DATA_FAULTS = (DataError, IntegrityError, OverflowError, UnicodeError)
"""What a value can do to a statement. Anything else (connection, deadlock, disk) is no run's fault."""


def persist_safely(store: Store, writes: Sequence[Write]) -> tuple[set[UUID], dict[UUID, str]]:
    """Persist a batch, run by run where it raises on data: the winners, and what was wrong with which run."""
    try:
        return store.persist(writes), {}
    except DATA_FAULTS as error:
        logger.warning("a batch of %d runs cannot be stored, trying run by run: %s", len(writes), error)
    winners: set[UUID] = set()
    broken: dict[UUID, str] = {}
    for write in writes:
        try:
            winners |= store.persist([write])
        except DATA_FAULTS as error:
            broken[write.decision.run_id] = f"What this run came to cannot be stored: {type(error).__name__}"
            logger.error("run %s cannot be stored: %s", write.decision.run_id, error)
    return winners, broken
