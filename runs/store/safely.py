"""A run that cannot be stored or read must not take its neighbours down."""

import logging
from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from runs.store.interface import Loaded, Store, Write

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


def load_safely(store: Store, run_ids: Collection[UUID]) -> dict[UUID, Loaded]:
    """Load runs, one by one where a row of one cannot even be fetched; that one is left out."""
    try:
        return store.load(run_ids)
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        logger.warning("one of %d runs cannot be read, trying run by run: %s", len(run_ids), error)
    loaded: dict[UUID, Loaded] = {}
    for run_id in run_ids:
        try:
            loaded |= store.load([run_id])
        except (DatabaseError, InterfaceError):
            raise
        except Exception:
            logger.exception("run %s cannot be read", run_id)
    return loaded
