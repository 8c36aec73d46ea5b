"""The PostgreSQL store: a batch is one statement, which locks, guards, writes and commits in one round trip.

Rows of runs are locked in the order of their ids, so that two batches cannot deadlock. What a
batch writes of steps, events and logs is joined to the runs whose revision still stood: a run is
stored whole or not at all.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection

from runs.store import admission
from runs.store.interface import LEASE, Loaded, LogBatch, Write
from runs.store.plans import plans_of
from runs.store.postgres.arrays import plain
from runs.store.postgres.batch import persist_statement
from runs.store.postgres.statements import (
    APPEND_LOGS,
    AWAKE_TENANTS,
    CLAIM,
    CLAIM_IN_TURN,
    COUNT_DUE,
    LOAD_RUNS,
    LOAD_STEPS,
    LOGS,
    RENEW,
)
from runs.store.rows import loaded
from runs.store.turns import Turns
from runs.store.values import Parts, Times
from runs.store.whole import is_torn, load_whole

_LEASE = f"{LEASE.total_seconds()} seconds"


class PostgresStore:
    """See `runs.store.interface.Store`."""

    def __init__(self) -> None:
        self._turns = Turns()

    def now(self) -> datetime:
        found: datetime = self._rows("SELECT clock_timestamp()")[0][0]
        return found

    def claim(self, owner: UUID, room: int) -> list[UUID]:
        waiting = self._rows(COUNT_DUE, (owner.hex, room + 1))[0][0]
        if waiting == 0:
            return []
        if waiting <= room:
            return [row[0] for row in self._rows(CLAIM, (owner.hex, room, owner.hex, _LEASE))]
        tenants = [row[0] for row in self._rows(AWAKE_TENANTS)]
        claimed: list[UUID] = []
        while room > len(claimed):  # each tenant its share, then what the others left
            chosen, share = self._turns.share(tenants, room - len(claimed))
            found = self._rows(CLAIM_IN_TURN, (plain(id.hex for id in chosen), owner.hex, share, owner.hex, _LEASE))
            claimed += [row[0] for row in found]
            if not found:
                break
        return claimed

    def load(self, run_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        return load_whole(self._load, run_ids)

    def _load(self, run_ids: Collection[UUID]) -> tuple[dict[UUID, Loaded], list[UUID]]:
        ids = "{" + ",".join(id.hex for id in run_ids) + "}"
        known = self._dicts(LOAD_RUNS, ids)
        steps: dict[UUID, list[dict[str, Any]]] = {run["id"]: [] for run in known}
        for row in self._dicts(LOAD_STEPS, ids):
            if row["run_id"] in steps:
                steps[row["run_id"]].append(row)
        plans = plans_of({run["version_id"] for run in known if run["definition"] is None})
        torn = [run["id"] for run in known if is_torn(run, steps[run["id"]])]
        return {run["id"]: loaded(run, steps[run["id"]], plans.get) for run in known}, torn

    def persist(self, writes: Sequence[Write]) -> set[UUID]:
        return admission.persist(self, writes)

    def persist_admitted(self, writes: Sequence[Write]) -> set[UUID]:
        if not writes:
            return set()
        statement, parameters = persist_statement(writes)
        return {row[0] for row in self._rows(statement, parameters)}

    def renew(self, owner: UUID) -> dict[UUID, int]:
        return dict(self._rows(RENEW, (_LEASE, owner.hex, owner.hex)))

    def append_logs(self, head: Any, batches: Iterable[LogBatch]) -> None:
        rows = Parts(Times(datetime.isoformat))
        for batch in batches:
            rows.add_log(head, batch)
        self._execute(APPEND_LOGS, LOGS.parameters(rows.logs))

    def next_wake(self) -> datetime | None:
        found: datetime | None = self._rows("SELECT min(wake_at) FROM runs_workflowrun WHERE wake_at IS NOT NULL")[0][0]
        return found

    def _rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        found: list[Any] = self._execute(statement, parameters).fetchall()
        return found

    def _dicts(self, statement: str, ids: str) -> list[dict[str, Any]]:
        cursor = self._execute(statement, (ids,))
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """On psycopg's own cursor: bound and prepared by the server, where Django's would interpolate."""
        connection.ensure_connection()
        with connection.wrap_database_errors:
            cursor: Any = psycopg.Cursor(connection.connection)
            return cursor.execute(statement, parameters or None, prepare=True)
