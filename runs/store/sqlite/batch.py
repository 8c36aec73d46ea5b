"""A batch of writes as rows of few statements."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from runs.machine.snapshot import RunHead
from runs.machine.states import RUN_FINAL
from runs.store.interface import Lease, LogBatch, Write
from runs.store.rows import only_steps_change
from runs.store.sqlite.statements import (
    END_STEP,
    INSERT_EVENT,
    INSERT_LOG,
    INSERT_RUN,
    UPDATE_RUN,
    UPDATE_RUN_STEPS,
    UPSERT_STEP,
)
from runs.store.values import Parts, Row, Times, new_run_values, run_values


def ts(value: datetime) -> str:
    """As Django stores a time on SQLite: naive UTC text."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def persist(raw: Any, writes: Iterable[Write], now: datetime) -> set[UUID]:
    """Store the runs that still stand where they were decided on, or are new, then what is theirs; who they are."""
    times, by_id = Times(ts), {write.head.id.hex: write for write in writes}
    winners = [by_id[id] for id in _store_runs(raw, by_id.values(), times, now)]
    parts = Parts(times)
    for write in winners:
        parts.add(write)
    END_STEP.execute(raw, parts.ends)
    UPSERT_STEP.execute(raw, parts.new_steps + parts.steps)
    INSERT_EVENT.execute(raw, parts.events)
    INSERT_LOG.execute(raw, parts.logs)
    return {write.head.id for write in winners}


def write_logs(raw: Any, head: RunHead, batches: Iterable[LogBatch]) -> None:
    parts = Parts(Times(ts))
    for batch in batches:
        parts.add_log(head, batch)
    INSERT_LOG.execute(raw, parts.logs)


def _store_runs(raw: Any, writes: Iterable[Write], times: Times, now: datetime) -> Iterator[str]:
    """The winners' ids, as they come."""
    full: dict[Lease, list[Row]] = {}
    steps_only: list[Row] = []
    for write in writes:
        run, before, id = write.decision.run, write.decision.before, write.head.id.hex
        if write.new is not None:
            row = *new_run_values(write, times), None if run.state in RUN_FINAL else times[now]
            if raw.execute(INSERT_RUN, row).rowcount == 1:
                yield id  # else its idempotency key was there before
        elif write.lease is Lease.KEEP and only_steps_change(run, before):
            steps_only.append((run.seq, run.revision, times[run.updated_at], before.revision, id))
        else:
            lease, *wake = _lease(write, times, now)
            full.setdefault(lease, []).append((*run_values(run, times), *wake, before.revision, id))
    for lease, rows in full.items():
        yield from (id for (id,) in UPDATE_RUN[lease].answers(raw, rows))
    yield from (id for (id,) in UPDATE_RUN_STEPS.answers(raw, steps_only))


def _lease(write: Write, times: Times, now: datetime) -> tuple[Lease, *tuple[str | None, ...]]:
    """What becomes of the lease, and the `wake_at` that it wants."""
    if write.decision.run.state in RUN_FINAL:
        return Lease.RELEASE, None
    if write.lease is Lease.RELEASE:
        return Lease.RELEASE, times[write.wake_at]
    return (Lease.WAKE, times[now]) if write.lease is Lease.WAKE else (Lease.KEEP,)
