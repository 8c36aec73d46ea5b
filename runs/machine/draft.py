"""A decision in the making: an overlay over a snapshot that is only read."""

from datetime import datetime
from typing import Any

from runs.machine.decision import Decision, Event
from runs.machine.snapshot import Snapshot, StepRow
from runs.machine.states import RUN_CHANGES, RUN_FINAL, STEP_CHANGES, Reason, RunState, StepState
from staterail.core.errors import IllegalTransition

JSON = Any


class Draft:
    """Rows are copied at their first change; every change of a state goes through `change_run` or `change_step`."""

    __slots__ = ("snapshot", "plan", "run", "now", "corr_id", "decision", "queued", "running", "faults", "late", "came")

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self.snapshot, self.plan = snapshot, snapshot.plan
        self.run = snapshot.run.clone()
        self.now = max(now, self.run.updated_at)  # `ts` never runs back within a run
        self.corr_id = snapshot.head.corr_id
        self.decision = Decision(snapshot.head.id, snapshot.run, self.run)
        self.run.revision += 1
        self.queued = len(snapshot.queued)
        self.running = len(snapshot.running)
        self.faults: dict[int, dict[str, JSON]] | None = None  # a copy, once it differs from the snapshot's
        self.came: list[int] = []  # steps that this decision queues, in that order
        self.late: dict[int, None] = {}  # steps whose backoff is over: they start now or become `ready`

    # Reading

    def step(self, i: int) -> StepRow | None:
        """The step's row as it is now, or None while it is idle. Not to be changed: see `row`."""
        return self.decision.steps.get(i) or self.snapshot.steps.get(i)

    def state(self, i: int) -> StepState:
        row = self.step(i)
        return row.state if row is not None else StepState.IDLE

    def resolved(self, i: int) -> int:
        return self.decision.resolved.get(i, self.snapshot.resolved.get(i, 0))

    def taken(self, i: int) -> int:
        return self.decision.taken.get(i, self.snapshot.taken.get(i, 0))

    def known_faults(self) -> dict[int, dict[str, JSON]]:
        return self.snapshot.faults if self.faults is None else self.faults

    @property
    def stopped(self) -> bool:
        """Whether a failure nobody handled keeps new steps from starting: one of this generation.

        An older one still fails the run at its end, but a command has opened the run again since.
        """
        if not self.plan.stops:
            return False
        faults = self.known_faults()
        return bool(faults) and any(fault["generation"] == self.run.generation for fault in faults.values())

    # Changing

    def row(self, i: int) -> StepRow:
        """The step's row, to be changed."""
        row = self.decision.steps.get(i)
        if row is None:
            known = self.snapshot.steps.get(i)
            if known is None:
                row = StepRow()
            else:
                self.decision.known[i], row = known, known.clone()
            self.decision.steps[i] = row
        return row

    def event(
        self, event_type: str, before: str | None, after: str | None, payload: dict[str, JSON],
        step_id: str | None = None, attempt: int | None = None,
    ) -> None:  # fmt: skip
        run = self.run
        run.seq += 1
        run.updated_at = self.now
        self.decision.events.append(
            Event(run.seq, event_type, step_id, run.generation, attempt, before, after, payload, self.now, self.corr_id)
        )

    def change_run(self, to: RunState, payload: dict[str, JSON], reason: Reason | None = None) -> None:
        """Bring the run to `to`. Raises IllegalTransition for a change that is not in the table."""
        run, before = self.run, self.run.state
        if to not in RUN_CHANGES[before]:
            raise IllegalTransition(f"A run that is {before} cannot become {to}.")
        run.state, run.reason = to, reason
        event_type = "run_started" if before is RunState.PENDING and to is RunState.RUNNING else "state_changed"
        self.event(event_type, before, to, payload)
        if to in RUN_FINAL:
            run.completed_at, run.deadline_at = self.now, None

    def change_step(self, i: int, to: StepState, reason: Reason | None, payload: dict[str, JSON]) -> StepRow:
        """Bring a step to `to`; its new row, `wake_at` cleared. Raises IllegalTransition like `change_run`."""
        row = self.decision.steps.get(i)
        before = row.state if row is not None else self.state(i)
        if to not in STEP_CHANGES[before]:
            raise IllegalTransition(f"A step that is {before} cannot become {to}.")
        row = row or self.row(i)
        if before is StepState.QUEUED:
            self.queued -= 1
        elif before is StepState.RUNNING:
            self.running -= 1
        if to is StepState.QUEUED:
            self.queued += 1
            self.came.append(i)
            event_type = "step_failed" if before is StepState.RUNNING else "state_changed"
        elif to is StepState.RUNNING:
            self.running += 1
            event_type = "step_started"
        elif to is StepState.FAILED:
            event_type = "step_failed"
        else:
            event_type = "step_completed" if to is StepState.SUCCEEDED else "state_changed"
        row.state, row.reason, row.wake_at = to, reason, None
        if row.breaker is not None:
            row.breaker = None
        if row.holder is not None:
            row.holder = None
        payload["reason"] = reason
        self.event(event_type, before, to, payload, self.plan.ids[i], row.attempt)
        return row

    def add_fault(self, i: int, code: str, message: str) -> None:
        """Remember that this step's end fails the run: the event just written tells it."""
        fault = {"seq": self.run.seq, "generation": self.run.generation, "code": code, "message": message}
        self.row(i).fault = fault
        self.faults = {**self.known_faults(), i: fault}

    def clear_fault(self, i: int) -> None:
        if i in self.known_faults():
            self.row(i).fault = None
            self.faults = {k: fault for k, fault in self.known_faults().items() if k != i}

    def duration_ms(self, row: StepRow) -> float | None:
        if row.started_at is None:
            return None
        return round((self.now - row.started_at).total_seconds() * 1000, 3)
