"""What a store does for the reactor and the services: claim, load, persist, renew.

Three stores keep it: PostgreSQL (SQL over unnest arrays), SQLite (many rows a statement) and a plain ORM
one, the reference that tests hold the others against. All say the same of the same calls.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol
from uuid import UUID

from runs.executors.logs import LogLine
from runs.machine.decision import Decision
from runs.machine.plan import Plan
from runs.machine.snapshot import RunHead, Snapshot

LEASE = timedelta(seconds=15)


class Lease(Enum):
    """What a write does to the run's lease and `wake_at`. A run that ends loses both in any case."""

    KEEP = "keep"  # the owner's own write: both stay (no index is touched)
    WAKE = "wake"  # a command's: now if nobody owns the run, else the owner keeps it
    RELEASE = "release"  # the owner lets go until `wake_at`


@dataclass(slots=True)
class NewRun:
    """The columns of a run that never change, beside its head's. JSON as text."""

    created_at: datetime
    started_by: str
    started_by_ref: str
    is_test: bool = False
    definition: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


@dataclass(slots=True)
class LogBatch:
    """Lines of one attempt; `first` is the number of the first of them."""

    step_id: str
    attempt: int
    first: int
    lines: Sequence[LogLine]


@dataclass(slots=True)
class Write:
    """One run's part of a batch: stored whole where the run's revision is still the decision's, or not at all."""

    head: RunHead
    plan: Plan
    decision: Decision
    lease: Lease = Lease.KEEP
    wake_at: datetime | None = None  # for RELEASE
    new: NewRun | None = None
    logs: list[LogBatch] = field(default_factory=list)
    emitter: str = "engine"


@dataclass(slots=True)
class Loaded:
    """A run as it stands. `broken` says why the engine cannot go on with it."""

    snapshot: Snapshot
    lease_owner: UUID | None
    broken: str | None = None


class Store(Protocol):
    """Times are the database's. None of the methods but `persist` may run inside a transaction of the caller's."""

    def now(self) -> datetime:
        """The database's time."""

    def claim(self, owner: UUID, room: int) -> list[UUID]:
        """Take over up to `room` runs that are due and nobody's, or whose owner's lease is over; oldest first."""

    def load(self, run_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        """The runs as they stand, each with its steps as of one moment. Unknown ids are left out."""

    def persist(self, writes: Sequence[Write]) -> set[UUID]:
        """Store what still holds, in one commit; the ids of the winners.

        Raises django.db.DataError or IntegrityError where a value of one run cannot be stored
        (nothing is stored then), OperationalError where the database cannot now.
        """

    def persist_admitted(self, writes: Sequence[Write]) -> set[UUID]:
        """`persist` without a look at `max_concurrent_runs`: for `runs.store.admission`."""

    def renew(self, owner: UUID) -> dict[UUID, int]:
        """Prolong the leases of all runs of `owner`; their revisions. A run that is missing was lost."""

    def append_logs(self, head: RunHead, batches: Iterable[LogBatch]) -> None:
        """Store lines of an attempt that still executes."""

    def next_wake(self) -> datetime | None:
        """When the next run is due for a claim, if any is."""
