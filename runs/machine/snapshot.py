"""A run in memory: what `decide` reads, and what `Snapshot.apply` brings up to date.

`decide` never changes a snapshot. Its Decision names what becomes different, and `apply` takes
that over once it is stored: both cost what changed, not what the run is big. Large values
(input, outputs) stay JSON text until an expression reads them.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from runs.machine.plan import Plan
from runs.machine.states import Reason, RunState, StepState

if TYPE_CHECKING:
    from runs.machine.decision import Decision

JSON = Any
_UNREAD = object()


class StepRow:
    """A step's row. Times are aware UTC; `input`, `output` are JSON text."""

    __slots__ = (
        "state", "reason", "attempt", "generation", "tries", "losses", "wake_at", "queued_at", "started_at",
        "completed_at", "input", "override", "output", "error", "taken", "fault", "breaker", "holder", "_value",
    )  # fmt: skip

    def __init__(self) -> None:
        self.state = StepState.IDLE
        self.reason: Reason | None = None
        self.attempt = 0
        self.generation = 1  # in which it was last queued
        self.tries = 0  # of the budget, since then
        self.losses = 0  # workers that died under it, since then
        self.wake_at: datetime | None = None
        self.queued_at: datetime | None = None
        self.started_at: datetime | None = None
        self.completed_at: datetime | None = None
        self.input: str | None = (
            None  # resolved config, secrets masked; not loaded by a reactor unless given by retry_step
        )
        self.override = False
        self.output: str | None = None
        self.error: dict[str, JSON] | None = None
        self.taken: tuple[int, ...] | None = None  # positions of the outgoing edges that were taken; None until its end
        self.fault: dict[str, JSON] | None = None  # {seq, generation, code, message}: what fails the run
        self.breaker: str | None = None
        self.holder: str | None = None  # who executes it apart from the run's owner; `wake_at` is its lease then
        self._value: JSON = _UNREAD

    def clone(self) -> "StepRow":
        other = StepRow.__new__(StepRow)
        other.state, other.reason, other.attempt = self.state, self.reason, self.attempt
        other.generation, other.tries, other.losses = self.generation, self.tries, self.losses
        other.wake_at, other.queued_at, other.started_at = self.wake_at, self.queued_at, self.started_at
        other.completed_at, other.input, other.override = self.completed_at, self.input, self.override
        other.output, other.error, other.taken = self.output, self.error, self.taken
        other.fault, other.breaker, other.holder, other._value = self.fault, self.breaker, self.holder, self._value
        return other

    @property
    def asks(self) -> bool | None:
        """Whether a person is asked now: a column of its own, null else, so that its index is no step's burden."""
        return True if self.reason is Reason.WAITING_APPROVAL else None

    @property
    def dead(self) -> bool | None:
        """Whether it has just become a dead letter, which is listed until somebody retries or dismisses it."""
        return True if self.reason is Reason.POISON else None

    @property
    def value(self) -> JSON:
        """The output, parsed once."""
        if self._value is _UNREAD:
            self._value = None if self.output is None else json.loads(self.output)
        return self._value

    def set_output(self, text: str | None) -> None:
        self.output, self._value = text, _UNREAD


class RunRow:
    """What changes of a run. `stopping` is a cancel or timeout under way: {kind, since, corr_id, by}.

    `limited` and `admission` are the store's (`runs.store.admission`): whether its workflow runs a limited
    number at once, and whether this one is held back or has its place.
    """

    __slots__ = (
        "state", "reason", "generation", "seq", "revision", "output", "error", "started_at", "completed_at",
        "updated_at", "deadline_at", "stopping", "limited", "admission",
    )  # fmt: skip

    def __init__(self, updated_at: datetime) -> None:
        self.state: RunState | None = None
        self.reason: Reason | None = None
        self.generation = 1
        self.seq = 0
        self.revision = 0
        self.output: str | None = None
        self.error: dict[str, JSON] | None = None
        self.started_at: datetime | None = None
        self.completed_at: datetime | None = None
        self.updated_at = updated_at
        self.deadline_at: datetime | None = None
        self.stopping: dict[str, JSON] | None = None
        self.limited = False
        self.admission: str | None = None

    def clone(self) -> "RunRow":
        other = RunRow.__new__(RunRow)
        other.state, other.reason, other.generation = self.state, self.reason, self.generation
        other.seq, other.revision, other.output, other.error = self.seq, self.revision, self.output, self.error
        other.started_at, other.completed_at = self.started_at, self.completed_at
        other.updated_at, other.deadline_at, other.stopping = self.updated_at, self.deadline_at, self.stopping
        other.limited, other.admission = self.limited, self.admission
        return other


@dataclass(frozen=True, slots=True)
class RunHead:
    """What never changes of a run. `input` is JSON text."""

    id: UUID
    tenant_id: UUID
    workflow_id: UUID
    version_id: UUID
    version: int
    input: str
    metadata: str
    trace_id: str
    corr_id: str
    trigger: str = "api"
    depth: int = 0  # runs of StateRail that stand above it: each started the next by an HttpCall


def _queued_at(item: tuple[int, StepRow]) -> tuple[float, int]:
    i, row = item
    return (row.queued_at.timestamp() if row.queued_at else 0.0, i)


class Snapshot:
    """One run: its head, its plan, its rows, and the counters that joins and the end are read from.

    `steps` has the steps that ever left `idle`, by their position in the plan.
    """

    __slots__ = (
        "head",
        "plan",
        "run",
        "steps",
        "resolved",
        "taken",
        "queued",
        "running",
        "faults",
        "_input",
        "_metadata",
    )

    def __init__(self, head: RunHead, plan: Plan, run: RunRow, steps: dict[int, StepRow] | None = None) -> None:
        self.head, self.plan, self.run = head, plan, run
        self.steps = steps if steps is not None else {}
        self.resolved: dict[int, int] = {}  # step -> incoming transitions that are resolved
        self.taken: dict[int, int] = {}  # step -> … and taken
        self.queued: dict[int, None] = {}  # in the order in which they were queued
        self.running: dict[int, None] = {}
        self.faults: dict[int, dict[str, JSON]] = {}
        self._input: JSON = _UNREAD
        self._metadata: JSON = _UNREAD
        self._index()

    @classmethod
    def new(cls, head: RunHead, plan: Plan, now: datetime) -> "Snapshot":
        """A run that does not exist yet."""
        return cls(head, plan, RunRow(now))

    def _index(self) -> None:
        for i, row in self.steps.items():
            if row.taken is not None:
                for edge in self.plan.outgoing[i]:
                    self.resolved[edge.target] = self.resolved.get(edge.target, 0) + 1
                for position in row.taken:
                    target = self.plan.edges[position].target
                    self.taken[target] = self.taken.get(target, 0) + 1
            if row.fault is not None:
                self.faults[i] = row.fault
        for i, row in sorted(self.steps.items(), key=_queued_at):
            if row.state is StepState.QUEUED:
                self.queued[i] = None
            elif row.state is StepState.RUNNING:
                self.running[i] = None

    def apply(self, decision: "Decision") -> None:
        """Take over a decision that was stored."""
        self.run = decision.run
        for i, row in decision.steps.items():
            self.steps[i] = row
            state = row.state
            if state is StepState.QUEUED:
                self.queued[i] = None
                self.running.pop(i, None)
            elif state is StepState.RUNNING:
                self.running[i] = None
                self.queued.pop(i, None)
            else:
                self.queued.pop(i, None)
                self.running.pop(i, None)
            if row.fault is not None:
                self.faults[i] = row.fault
            elif self.faults:
                self.faults.pop(i, None)
        self.resolved.update(decision.resolved)
        self.taken.update(decision.taken)

    @property
    def input(self) -> JSON:
        if self._input is _UNREAD:
            self._input = json.loads(self.head.input)
        return self._input

    @property
    def metadata(self) -> JSON:
        if self._metadata is _UNREAD:
            self._metadata = json.loads(self.head.metadata)
        return self._metadata

    def size(self) -> int:
        """Bytes of the large values that this snapshot holds, roughly."""
        return len(self.head.input) + sum(len(row.output or "") for row in self.steps.values())
