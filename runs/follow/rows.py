"""A run folded from its event log, as far as a person in front of a terminal wants to know it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runs import selectors
from runs.machine.states import RUN_FINAL, STEP_FINAL, Reason, RunState, StepState
from runs.models import Event, WorkflowRun

JSON = Any
PAGE = 1_000  # events read at once


@dataclass(slots=True)
class Row:
    step_id: str
    name: str
    state: str = StepState.IDLE
    reason: str | None = None
    attempt: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: JSON = None

    def fold(self, event: Event) -> None:
        self.state, self.attempt = event.state_after or self.state, event.attempt or 0
        self.reason, self.error = event.payload.get("reason"), event.payload.get("error")
        if event.event_type == "step_started":
            self.started_at, self.ended_at = event.ts, None
        elif self.state in STEP_FINAL:
            self.ended_at = event.ts
        elif self.state == StepState.IDLE or event.event_type == "state_changed":
            self.started_at = self.ended_at = None
        if event.event_type == "step_failed" and self.state == StepState.QUEUED:
            self.reason = Reason.BACKOFF if event.payload.get("delay_ms") else Reason.READY


class Follower:
    """A run's rows, folded from its events."""

    def __init__(self, run_id: UUID) -> None:
        self.run = WorkflowRun.objects.select_related("workflow").defer("input", "output", "metadata").get(id=run_id)
        plan = selectors.plan_of(self.run)
        ordered = [plan.steps[i] for i in plan.topological()] if plan is not None else []
        self.rows = {step.id: Row(step.id, step.name or step.id) for step in ordered}
        self.state: str = RunState.CREATED
        self.stopping = False
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self._seq = 0

    def look(self) -> list[Event]:
        """What happened since the last look, at most a page of it."""
        new = list(Event.objects.filter(run_id=self.run.id, seq__gt=self._seq).order_by("seq")[:PAGE])
        for event in new:
            self._seq = event.seq
            if event.step_id is not None:
                self.rows.setdefault(event.step_id, Row(event.step_id, event.step_id)).fold(event)
            elif event.state_after is not None:
                self._fold(event)
        return new

    def _fold(self, event: Event) -> None:
        self.state = event.state_after or self.state
        self.stopping = event.payload.get("reason") == Reason.CANCELLING
        if event.event_type == "run_started":
            self.started_at, self.ended_at = event.ts, None
        elif self.over:
            self.ended_at = event.ts

    @property
    def over(self) -> bool:
        return self.state in RUN_FINAL

    @property
    def waiting(self) -> list[Row]:
        """Steps that a person must decide."""
        return [row for row in self.rows.values() if row.reason == Reason.WAITING_APPROVAL]

    @property
    def reason(self) -> str | None:
        if self.state != RunState.RUNNING:
            return None
        reasons = {row.reason for row in self.rows.values() if row.state not in STEP_FINAL}
        return selectors.running_reason(self.stopping, reasons)
