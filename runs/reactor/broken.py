"""The end of a run that the engine cannot go on with, however little of its rows makes sense."""

from datetime import datetime

from runs.machine.decide import decide
from runs.machine.decision import Decision
from runs.machine.snapshot import RunRow, Snapshot, StepRow
from runs.machine.stimuli import EngineError
from runs.store.plans import bare_plan


def end_broken(snapshot: Snapshot, why: str, now: datetime) -> Decision:
    """The run and its open steps end with `engine_error`, from their bare states if nothing else can be read."""
    try:
        return decide(snapshot, EngineError(why), now)
    except Exception:
        plan, rows = bare_plan(list(snapshot.plan.ids)), {i: _bare(row) for i, row in snapshot.steps.items()}
        return decide(Snapshot(snapshot.head, plan, _bare_run(snapshot.run), rows), EngineError(why), now)


def _bare_run(known: RunRow) -> RunRow:
    row = RunRow(known.updated_at)
    row.state, row.generation, row.seq, row.revision = known.state, known.generation, known.seq, known.revision
    row.limited, row.admission = known.limited, known.admission
    return row


def _bare(known: StepRow) -> StepRow:
    row = known.clone()
    row.fault, row.taken = None, None if known.taken is None else ()
    return row
