"""A batch of writes as rows of few statements: what mostly happens to a row has one that writes little."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from runs.machine.snapshot import RunRow
from runs.machine.states import RUN_FINAL
from runs.store.interface import Lease, LogBatch, Write
from runs.store.rows import only_ends, only_steps_change, taken_ids, text_of
from runs.store.sqlite.many import Row
from runs.store.sqlite.statements import (
    END_STEP,
    INSERT_EVENT,
    INSERT_LOG,
    INSERT_RUN,
    UPDATE_RUN,
    UPDATE_RUN_STEPS,
    UPSERT_STEP,
)
from staterail.core.ids import derived_hex
from staterail.core.strict_json import dumps_known


def ts(value: datetime) -> str:
    """As Django stores a time on SQLite: naive UTC text."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


class _Times(dict[datetime | None, str | None]):
    """Texts of the times of a batch, which are mostly the same few."""

    def __missing__(self, value: datetime | None) -> str | None:
        text = self[value] = None if value is None else ts(value)
        return text


def persist(raw: Any, writes: Iterable[Write], now: datetime) -> set[UUID]:
    """Store the runs that still stand where they were decided on, or are new, then what is theirs; who they are."""
    batch, by_id = _Batch(now), {write.head.id.hex: write for write in writes}
    winners = [by_id[id] for id in batch.store_runs(raw, by_id.values())]
    batch.store_parts(raw, winners)
    return {write.head.id for write in winners}


def write_logs(raw: Any, tenant_id: UUID, run_id: UUID, batches: Iterable[LogBatch]) -> None:
    for batch in batches:
        INSERT_LOG.execute(raw, _log_rows(tenant_id, run_id, batch))


class _Batch:
    def __init__(self, now: datetime) -> None:
        self._now, self._times = now, _Times()
        self._steps: list[Row] = []
        self._ended: list[Row] = []
        self._events: list[Row] = []
        self._logs: list[Row] = []

    def store_runs(self, raw: Any, writes: Iterable[Write]) -> Iterator[str]:
        """The winners' ids, as they come."""
        full: dict[Lease, list[Row]] = {}
        steps_only: list[Row] = []
        for write in writes:
            run, before, id = write.decision.run, write.decision.before, write.head.id.hex
            if write.new is not None:
                if raw.execute(INSERT_RUN, self._new_run(write)).rowcount == 1:
                    yield id  # else its idempotency key was there before
            elif write.lease is Lease.KEEP and only_steps_change(run, before):
                steps_only.append((run.seq, run.revision, self._times[run.updated_at], before.revision, id))
            else:
                lease, *wake = self._lease(write)
                full.setdefault(lease, []).append((*self._run(run), *wake, before.revision, id))
        for lease, rows in full.items():
            yield from (id for (id,) in UPDATE_RUN[lease].answers(raw, rows))
        yield from (id for (id,) in UPDATE_RUN_STEPS.answers(raw, steps_only))

    def store_parts(self, raw: Any, winners: Iterable[Write]) -> None:
        for write in winners:
            self._add_steps(write)
            self._add_events(write)
            for batch in write.logs:
                self._logs += _log_rows(write.head.tenant_id, write.head.id, batch)
        END_STEP.execute(raw, self._ended)
        UPSERT_STEP.execute(raw, self._steps)
        INSERT_EVENT.execute(raw, self._events)
        INSERT_LOG.execute(raw, self._logs)

    def _lease(self, write: Write) -> tuple[Lease, *tuple[str | None, ...]]:
        """What becomes of the lease, and the `wake_at` that it wants."""
        if write.decision.run.state in RUN_FINAL:
            return Lease.RELEASE, None
        if write.lease is Lease.RELEASE:
            return Lease.RELEASE, self._times[write.wake_at]
        return (Lease.WAKE, self._times[self._now]) if write.lease is Lease.WAKE else (Lease.KEEP,)

    def _new_run(self, write: Write) -> Row:
        head, new, run, times = write.head, write.new, write.decision.run, self._times
        assert new is not None
        return (
            head.id.hex, head.tenant_id.hex, head.workflow_id.hex, head.version_id.hex, head.input, head.metadata,
            head.trace_id, head.corr_id, head.trigger, head.depth, times[new.created_at], new.started_by,
            new.started_by_ref, new.is_test, new.definition, new.idempotency_key, new.request_hash, *self._run(run),
            None if run.state in RUN_FINAL else times[self._now],
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
            step = plan.steps[i]
            id = derived_hex(head.id, step.id)
            taken = None if row.taken is None else (text_of(taken_ids(plan, row)) if row.taken else "[]")
            if only_ends(row, known.get(i)):
                self._ended.append(
                    (row.state, row.reason, times[row.wake_at], times[row.completed_at], row.output, taken, id)
                )
                continue
            self._steps.append(
                (
                    id, tenant, run_id, step.id, step.kind, row.state, row.reason, row.attempt, row.generation,
                    row.tries, row.losses, times[row.wake_at], times[row.queued_at], times[row.started_at],
                    times[row.completed_at], row.input, int(row.override), row.output, text_of(row.error), taken,
                    text_of(row.fault), row.breaker, row.asks, row.dead, row.holder,
                )
            )  # fmt: skip

    def _add_events(self, write: Write) -> None:
        head, emitter, times = write.head, write.emitter, self._times
        tenant, run_id, workflow = head.tenant_id.hex, head.id.hex, head.workflow_id.hex
        for e in write.decision.events:
            self._events.append(
                (
                    tenant, run_id, workflow, head.version, head.trace_id, emitter, e.seq, e.event_type, e.step_id,
                    e.generation, e.attempt, e.state_before, e.state_after, dumps_known(e.payload), times[e.ts],
                    e.corr_id,
                )
            )  # fmt: skip


def _log_rows(tenant_id: UUID, run_id: UUID, batch: LogBatch) -> list[Row]:
    tenant, run = tenant_id.hex, run_id.hex
    return [
        (tenant, run, batch.step_id, batch.attempt, batch.first + n, ts(line.ts), line.level, line.message)
        for n, line in enumerate(batch.lines)
    ]
