"""A store whose tables are plain values in memory, with a clock that only moves when it is told to.

It says of the same calls what the real stores say (test_memory_store holds it against one), and keeps a
list of who won which revision, for a check that is not its own guard.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DataError

from runs.machine.decision import Event
from runs.machine.plan import Plan
from runs.machine.snapshot import RunHead, RunRow, Snapshot, StepRow
from runs.machine.states import RUN_FINAL, RunState
from runs.store.admission import HELD, HELD_FOR, SLOT, entitled
from runs.store.interface import LEASE, Lease, Loaded, LogBatch, Write
from runs.store.turns import Turns
from staterail.core.strict_json import dumps_known


@dataclass(slots=True)
class Row:
    """A run's row with its steps, its events and its logs."""

    head: RunHead
    plan: Plan
    run: RunRow
    wake_at: datetime | None
    lease_owner: UUID | None = None
    steps: dict[int, StepRow] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    logs: dict[tuple[str, int, int], str] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.run.state not in RUN_FINAL


class MemoryStore:
    """See `runs.store.interface.Store`. `limits` are the workflows' max_concurrent_runs."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.now = clock
        self.rows: dict[UUID, Row] = {}
        self.limits: dict[UUID, int] = {}
        self.keys: set[tuple[UUID, str]] = set()
        self.fits: Callable[[Write], bool] = lambda write: True
        self.won: set[tuple[UUID, int]] = set()  # (run, the revision a write was decided on)
        self.won_twice: list[tuple[UUID, int]] = []
        self._turns = Turns()

    # Claims and leases

    def claim(self, owner: UUID, room: int) -> list[UUID]:
        now = self.now()
        due = [row for row in self.rows.values() if _is_due(row, now) and row.lease_owner != owner]
        if len(due) <= room:
            return self._claim(due, owner, now, room)
        tenants = sorted({row.head.tenant_id for row in due})
        claimed: list[UUID] = []
        while room > len(claimed):
            chosen, share = self._turns.share(tenants, room - len(claimed))
            before = len(claimed)
            for tenant in chosen:
                theirs = [row for row in due if row.head.tenant_id == tenant and _is_due(row, now)]
                claimed += self._claim(theirs, owner, now, share)
            if len(claimed) == before:
                break
        return claimed

    def _claim(self, due: list[Row], owner: UUID, now: datetime, room: int) -> list[UUID]:
        chosen = sorted(due, key=lambda row: (row.wake_at, row.head.id))[:room]
        for row in chosen:
            self._raise_revision(row)
            row.lease_owner, row.wake_at = owner, now + LEASE
        return [row.head.id for row in chosen]

    def renew(self, owner: UUID) -> dict[UUID, int]:
        mine = [row for row in self.rows.values() if row.lease_owner == owner]
        for row in mine:
            row.wake_at = self.now() + LEASE
        return {row.head.id: row.run.revision for row in mine}

    def next_wake(self) -> datetime | None:
        return min((row.wake_at for row in self.rows.values() if row.wake_at is not None), default=None)

    # Reading

    def load(self, run_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        return self.loaded(self.run_rows(run_ids))

    def run_rows(self, run_ids: Collection[UUID]) -> dict[UUID, tuple[RunRow, UUID | None]]:
        """The first half of a load: another may write before the second."""
        known = [self.rows[id] for id in run_ids if id in self.rows]
        return {row.head.id: (self._run(row), row.lease_owner) for row in known}

    def loaded(self, runs: dict[UUID, tuple[RunRow, UUID | None]]) -> dict[UUID, Loaded]:
        found = {}
        for id, (run, owner) in runs.items():
            row = self.rows[id]
            steps = {i: _read(step) for i, step in row.steps.items()}
            found[id] = Loaded(Snapshot(row.head, row.plan, run, steps), owner)
        return found

    def _run(self, row: Row) -> RunRow:
        run = row.run.clone()
        run.limited = row.head.workflow_id in self.limits
        return run

    # Writing

    def persist(self, writes: Sequence[Write]) -> set[UUID]:
        limited = {w.head.workflow_id for w in writes if _wants_place(w) or _gives_back(w)}
        for write in writes:
            if write.decision.run.state in RUN_FINAL and not _gives_back(write):
                write.decision.run.admission = None
        before = [write.decision.run.admission for write in writes]
        try:
            return self._persist_limited(writes, limited)
        except DataError:
            for write, admission in zip(writes, before, strict=True):
                write.decision.run.admission = admission
            raise

    def _persist_limited(self, writes: Sequence[Write], limited: set[UUID]) -> set[UUID]:
        refused: set[UUID] = set()
        for workflow_id in sorted(limited):
            refused |= self._places(workflow_id, [w for w in writes if w.head.workflow_id == workflow_id])
        winners = self.persist_admitted([w for w in writes if w.decision.run_id not in refused])
        for write in writes:
            if write.decision.run_id in refused:
                self._hold(write)
        for workflow_id in sorted(limited):
            self._wake(workflow_id)
        return winners

    def persist_admitted(self, writes: Sequence[Write]) -> set[UUID]:
        if not all(self.fits(write) for write in writes):
            raise DataError("a value does not fit its column")
        return {write.decision.run_id for write in writes if self._persist(write)}

    def _persist(self, write: Write) -> bool:
        decision, id = write.decision, write.decision.run_id
        row = self.rows.get(id)
        if write.new is not None:
            key = (write.head.tenant_id, write.new.idempotency_key)
            if row is not None or key in self.keys:
                return False
            if key[1] is not None:
                self.keys.add((key[0], key[1]))
            row = self.rows[id] = Row(write.head, write.plan, decision.run, self.now())
        elif row is None or row.run.revision != decision.expected:
            return False
        self._win(id, decision.expected)
        row.run = _stored_run(decision.run)
        self._lease(row, write)
        for i, step in decision.steps.items():
            row.steps[i] = _stored_step(step, row.steps.get(i))
        row.events += [event._replace(payload=_copied(event.payload)) for event in decision.events]
        self._log(row, write.logs)
        return True

    def _lease(self, row: Row, write: Write) -> None:
        if not row.open:
            row.lease_owner = row.wake_at = None
        elif write.lease is Lease.RELEASE:
            row.lease_owner, row.wake_at = None, write.wake_at
        elif write.lease is Lease.WAKE and row.lease_owner is None:
            row.wake_at = self.now()

    def append_logs(self, head: RunHead, batches: Iterable[LogBatch]) -> None:
        self._log(self.rows[head.id], batches)

    def _log(self, row: Row, batches: Iterable[LogBatch]) -> None:
        for batch in batches:
            for n, line in enumerate(batch.lines):
                row.logs.setdefault((batch.step_id, batch.attempt, batch.first + n), line.message)

    def _raise_revision(self, row: Row) -> None:
        self._win(row.head.id, row.run.revision)
        row.run.revision += 1

    def _win(self, id: UUID, revision: int) -> None:
        if (id, revision) in self.won:
            self.won_twice.append((id, revision))
        self.won.add((id, revision))

    # Limits: see runs.store.admission

    def _places(self, workflow_id: UUID, writes: list[Write]) -> set[UUID]:
        limit = self.limits.get(workflow_id)
        ending = [write for write in writes if _gives_back(write)]
        wanting = {write.decision.run_id: write for write in writes if _wants_place(write)}
        refused: set[UUID] = set()
        if wanting and limit is not None:
            free = limit - self.taken(workflow_id)
            refused = wanting.keys() - entitled(free, [row.head.id for row in self._held(workflow_id)], wanting)
        for id, write in wanting.items():
            if id not in refused:
                write.decision.run.admission = None if write.decision.run.state in RUN_FINAL else SLOT
        for write in ending:
            write.decision.run.admission = None
        return refused

    def taken(self, workflow_id: UUID) -> int:
        rows = [row for row in self.rows.values() if row.head.workflow_id == workflow_id]
        return sum(row.run.admission == SLOT for row in rows)

    def _held(self, workflow_id: UUID) -> list[Row]:
        rows = [r for r in self.rows.values() if r.head.workflow_id == workflow_id and r.run.admission == HELD]
        return sorted(rows, key=lambda row: row.head.id)

    def _hold(self, write: Write) -> None:
        row = self.rows[write.decision.run_id]
        if row.run.revision == write.decision.expected:
            self._raise_revision(row)
            row.lease_owner, row.wake_at, row.run.admission = None, self.now() + HELD_FOR, HELD

    def _wake(self, workflow_id: UUID) -> None:
        limit, now = self.limits.get(workflow_id), self.now()
        held = [row for row in self._held(workflow_id) if row.run.state is RunState.PENDING]
        free = len(held) if limit is None else max(0, limit - self.taken(workflow_id))
        for row in held[:free]:
            if row.lease_owner is None and row.wake_at is not None and row.wake_at > now:
                self._raise_revision(row)
                row.wake_at = now


def _is_due(row: Row, now: datetime) -> bool:
    return row.wake_at is not None and row.wake_at <= now


def _wants_place(write: Write) -> bool:
    run = write.decision.run
    return run.limited and run.admission != SLOT and any(e.event_type == "run_started" for e in write.decision.events)


def _gives_back(write: Write) -> bool:
    return write.decision.run.admission == SLOT and write.decision.run.state in RUN_FINAL


def _copied(value: Any) -> Any:
    """Through JSON: what is stored shares nothing with whoever wrote it."""
    return None if value is None else json.loads(dumps_known(value))


def _stored_run(run: RunRow) -> RunRow:
    row = run.clone()
    row.error, row.stopping = _copied(run.error), _copied(run.stopping)
    return row


def _stored_step(step: StepRow, before: StepRow | None) -> StepRow:
    row = step.clone()
    row.error, row.fault = _copied(step.error), _copied(step.fault)
    if row.input is None and before is not None:  # a reactor loads no inputs: null says "as it was"
        row.input = before.input
    return row


def _read(step: StepRow) -> StepRow:
    row = step.clone()
    row.input = step.input if step.override else None
    row.set_output(step.output)
    return row
