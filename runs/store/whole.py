"""Runs as of one moment, though a run's row and its steps' are read by two statements.

The guard refuses what was decided on half a change, but a decision that nothing is to be done, or that a
command is refused, is never stored: it would stand on a state that never was. So each step's row is read
together with its run's revision, and a run that was written to in between is read again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from runs.store.interface import Loaded

OF = "of"  # the column that holds the run's revision as of the read of its steps
TRIES = 20  # of a run that changes all the time
Read = Callable[[Collection[UUID]], tuple[dict[UUID, Loaded], list[UUID]]]
"""Runs, and the ids of those that were written to while they were read."""


def load_whole(read: Read, run_ids: Collection[UUID]) -> dict[UUID, Loaded]:
    found, torn = read(run_ids)
    for _ in range(TRIES):
        if not torn:
            break
        again, torn = read(torn)
        found.update(again)
    return found


def is_torn(run: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the run was written to between the read of its row and that of its steps'."""
    return any(step[OF] != run["revision"] for step in steps)
