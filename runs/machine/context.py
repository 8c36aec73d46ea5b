"""What an expression sees: the values of the dotted names that it references, and no more."""

from collections.abc import Iterable
from typing import Any

from runs.machine.draft import Draft
from runs.machine.snapshot import StepRow
from runs.machine.states import StepState

JSON = Any
LIMIT_BYTES = 1024 * 1024  # of what templates make: a resolved config, a run's output
_IDLE = StepRow()


def context_of(draft: Draft, references: Iterable[str]) -> dict[str, JSON]:
    """The values by dotted name. A secret reads as `***`: its value is put in where the step executes."""
    return {name: _read(draft, name) for name in references}


def _read(draft: Draft, name: str) -> JSON:
    i, field = draft.plan.reader(name)
    if i is not None:
        row = draft.step(i) or _IDLE
        if field == "output":
            return row.value if row.state is StepState.SUCCEEDED else None
        if field == "error":
            return row.error if row.state is StepState.FAILED else None
        return row.attempt if field == "attempt" else row.state.value
    head = draft.snapshot.head
    if field == "input":
        return draft.snapshot.input
    if field == "run.metadata":
        return draft.snapshot.metadata
    if field == "run.id":
        return str(head.id)
    return head.corr_id if field == "run.corr_id" else "***"
