"""A batch of writes as the rows and parameters of one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runs.machine.states import RUN_FINAL
from runs.store.interface import Lease, LogBatch, Write
from runs.store.postgres.arrays import Row
from runs.store.postgres.statements import (
    EVENTS,
    LOGS,
    NEW,
    PERSIST_EVENTS,
    PERSIST_LOGS,
    PERSIST_NEW,
    PERSIST_RUNS,
    PERSIST_STEPS,
    RUNS,
    STEPS,
)  # fmt: skip
from runs.store.rows import taken_ids, text_of
from staterail.core.ids import derived_hex
from staterail.core.strict_json import dumps_known


def persist_statement(writes: Sequence[Write]) -> tuple[str, list[str]]:
    """The statement with the parts that this batch needs, and its parameters."""
    times: dict[datetime | None, str | None] = {None: None}
    runs: list[Row] = []
    new: list[Row] = []
    steps: list[Row] = []
    events: list[Row] = []
    logs: list[Row] = []
    for write in writes:
        if write.new is None:
            runs.append(_run(write, times))
        else:
            new.append(_new_run(write, times))
        _step_rows(write, times, steps)
        _event_rows(write, times, events)
        for batch in write.logs:
            log_rows(write.head, batch, logs)
    parts: list[str] = []
    parameters: list[str] = []
    won: list[str] = []
    for rows, table, part, name in ((runs, RUNS, PERSIST_RUNS, "updated"), (new, NEW, PERSIST_NEW, "created")):
        if rows:
            parts.append(part)
            parameters += table.parameters(rows)
            won.append(f"SELECT id FROM {name}")
    parts.append(f"\nwinners AS MATERIALIZED ({' UNION ALL '.join(won)})")
    for rows, table, part in (
        (steps, STEPS, PERSIST_STEPS), (events, EVENTS, PERSIST_EVENTS), (logs, LOGS, PERSIST_LOGS),
    ):  # fmt: skip
        if rows:
            parts.append(part)
            parameters += table.parameters(rows)
    return f"WITH {','.join(parts)}\nSELECT id FROM winners", parameters


def _time(value: datetime | None, times: dict[datetime | None, str | None]) -> str | None:
    text = times.get(value)
    if text is None and value is not None:
        text = times[value] = value.isoformat()
    return text


def _run_values(run: Any, times: dict[datetime | None, str | None]) -> Row:
    return (
        run.state, run.reason, run.generation, run.seq, run.revision, run.output, text_of(run.error),
        _time(run.started_at, times), _time(run.completed_at, times), _time(run.updated_at, times),
        _time(run.deadline_at, times), text_of(run.stopping), run.admission,
    )  # fmt: skip


def _run(write: Write, times: dict[datetime | None, str | None]) -> Row:
    decision, lease, wake_at = write.decision, write.lease, write.wake_at
    if decision.run.state in RUN_FINAL:
        lease, wake_at = Lease.RELEASE, None
    return (
        decision.run_id.hex, decision.expected, lease.value, *_run_values(decision.run, times), _time(wake_at, times),
    )  # fmt: skip


def _new_run(write: Write, times: dict[datetime | None, str | None]) -> Row:
    head, new = write.head, write.new
    assert new is not None
    return (
        head.id.hex, head.tenant_id.hex, head.workflow_id.hex, head.version_id.hex, head.input, head.metadata,
        head.trace_id, head.corr_id, head.trigger, head.depth, _time(new.created_at, times), new.started_by,
        new.started_by_ref,
        new.is_test, new.definition, new.idempotency_key, new.request_hash, *_run_values(write.decision.run, times),
    )  # fmt: skip


def _step_rows(write: Write, times: dict[datetime | None, str | None], into: list[Row]) -> None:
    tenant, run_id, run_hex, plan = write.head.tenant_id.hex, write.head.id, write.head.id.hex, write.plan
    for i, row in write.decision.steps.items():
        step = plan.steps[i]
        taken = None if row.taken is None else (text_of(taken_ids(plan, row)) if row.taken else "[]")
        into.append(
            (
                derived_hex(run_id, step.id), tenant, run_hex, step.id, step.kind,
                row.state, row.reason, row.attempt, row.generation, row.tries, row.losses,
                _time(row.wake_at, times), _time(row.queued_at, times), _time(row.started_at, times),
                _time(row.completed_at, times), row.input, row.override, row.output, text_of(row.error), taken,
                text_of(row.fault), row.breaker, row.asks, row.dead, row.holder,
            )
        )  # fmt: skip


def _event_rows(write: Write, times: dict[datetime | None, str | None], into: list[Row]) -> None:
    head = write.head
    tenant, run_id, workflow = head.tenant_id.hex, head.id.hex, head.workflow_id.hex
    for e in write.decision.events:
        into.append(
            (
                tenant, run_id, workflow, head.version, head.trace_id, write.emitter, e.seq, e.event_type, e.step_id,
                e.generation, e.attempt, e.state_before, e.state_after, dumps_known(e.payload), _time(e.ts, times),
                e.corr_id,
            )
        )  # fmt: skip


def log_rows(head: Any, batch: LogBatch, into: list[Row]) -> None:
    for n, line in enumerate(batch.lines):
        into.append(
            (
                head.tenant_id.hex, head.id.hex, batch.step_id, batch.attempt, batch.first + n, line.ts.isoformat(),
                line.level, line.message,
            )
        )  # fmt: skip
