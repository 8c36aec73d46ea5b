"""What follows from a stimulus: rows and events to store, then commands to carry out."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from runs.machine.snapshot import RunRow, StepRow
from workflows.definition.templates import Template

JSON = Any


class Event(NamedTuple):
    """One fact, as in `staterail.events.v1`; what is the same for all events of a run is the run's."""

    seq: int
    event_type: str
    step_id: str | None
    generation: int
    attempt: int | None
    state_before: str | None
    state_after: str | None
    payload: dict[str, JSON]
    ts: datetime
    corr_id: str


class Execute(NamedTuple):
    """Execute an attempt. Where `template` is given, the config still wants its secrets:
    render it with `context` and their values."""

    step: int
    attempt: int
    generation: int
    config: JSON
    alone: bool
    template: Template | None
    context: dict[str, JSON] | None


class Interrupt(NamedTuple):
    """Tell the executor of an attempt that nobody waits for it any more."""

    step: int
    attempt: int


Command = Execute | Interrupt


@dataclass(slots=True)
class Decision:
    """What becomes of a run, decided on `before`: it is stored only where that one's revision still stands."""

    run_id: UUID
    before: RunRow
    run: RunRow
    steps: dict[int, StepRow] = field(default_factory=dict)
    known: dict[int, StepRow] = field(default_factory=dict)  # of `steps`, those that had a row, as it was
    resolved: dict[int, int] = field(default_factory=dict)  # join counters that changed
    taken: dict[int, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    @property
    def expected(self) -> int:
        return self.before.revision

    @property
    def changes(self) -> bool:
        """Whether there is anything to store."""
        return bool(self.events or self.steps)
