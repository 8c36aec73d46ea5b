"""The end of a run that the engine cannot go on with, however little of its rows makes sense."""

from datetime import datetime

from runs.machine.decide import decide
from runs.machine.decision import Decision
from runs.machine.snapshot import RunRow, Snapshot
from runs.machine.stimuli import EngineError
from runs.store.plans import bare_plan


def end_broken(snapshot: Snapshot, why: str, now: datetime) -> Decision:
    """The run fails with `engine_error`; its steps end with it, unless it is they that cannot be decided on."""
    try:
        return decide(snapshot, EngineError(why), now)
    except Exception:
        known, row = snapshot.run, RunRow(snapshot.run.updated_at)
        row.state, row.generation, row.seq, row.revision = known.state, known.generation, known.seq, known.revision
        row.limited, row.admission = known.limited, known.admission
        return decide(Snapshot(snapshot.head, bare_plan([]), row), EngineError(why), now)
