"""The SQLite store: one BEGIN IMMEDIATE a batch, many rows a statement, and the fair lock in front of it.

SQLite has one writer at a time, so within the transaction a plain look at the revisions says
who wins. The clock is this machine's: with one process it is the database's.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import NoneType
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from runs.machine.states import RUN_FINAL, Reason, RunState, StepState
from runs.store import admission
from runs.store.interface import LEASE, Lease, Loaded, LogBatch, Write
from runs.store.many import Many
from runs.store.plans import plans_of
from runs.store.rows import HEAD_COLUMNS, RUN_COLUMNS, STEP_COLUMNS, loaded, taken_ids, text_of
from runs.store.turns import Turns
from runs.store.whole import OF, is_torn, load_whole
from staterail.core.ids import derived_hex
from staterail.core.strict_json import dumps_known

Row = tuple[Any, ...]
Times = dict[datetime, str]
"""Texts of the times of a batch, which are mostly the same few."""
CHUNK = 500  # ids in one IN list

# sqlite3 looks for an adapter of whatever is no plain int, float or str: to look in vain costs more than to bind
sqlite3.register_adapter(NoneType, {}.get)
for _kind in (RunState, StepState, Reason):
    sqlite3.register_adapter(_kind, str.__str__)

_RUN_SET = ", ".join(f"{column}=v.column{n}" for n, column in enumerate(RUN_COLUMNS, 1))
_NEXT, _LAST = len(RUN_COLUMNS) + 1, len(RUN_COLUMNS) + 2


def _update(columns: int, also: str = "") -> Many:
    """Rows of the run's columns, perhaps one more, and the run's id."""
    before = f"UPDATE runs_workflowrun SET {_RUN_SET}{also} FROM ("  # noqa: S608 — constants only, here and below
    return Many(before, columns, f") AS v WHERE runs_workflowrun.id=v.column{columns}")


_UPDATE = {
    Lease.KEEP: _update(_NEXT),
    Lease.RELEASE: _update(_LAST, f", lease_owner=NULL, wake_at=v.column{_NEXT}"),
    Lease.WAKE: _update(_LAST, f", wake_at=CASE WHEN lease_owner IS NULL THEN v.column{_NEXT} ELSE wake_at END"),
}
_NEW_COLUMNS = (
    *HEAD_COLUMNS, "created_at", "started_by", "started_by_ref", "is_test", "definition", "idempotency_key",
    "request_hash", *RUN_COLUMNS, "wake_at",
)  # fmt: skip
_INSERT_RUN = (
    f"INSERT INTO runs_workflowrun ({', '.join(_NEW_COLUMNS)})"  # noqa: S608
    f" VALUES ({', '.join('?' * len(_NEW_COLUMNS))})"
    " ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
)
_STEP_KEYS = ("id", "tenant_id", "run_id", "step_id", "kind")
_UPSERT_STEP = Many(
    f"INSERT INTO runs_steprun ({', '.join((*_STEP_KEYS, *STEP_COLUMNS))})",
    len(_STEP_KEYS) + len(STEP_COLUMNS),
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c}=excluded.{c}' for c in STEP_COLUMNS if c != 'input')}"
    ", input=coalesce(excluded.input, input)",  # a reactor loads no inputs: null says "as it was"
)
_EVENT_COLUMNS = (
    "tenant_id", "run_id", "workflow_id", "workflow_version", "trace_id", "emitter", "seq", "event_type", "step_id",
    "generation", "attempt", "state_before", "state_after", "payload", "ts", "corr_id",
)  # fmt: skip
_INSERT_EVENT = Many(f"INSERT INTO runs_event ({', '.join(_EVENT_COLUMNS)})", len(_EVENT_COLUMNS))
_INSERT_LOG = Many(
    "INSERT INTO runs_steplog (tenant_id, run_id, step_id, attempt, number, ts, level, message)",
    8,
    "ON CONFLICT (run_id, step_id, attempt, number) DO NOTHING",
)


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
            waiting = raw.execute(look, (_ts(now), owner.hex, room + 1)).fetchone()[0]
            if waiting == 0:
                return []  # the common answer of a poll costs no write transaction
            with transaction.atomic():
                if waiting <= room:
                    return self._claim(raw, owner, now, due, (), room)
                return self._claim_in_turn(raw, owner, now, due, room)

    def _claim_in_turn(self, raw: Any, owner: UUID, now: datetime, due: str, room: int) -> list[UUID]:
        """More is due than there is room for: each tenant its share, then what the others left."""
        tenants = raw.execute(_AWAKE_TENANTS, (_ts(now),)).fetchall()
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
            (owner.hex, _ts(now + LEASE), *given, _ts(now), owner.hex, room),
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
            winners = self._winners(raw, writes)
            self._write(raw, [write for write in writes if write.decision.run_id in winners])
        return winners

    def _winners(self, raw: Any, writes: Sequence[Write]) -> set[UUID]:
        """Who still stands on the revision that it was decided on; new runs are inserted here."""
        now = self.now()
        expected = {write.decision.run_id.hex: write.decision for write in writes if write.new is None}
        winners: set[UUID] = set()
        for chunk in _batched(list(expected)):
            marks = ", ".join("?" * len(chunk))
            rows = raw.execute(f"SELECT id, revision FROM runs_workflowrun WHERE id IN ({marks})", chunk)  # noqa: S608
            winners.update(expected[id].run_id for id, revision in rows if expected[id].expected == revision)
        for write in writes:
            if write.new is not None and raw.execute(_INSERT_RUN, _new_run(write, now)).rowcount == 1:
                winners.add(write.decision.run_id)
        return winners

    def _write(self, raw: Any, writes: Sequence[Write]) -> None:
        now = _ts(self.now())
        times: Times = {}
        updates: dict[Lease, list[Row]] = {}
        steps: list[Row] = []
        events: list[Row] = []
        logs: list[Row] = []
        for write in writes:
            decision, id = write.decision, write.decision.run_id.hex
            if write.new is None:
                over = decision.run.state in RUN_FINAL
                lease = Lease.RELEASE if over else write.lease
                wake: tuple[Any, ...] = ()
                if lease is Lease.RELEASE:
                    wake = (None if over or write.wake_at is None else _ts(write.wake_at),)
                elif lease is Lease.WAKE:
                    wake = (now,)
                updates.setdefault(lease, []).append((*_run_values(decision.run, times), *wake, id))
            _step_rows(write, times, steps)
            _event_rows(write, times, events)
            for batch in write.logs:
                logs.extend(_log_rows(write.head.tenant_id, write.head.id, batch))
        for lease, rows in updates.items():
            _UPDATE[lease].execute(raw, rows)
        _UPSERT_STEP.execute(raw, steps)
        _INSERT_EVENT.execute(raw, events)
        _INSERT_LOG.execute(raw, logs)

    def renew(self, owner: UUID) -> dict[UUID, int]:
        statement = (
            "UPDATE runs_workflowrun SET wake_at=? WHERE lease_owner=? AND wake_at IS NOT NULL RETURNING id, revision"
        )
        with transaction.atomic(), _cursor() as raw:
            rows = raw.execute(statement, (_ts(self.now() + LEASE), owner.hex)).fetchall()
        return {UUID(id): revision for id, revision in rows}

    def append_logs(self, head: Any, batches: Iterable[LogBatch]) -> None:
        with transaction.atomic(), _cursor() as raw:
            for batch in batches:
                _INSERT_LOG.execute(raw, _log_rows(head.tenant_id, head.id, batch))

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


def _ts(value: datetime) -> str:
    """As Django stores a time on SQLite: naive UTC text."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _cached(value: datetime | None, times: Times) -> str | None:
    if value is None:
        return None
    text = times.get(value)
    if text is None:
        text = times[value] = _ts(value)
    return text


def _when(value: datetime | str | None) -> datetime | None:
    """A column's time comes as a naive datetime (Django's converter), an expression's as its text."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return None if found is None else found.replace(tzinfo=UTC)


def _times(row: dict[str, Any]) -> dict[str, Any]:
    for column in row:
        if column.endswith("_at"):
            row[column] = _when(row[column])
    return row


def _run_values(run: Any, times: Times) -> Row:
    return (
        run.state, run.reason, run.generation, run.seq, run.revision, run.output, text_of(run.error),
        _cached(run.started_at, times), _cached(run.completed_at, times), _cached(run.updated_at, times),
        _cached(run.deadline_at, times), text_of(run.stopping), run.admission,
    )  # fmt: skip


def _new_run(write: Write, now: datetime) -> Row:
    head, new, run = write.head, write.new, write.decision.run
    assert new is not None
    wake_at = None if run.state in RUN_FINAL else _ts(now)
    return (
        head.id.hex, head.tenant_id.hex, head.workflow_id.hex, head.version_id.hex, head.input, head.metadata,
        head.trace_id, head.corr_id, head.trigger, head.depth, _ts(new.created_at), new.started_by, new.started_by_ref,
        new.is_test, new.definition, new.idempotency_key, new.request_hash,
        *_run_values(run, {}), wake_at,
    )  # fmt: skip


def _step_rows(write: Write, times: Times, into: list[Row]) -> None:
    tenant, run_id, run_hex, plan = write.head.tenant_id.hex, write.head.id, write.head.id.hex, write.plan
    for i, row in write.decision.steps.items():
        step = plan.steps[i]
        taken = None if row.taken is None else (text_of(taken_ids(plan, row)) if row.taken else "[]")
        into.append(
            (
                derived_hex(run_id, step.id), tenant, run_hex, step.id, step.kind,
                row.state, row.reason, row.attempt, row.generation, row.tries, row.losses,
                _cached(row.wake_at, times), _cached(row.queued_at, times), _cached(row.started_at, times),
                _cached(row.completed_at, times), row.input, int(row.override), row.output, text_of(row.error), taken,
                text_of(row.fault), row.breaker, row.asks, row.dead, row.holder,
            )
        )  # fmt: skip


def _event_rows(write: Write, times: Times, into: list[Row]) -> None:
    head = write.head
    tenant, run_id, workflow = head.tenant_id.hex, head.id.hex, head.workflow_id.hex
    for e in write.decision.events:
        into.append(
            (
                tenant, run_id, workflow, head.version, head.trace_id, write.emitter, e.seq, e.event_type, e.step_id,
                e.generation, e.attempt, e.state_before, e.state_after, dumps_known(e.payload), _cached(e.ts, times),
                e.corr_id,
            )
        )  # fmt: skip


def _log_rows(tenant_id: UUID, run_id: UUID, batch: LogBatch) -> list[Row]:
    return [
        (
            tenant_id.hex,
            run_id.hex,
            batch.step_id,
            batch.attempt,
            batch.first + n,
            _ts(line.ts),
            line.level,
            line.message,
        )
        for n, line in enumerate(batch.lines)
    ]
