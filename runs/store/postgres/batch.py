"""A batch of writes as the rows and parameters of one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runs.machine.snapshot import RunRow
from runs.machine.states import RUN_FINAL
from runs.store.interface import Lease, LogBatch, Write
from runs.store.postgres.arrays import Row
from runs.store.postgres.statements import (
    ENDS,
    EVENTS,
    LOGS,
    NEW,
    NEW_STEPS,
    PERSIST_ENDS,
    PERSIST_EVENTS,
    PERSIST_LOGS,
    PERSIST_NEW,
    PERSIST_NEW_STEPS,
    PERSIST_RUNS,
    PERSIST_STEPS,
    RUNS,
    STEPS,
)  # fmt: skip
from runs.store.rows import only_ends, taken_ids, text_of
from staterail.core.ids import derived_hex
from staterail.core.strict_json import dumps_known


def persist_statement(writes: Sequence[Write]) -> tuple[str, list[str]]:
    """The statement with the parts that this batch needs, and its parameters."""
    rows = _Rows()
    for write in writes:
        rows.add(write)
    parts: list[str] = []
    parameters: list[str] = []
    won: list[str] = []
    for known, table, part, name in (
        (rows.runs, RUNS, PERSIST_RUNS, "updated"), (rows.new, NEW, PERSIST_NEW, "created"),
    ):  # fmt: skip
        if known:
            parts.append(part)
            parameters += table.parameters(known)
            won.append(f"SELECT id FROM {name}")
    parts.append(f"\nwinners AS MATERIALIZED ({' UNION ALL '.join(won)})")
    for known, table, part in (
        (rows.new_steps, NEW_STEPS, PERSIST_NEW_STEPS), (rows.ends, ENDS, PERSIST_ENDS),
        (rows.steps, STEPS, PERSIST_STEPS), (rows.events, EVENTS, PERSIST_EVENTS), (rows.logs, LOGS, PERSIST_LOGS),
    ):  # fmt: skip
        if known:
            parts.append(part)
            parameters += table.parameters(known)
    return f"WITH {','.join(parts)}\nSELECT id FROM winners", parameters


class _Rows:
    """The rows of a batch, by the part of the statement that stores them."""

    def __init__(self) -> None:
        self._times = _Times()
        self.runs: list[Row] = []
        self.new: list[Row] = []
        self.new_steps: list[Row] = []
        self.ends: list[Row] = []
        self.steps: list[Row] = []
        self.events: list[Row] = []
        self.logs: list[Row] = []

    def add(self, write: Write) -> None:
        if write.new is None:
            self.runs.append(self._known_run(write))
        else:
            self.new.append(self._new_run(write))
        self._add_steps(write)
        self._add_events(write)
        for batch in write.logs:
            log_rows(write.head, batch, self.logs)

    def _known_run(self, write: Write) -> Row:
        decision, lease, wake_at = write.decision, write.lease, write.wake_at
        if decision.run.state in RUN_FINAL:
            lease, wake_at = Lease.RELEASE, None
        return (
            decision.run_id.hex, decision.expected, lease.value, *self._run(decision.run), self._times[wake_at],
        )  # fmt: skip

    def _new_run(self, write: Write) -> Row:
        head, new = write.head, write.new
        assert new is not None
        return (
            head.id.hex, head.tenant_id.hex, head.workflow_id.hex, head.version_id.hex, head.input, head.metadata,
            head.trace_id, head.corr_id, head.trigger, head.depth, self._times[new.created_at], new.started_by,
            new.started_by_ref, new.is_test, new.definition, new.idempotency_key, new.request_hash,
            *self._run(write.decision.run),
        )  # fmt: skip

    def _run(self, run: RunRow) -> Row:
        times = self._times
        return (
            run.state, run.reason, run.generation, run.seq, run.revision, run.output, text_of(run.error),
            times[run.started_at], times[run.completed_at], times[run.updated_at], times[run.deadline_at],
            text_of(run.stopping), run.admission,
        )  # fmt: skip

    def _add_steps(self, write: Write) -> None:
        head, plan, known, times = write.head, write.plan, write.decision.known, self._times
        tenant, run_id = head.tenant_id.hex, head.id.hex
        for i, row in write.decision.steps.items():
            step, before = plan.steps[i], known.get(i)
            id = derived_hex(head.id, step.id)
            taken = None if row.taken is None else (text_of(taken_ids(plan, row)) if row.taken else "[]")
            if only_ends(row, before):
                self.ends.append(
                    (id, run_id, row.state, row.reason, times[row.wake_at], times[row.completed_at], row.output, taken)
                )
                continue
            (self.new_steps if before is None else self.steps).append(
                (
                    id, tenant, run_id, step.id, step.kind, row.state, row.reason, row.attempt, row.generation,
                    row.tries, row.losses, times[row.wake_at], times[row.queued_at], times[row.started_at],
                    times[row.completed_at], row.input, row.override, row.output, text_of(row.error), taken,
                    text_of(row.fault), row.breaker, row.asks, row.dead, row.holder,
                )
            )  # fmt: skip

    def _add_events(self, write: Write) -> None:
        head, emitter, times = write.head, write.emitter, self._times
        tenant, run_id, workflow = head.tenant_id.hex, head.id.hex, head.workflow_id.hex
        for e in write.decision.events:
            self.events.append(
                (
                    tenant, run_id, workflow, head.version, head.trace_id, emitter, e.seq, e.event_type, e.step_id,
                    e.generation, e.attempt, e.state_before, e.state_after, dumps_known(e.payload), times[e.ts],
                    e.corr_id,
                )
            )  # fmt: skip


class _Times(dict[datetime | None, str | None]):
    """Texts of the times of a batch, which are mostly the same few."""

    def __missing__(self, value: datetime | None) -> str | None:
        text = self[value] = None if value is None else value.isoformat()
        return text


def log_rows(head: Any, batch: LogBatch, into: list[Row]) -> None:
    for n, line in enumerate(batch.lines):
        into.append(
            (
                head.tenant_id.hex, head.id.hex, batch.step_id, batch.attempt, batch.first + n, line.ts.isoformat(),
                line.level, line.message,
            )
        )  # fmt: skip
