"""What the PostgreSQL store says to the database. `persist` is put together from the parts that a batch needs."""

from collections.abc import Iterable

from runs.machine.states import RUN_FINAL
from runs.store.postgres.arrays import Table
from runs.store.rows import HEAD_COLUMNS, RUN_COLUMNS, STEP_COLUMNS, STEP_END
from runs.store.whole import OF

JSON_COLUMNS = ("input", "metadata", "output", "error", "stopping", "definition", "taken", "fault")
_TYPES = {
    "id": "uuid", "tenant_id": "uuid", "workflow_id": "uuid", "version_id": "uuid", "run_id": "uuid",
    "generation": "int", "seq": "int", "revision": "int", "expected": "int", "attempt": "int", "tries": "int",
    "losses": "int", "depth": "int", "workflow_version": "int", "number": "int", "override": "bool", "asks": "bool",
    "dead": "bool", "is_test": "bool", "ts": "timestamptz", **dict.fromkeys((*JSON_COLUMNS, "payload"), "json"),
}  # fmt: skip


def _table(alias: str, *columns: str) -> Table:
    kinds = [_TYPES.get(name) or ("timestamptz" if name.endswith("_at") else "text") for name in columns]
    return Table(alias, list(zip(columns, kinds, strict=True)))


RUNS = _table("i", "id", "expected", "lease", *RUN_COLUMNS, "wake_at")
NEW = _table(
    "n", *HEAD_COLUMNS, "created_at", "started_by", "started_by_ref", "is_test", "definition", "idempotency_key",
    "request_hash", *RUN_COLUMNS,
)  # fmt: skip
STEPS = _table("s", "id", "tenant_id", "run_id", "step_id", "kind", *STEP_COLUMNS)
NEW_STEPS = _table("f", *STEPS.names)
ENDS = _table("d", "id", "run_id", *STEP_END)
EVENTS = _table(
    "e", "tenant_id", "run_id", "workflow_id", "workflow_version", "trace_id", "emitter", "seq", "event_type",
    "step_id", "generation", "attempt", "state_before", "state_after", "payload", "ts", "corr_id",
)  # fmt: skip
LOGS = _table("l", "tenant_id", "run_id", "step_id", "attempt", "number", "ts", "level", "message")


def _names(table: Table, prefix: str = "") -> str:
    return ", ".join(prefix + name for name in table.names)


PERSIST_RUNS = f"""
input AS MATERIALIZED (SELECT * FROM {RUNS.source}),
locked AS MATERIALIZED (
    SELECT r.id FROM runs_workflowrun r JOIN input i ON i.id = r.id WHERE r.revision = i.expected
    ORDER BY r.id FOR NO KEY UPDATE OF r),
updated AS (
    UPDATE runs_workflowrun r SET {", ".join(f"{c} = i.{c}" for c in RUN_COLUMNS)},
        lease_owner = CASE WHEN i.lease = 'release' THEN NULL ELSE r.lease_owner END,
        wake_at = CASE WHEN i.lease = 'release' THEN i.wake_at
            WHEN i.lease = 'wake' AND r.lease_owner IS NULL THEN clock_timestamp() ELSE r.wake_at END
    FROM input i WHERE r.id = i.id AND r.revision = i.expected AND r.id IN (SELECT id FROM locked) RETURNING r.id)"""
PERSIST_NEW = f"""
created AS (
    INSERT INTO runs_workflowrun ({_names(NEW)}, wake_at)
    SELECT {_names(NEW, "n.")}, CASE WHEN n.state IN ({", ".join(f"'{s}'" for s in sorted(RUN_FINAL))})
        THEN NULL ELSE clock_timestamp() END
    FROM {NEW.source}
    ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING id)"""
PERSIST_STEPS = f"""
steps AS (
    INSERT INTO runs_steprun ({_names(STEPS)})
    SELECT {_names(STEPS, "s.")} FROM {STEPS.source} JOIN winners w ON w.id = s.run_id
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{c} = excluded.{c}" for c in STEP_COLUMNS if c != "input")},
        input = coalesce(excluded.input, runs_steprun.input))"""
# What mostly happens to a step has parts of its own, which neither look for a conflict nor carry what stays
PERSIST_NEW_STEPS = f"""
first AS (
    INSERT INTO runs_steprun ({_names(NEW_STEPS)})
    SELECT {_names(NEW_STEPS, "f.")} FROM {NEW_STEPS.source} JOIN winners w ON w.id = f.run_id)"""
PERSIST_ENDS = f"""
ended AS (
    UPDATE runs_steprun s SET {", ".join(f"{c} = d.{c}" for c in STEP_END)}
    FROM {ENDS.source} JOIN winners w ON w.id = d.run_id WHERE s.id = d.id)"""
PERSIST_EVENTS = f"""
events AS (
    INSERT INTO runs_event ({_names(EVENTS)})
    SELECT {_names(EVENTS, "e.")} FROM {EVENTS.source} JOIN winners w ON w.id = e.run_id ORDER BY e.run_id, e.seq)"""
PERSIST_LOGS = f"""
logs AS (
    INSERT INTO runs_steplog ({_names(LOGS)})
    SELECT {_names(LOGS, "l.")} FROM {LOGS.source} JOIN winners w ON w.id = l.run_id
    ON CONFLICT (run_id, step_id, attempt, number) DO NOTHING)"""
APPEND_LOGS = (
    f"INSERT INTO runs_steplog ({_names(LOGS)}) SELECT {_names(LOGS, 'l.')} FROM {LOGS.source}"
    " ON CONFLICT (run_id, step_id, attempt, number) DO NOTHING"
)
COUNT_DUE = """
SELECT count(*) FROM (SELECT 1 FROM runs_workflowrun
    WHERE wake_at <= clock_timestamp() AND lease_owner IS DISTINCT FROM %s::uuid LIMIT %s::int) due"""
# A step from tenant to tenant along the index, never a window over all that waits
AWAKE_TENANTS = """
WITH RECURSIVE awake AS (
    (SELECT tenant_id FROM runs_workflowrun WHERE wake_at IS NOT NULL ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.tenant_id FROM runs_workflowrun r WHERE r.wake_at IS NOT NULL AND r.tenant_id > a.tenant_id
        ORDER BY r.tenant_id LIMIT 1)
    FROM awake a WHERE a.tenant_id IS NOT NULL)
SELECT tenant_id FROM awake a WHERE clock_timestamp() >= (
    SELECT r.wake_at FROM runs_workflowrun r WHERE r.tenant_id = a.tenant_id AND r.wake_at IS NOT NULL
    ORDER BY r.wake_at LIMIT 1)"""
_CLAIM = """
UPDATE runs_workflowrun r
SET revision = r.revision + 1, lease_owner = %s::uuid, wake_at = clock_timestamp() + %s::interval
FROM due WHERE r.id = due.id RETURNING r.id"""
CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT id FROM runs_workflowrun WHERE wake_at <= clock_timestamp() AND lease_owner IS DISTINCT FROM %s::uuid
    ORDER BY wake_at LIMIT %s::int FOR UPDATE SKIP LOCKED){_CLAIM}"""
CLAIM_IN_TURN = f"""
WITH due AS MATERIALIZED (
    SELECT d.id FROM unnest(%s::uuid[]) t(tenant_id) CROSS JOIN LATERAL (
        SELECT r.id FROM runs_workflowrun r
        WHERE r.tenant_id = t.tenant_id AND r.wake_at <= clock_timestamp() AND r.lease_owner IS DISTINCT FROM %s::uuid
        ORDER BY r.wake_at LIMIT %s::int FOR UPDATE SKIP LOCKED) d){_CLAIM}"""
RENEW = """
UPDATE runs_workflowrun SET wake_at = clock_timestamp() + %s::interval
WHERE id IN (SELECT id FROM runs_workflowrun WHERE lease_owner = %s::uuid AND wake_at IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE)
AND lease_owner = %s::uuid RETURNING id, revision"""


def _select(columns: Iterable[str], prefix: str) -> str:
    return ", ".join(f"{prefix}{c}::text AS {c}" if c in JSON_COLUMNS else f"{prefix}{c}" for c in columns)


LOAD_RUNS = (
    f"SELECT {_select((*HEAD_COLUMNS, *RUN_COLUMNS, 'definition', 'lease_owner'), 'r.')}, v.version,"
    " w.max_concurrent_runs IS NOT NULL AS limited"
    " FROM runs_workflowrun r JOIN workflows_workflowversion v ON v.id = r.version_id"
    " JOIN workflows_workflow w ON w.id = r.workflow_id WHERE r.id = ANY(%s::uuid[])"
)
LOAD_STEPS = (  # no join: it would be planned for what the tables hold, and read all runs
    f"SELECT s.run_id, s.step_id, (SELECT r.revision FROM runs_workflowrun r WHERE r.id = s.run_id) AS {OF},"
    f" {_select(STEP_COLUMNS, 's.')} FROM runs_steprun s WHERE s.run_id = ANY(%s::uuid[])"
)
