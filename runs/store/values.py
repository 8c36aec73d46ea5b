"""Changed rows as the values of their columns, the same for every store that speaks SQL."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from runs.machine.snapshot import RunHead, RunRow
from runs.store.interface import LogBatch, Write
from runs.store.rows import only_ends, taken_ids, text_of
from staterail.core.ids import derived_hex
from staterail.core.strict_json import dumps_known

Row = tuple[Any, ...]


class Times(dict[datetime | None, str | None]):
    """Texts of the times of a batch, which are mostly the same few."""

    def __init__(self, text: Callable[[datetime], str]) -> None:
        super().__init__({None: None})
        self._text = text

    def __missing__(self, value: datetime) -> str:
        text = self[value] = self._text(value)
        return text


def run_values(run: RunRow, times: Times) -> Row:
    """RUN_COLUMNS."""
    return (
        run.state, run.reason, run.generation, run.seq, run.revision, run.output, text_of(run.error),
        times[run.started_at], times[run.completed_at], times[run.updated_at], times[run.deadline_at],
        text_of(run.stopping), run.admission,
    )  # fmt: skip


def new_run_values(write: Write, times: Times) -> Row:
    """HEAD_COLUMNS, those of NewRun, RUN_COLUMNS."""
    head, new = write.head, write.new
    assert new is not None
    return (
        head.id.hex, head.tenant_id.hex, head.workflow_id.hex, head.version_id.hex, head.input, head.metadata,
        head.trace_id, head.corr_id, head.trigger, head.depth, times[new.created_at], new.started_by,
        new.started_by_ref, new.is_test, new.definition, new.idempotency_key, new.request_hash,
        *run_values(write.decision.run, times),
    )  # fmt: skip


class Parts:
    """What a batch says of steps, events and logs. What mostly happens to a step is apart, for it writes little."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self.new_steps: list[Row] = []  # id, tenant, run, step, kind, STEP_COLUMNS
        self.steps: list[Row] = []  # the same, of steps that had a row
        self.ends: list[Row] = []  # id, run, STEP_END
        self.events: list[Row] = []
        self.logs: list[Row] = []

    def add(self, write: Write) -> None:
        self._add_steps(write)
        self._add_events(write)
        for batch in write.logs:
            self.add_log(write.head, batch)

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

    def add_log(self, head: RunHead, batch: LogBatch) -> None:
        tenant, run_id, times = head.tenant_id.hex, head.id.hex, self._times
        for number, line in enumerate(batch.lines, batch.first):
            self.logs.append(
                (tenant, run_id, batch.step_id, batch.attempt, number, times[line.ts], line.level, line.message)
            )
