"""The SQLite store: one BEGIN IMMEDIATE a batch, many rows a statement, and the fair lock in front of it.

The update of a run names the revision that it was decided on, and returns who has won. The clock is this
machine's: with one process it is the database's.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from runs.store import admission
from runs.store.interface import LEASE, Loaded, LogBatch, Write
from runs.store.plans import plans_of
from runs.store.rows import HEAD_COLUMNS, RUN_COLUMNS, STEP_COLUMNS, loaded
from runs.store.sqlite.batch import persist, ts, write_logs
from runs.store.turns import Turns
from runs.store.whole import OF, is_torn, load_whole

CHUNK = 500  # ids in one IN list
_TIME_COLUMNS = {column for column in (*RUN_COLUMNS, *STEP_COLUMNS) if column.endswith("_at")}

# A step from tenant to tenant along the index, not a look at all that waits
_AWAKE_TENANTS = """
WITH RECURSIVE awake(tenant_id) AS (
    SELECT min(tenant_id) FROM runs_workflowrun WHERE wake_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(r.tenant_id) FROM runs_workflowrun r
        WHERE r.wake_at IS NOT NULL AND r.tenant_id > awake.tenant_id)
    FROM awake WHERE tenant_id IS NOT NULL)
SELECT tenant_id FROM awake WHERE EXISTS (
    SELECT 1 FROM runs_workflowrun r WHERE r.tenant_id = awake.tenant_id AND r.wake_at <= ?)"""


class SqliteStore:
    """See `runs.store.interface.Store`."""

    def __init__(self) -> None:
        self._turns = Turns()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def claim(self, owner: UUID, room: int) -> list[UUID]:
        due = "wake_at <= ? AND (lease_owner IS NULL OR lease_owner <> ?)"
        with _cursor() as raw:
            now = self.now()
            look = f"SELECT count(*) FROM (SELECT 1 FROM runs_workflowrun WHERE {due} LIMIT ?)"  # noqa: S608
            waiting = raw.execute(look, (ts(now), owner.hex, room + 1)).fetchone()[0]
            if waiting == 0:
                return []  # the common answer of a poll costs no write transaction
            with transaction.atomic():
                if waiting <= room:
                    return self._claim(raw, owner, now, due, (), room)
                return self._claim_in_turn(raw, owner, now, due, room)

    def _claim_in_turn(self, raw: Any, owner: UUID, now: datetime, due: str, room: int) -> list[UUID]:
        """More is due than there is room for: each tenant its share, then what the others left."""
        tenants = raw.execute(_AWAKE_TENANTS, (ts(now),)).fetchall()
        claimed: list[UUID] = []
        while room > len(claimed):
            chosen, share = self._turns.share([UUID(id) for (id,) in tenants], room - len(claimed))
            before = len(claimed)
            for tenant in chosen:
                claimed += self._claim(raw, owner, now, f"tenant_id = ? AND {due}", (tenant.hex,), share)
            if len(claimed) == before:
                break
        return claimed

    def _claim(self, raw: Any, owner: UUID, now: datetime, which: str, given: tuple[str, ...], room: int) -> list[UUID]:
        rows = raw.execute(
            "UPDATE runs_workflowrun SET revision=revision+1, lease_owner=?, wake_at=? WHERE id IN"  # noqa: S608
            f" (SELECT id FROM runs_workflowrun WHERE {which} ORDER BY wake_at, id LIMIT ?) RETURNING id",
            (owner.hex, ts(now + LEASE), *given, ts(now), owner.hex, room),
        ).fetchall()
        return [UUID(row[0]) for row in rows]

    def load(self, run_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        return load_whole(self._load, run_ids)

    def _load(self, run_ids: Collection[UUID]) -> tuple[dict[UUID, Loaded], list[UUID]]:
        found: dict[UUID, Loaded] = {}
        torn: list[UUID] = []
        with _cursor() as raw:
            for chunk in _batched(run_ids):
                found.update(self._load_chunk(raw, [id.hex for id in chunk], torn))
        return found, torn

    def _load_chunk(self, raw: Any, ids: list[str], torn: list[UUID]) -> dict[UUID, Loaded]:
        marks = ", ".join("?" * len(ids))
        columns = (*HEAD_COLUMNS, *RUN_COLUMNS, "definition", "lease_owner")
        runs = raw.execute(
            f"SELECT {', '.join('r.' + c for c in columns)}, v.version, w.max_concurrent_runs IS NOT NULL"  # noqa: S608
            " FROM runs_workflowrun r JOIN workflows_workflowversion v ON v.id=r.version_id"
            f" JOIN workflows_workflow w ON w.id=r.workflow_id WHERE r.id IN ({marks})",
            ids,
        ).fetchall()
        of_steps = ("run_id", "step_id", *STEP_COLUMNS)
        rows = raw.execute(
            f"SELECT {', '.join('s.' + c for c in of_steps)}, r.revision FROM runs_steprun s"  # noqa: S608
            f" JOIN runs_workflowrun r ON r.id=s.run_id WHERE s.run_id IN ({marks})",
            ids,
        ).fetchall()
        steps: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            steps.setdefault(row[0], []).append(_times(dict(zip((*of_steps, OF), row, strict=True))))
        known = [_times(dict(zip((*columns, "version", "limited"), row, strict=True))) for row in runs]
        plans = plans_of({UUID(run["version_id"]) for run in known if run["definition"] is None})
        found: dict[UUID, Loaded] = {}
        for run in known:
            its_steps = steps.get(run["id"], [])
            for column in ("id", "tenant_id", "workflow_id", "version_id", "lease_owner"):
                run[column] = UUID(run[column]) if run[column] else None
            if is_torn(run, its_steps):
                torn.append(run["id"])
            found[run["id"]] = loaded(run, its_steps, plans.get)
        return found

    def persist(self, writes: Sequence[Write]) -> set[UUID]:
        return admission.persist(self, writes)

    def persist_admitted(self, writes: Sequence[Write]) -> set[UUID]:
        if not writes:
            return set()
        with transaction.atomic(), _cursor() as raw:
            return persist(raw, writes, self.now())

    def renew(self, owner: UUID) -> dict[UUID, int]:
        statement = (
            "UPDATE runs_workflowrun SET wake_at=? WHERE lease_owner=? AND wake_at IS NOT NULL RETURNING id, revision"
        )
        with transaction.atomic(), _cursor() as raw:
            rows = raw.execute(statement, (ts(self.now() + LEASE), owner.hex)).fetchall()
        return {UUID(id): revision for id, revision in rows}

    def append_logs(self, head: Any, batches: Iterable[LogBatch]) -> None:
        with transaction.atomic(), _cursor() as raw:
            write_logs(raw, head, batches)

    def next_wake(self) -> datetime | None:
        with _cursor() as raw:
            row = raw.execute("SELECT min(wake_at) FROM runs_workflowrun WHERE wake_at IS NOT NULL").fetchone()
        return _when(row[0])


@contextmanager
def _cursor() -> Iterator[Any]:
    """A cursor of sqlite3's own: Django's rewrites every statement's placeholders. Its errors become Django's."""
    with connection.wrap_database_errors, connection.cursor() as cursor:
        yield cursor.connection.cursor()


def _batched(items: Collection[Any]) -> list[list[Any]]:
    known = list(items)
    return [known[i : i + CHUNK] for i in range(0, len(known), CHUNK)]


def _when(value: datetime | str | None) -> datetime | None:
    """A column's time comes as a naive datetime (Django's converter), an expression's as its text."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return None if found is None else found.replace(tzinfo=UTC)


def _times(row: dict[str, Any]) -> dict[str, Any]:
    for column in _TIME_COLUMNS & row.keys():
        row[column] = _when(row[column])
    return row
