"""The statements that store a batch, for many rows each."""

import sqlite3
from collections.abc import Sequence
from types import NoneType

from runs.machine.states import Reason, RunState, StepState
from runs.store.interface import Lease
from runs.store.rows import HEAD_COLUMNS, RUN_COLUMNS, RUN_STEPS, STEP_COLUMNS, STEP_END
from runs.store.sqlite.many import Many

# sqlite3 looks for an adapter of whatever is no plain int, float or str: to look in vain costs more than to bind
sqlite3.register_adapter(NoneType, {}.get)  # type: ignore[arg-type]  # None, said in C
sqlite3.register_adapter(bool, int)
for _kind in (RunState, StepState, Reason):
    sqlite3.register_adapter(_kind, str.__str__)


def _set(columns: Sequence[str], first: int = 1) -> str:
    return ", ".join(f"{column}=v.column{n}" for n, column in enumerate(columns, first))


def _update_run(columns: Sequence[str], also: str = "", *, more: int = 0) -> Many:
    """Rows of these columns, `more` that only `also` reads, the revision before and the id; answers who has won."""
    before, id = len(columns) + more + 1, len(columns) + more + 2
    return Many(
        f"UPDATE runs_workflowrun AS r SET {_set(columns)}{also} FROM (", id,  # noqa: S608 — constants only, here and below
        f") AS v WHERE r.id=v.column{id} AND r.revision=v.column{before} RETURNING id",
    )  # fmt: skip


_WAKE = f"v.column{len(RUN_COLUMNS) + 1}"
UPDATE_RUN = {
    Lease.KEEP: _update_run(RUN_COLUMNS),
    Lease.RELEASE: _update_run(RUN_COLUMNS, f", lease_owner=NULL, wake_at={_WAKE}", more=1),
    Lease.WAKE: _update_run(
        RUN_COLUMNS,
        f", wake_at=CASE WHEN lease_owner IS NULL THEN {_WAKE} ELSE wake_at END", more=1,
    ),
}  # fmt: skip
UPDATE_RUN_STEPS = _update_run(RUN_STEPS)

NEW_COLUMNS = (
    *HEAD_COLUMNS, "created_at", "started_by", "started_by_ref", "is_test", "definition", "idempotency_key",
    "request_hash", *RUN_COLUMNS, "wake_at",
)  # fmt: skip
INSERT_RUN = (
    f"INSERT INTO runs_workflowrun ({', '.join(NEW_COLUMNS)})"  # noqa: S608
    f" VALUES ({', '.join('?' * len(NEW_COLUMNS))})"
    " ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
)

END_STEP = Many(  # rows of id, run, STEP_END
    f"UPDATE runs_steprun AS s SET {_set(STEP_END, 3)} FROM (",  # noqa: S608
    len(STEP_END) + 2,
    ") AS v WHERE s.id=v.column1",
)
_STEP_KEYS = ("id", "tenant_id", "run_id", "step_id", "kind")
UPSERT_STEP = Many(
    f"INSERT INTO runs_steprun ({', '.join((*_STEP_KEYS, *STEP_COLUMNS))})",
    len(_STEP_KEYS) + len(STEP_COLUMNS),
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c}=excluded.{c}' for c in STEP_COLUMNS if c != 'input')}"
    ", input=coalesce(excluded.input, input)",  # a reactor loads no inputs: null says "as it was"
)

_EVENT_COLUMNS = (
    "tenant_id", "run_id", "workflow_id", "workflow_version", "trace_id", "emitter", "seq", "event_type", "step_id",
    "generation", "attempt", "state_before", "state_after", "payload", "ts", "corr_id",
)  # fmt: skip
INSERT_EVENT = Many(f"INSERT INTO runs_event ({', '.join(_EVENT_COLUMNS)})", len(_EVENT_COLUMNS))
_LOG_COLUMNS = ("tenant_id", "run_id", "step_id", "attempt", "number", "ts", "level", "message")
INSERT_LOG = Many(
    f"INSERT INTO runs_steplog ({', '.join(_LOG_COLUMNS)})",
    len(_LOG_COLUMNS),
    "ON CONFLICT (run_id, step_id, attempt, number) DO NOTHING",
)
