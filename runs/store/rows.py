"""Rows of the tables <-> rows of a snapshot, the same for every store."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from runs.machine.plan import Plan
from runs.machine.snapshot import RunHead, RunRow, Snapshot, StepRow
from runs.machine.states import Reason, RunState, StepState
from runs.store.interface import Loaded
from runs.store.plans import bare_plan, compiled
from staterail.core.strict_json import dumps_known, loads
from workflows.definition.parsing import BrokenDefinition

JSON = Any

HEAD_COLUMNS = (
    "id", "tenant_id", "workflow_id", "version_id", "input", "metadata", "trace_id", "corr_id", "trigger", "depth",
)  # fmt: skip
RUN_COLUMNS = (
    "state", "reason", "generation", "seq", "revision", "output", "error", "started_at", "completed_at", "updated_at",
    "deadline_at", "stopping", "admission",
)  # fmt: skip
STEP_COLUMNS = (
    "state", "reason", "attempt", "generation", "tries", "losses", "wake_at", "queued_at", "started_at",
    "completed_at", "input", "override", "output", "error", "taken", "fault", "breaker", "asks", "dead", "holder",
)  # fmt: skip

RUN_STEPS = ("seq", "revision", "updated_at")
"""What a run's row takes while nothing but its steps changes."""
STEP_END = ("state", "reason", "wake_at", "completed_at", "output", "taken")
"""What a step's row takes where an attempt succeeds: most of all changes."""


def only_steps_change(run: RunRow, before: RunRow) -> bool:
    """Whether of the run's row only RUN_STEPS differ."""
    return (
        run.state is before.state and run.reason is before.reason and run.generation == before.generation
        and run.output is before.output and run.error is before.error and run.started_at is before.started_at
        and run.completed_at is before.completed_at and run.deadline_at is before.deadline_at
        and run.stopping is before.stopping and run.admission == before.admission
    )  # fmt: skip


def only_ends(row: StepRow, known: StepRow | None) -> bool:
    """Whether of a step's row only STEP_END differ: an attempt that executed has succeeded."""
    return (
        known is not None and known.reason is Reason.EXECUTING and row.state is StepState.SUCCEEDED
        and row.attempt == known.attempt and row.generation == known.generation and row.tries == known.tries
        and row.losses == known.losses and row.queued_at is known.queued_at and row.started_at is known.started_at
        and row.input is known.input and row.override is known.override and row.error is known.error
        and row.fault is known.fault and row.breaker is known.breaker and row.holder is known.holder
    )  # fmt: skip


def text_of(value: JSON) -> str | None:
    return None if value is None else dumps_known(value)


def taken_ids(plan: Plan, row: StepRow) -> list[str] | None:
    """The transitions taken, by id: what `step_run.taken` holds."""
    return None if row.taken is None else [plan.edges[position].id for position in row.taken]


def run_row(known: Mapping[str, Any]) -> RunRow:
    """A run's row from its columns; JSON columns as text, times aware."""
    row = RunRow(known["updated_at"])
    row.state = RunState(known["state"])
    row.reason = Reason(known["reason"]) if known["reason"] else None
    row.generation, row.seq, row.revision = known["generation"], known["seq"], known["revision"]
    row.output, row.error = known["output"], _parsed(known["error"])
    row.started_at, row.completed_at = known["started_at"], known["completed_at"]
    row.deadline_at, row.stopping = known["deadline_at"], _parsed(known["stopping"])
    if row.stopping is not None:
        datetime.fromisoformat(row.stopping["since"])  # else nothing could be decided, not even an end
    row.limited, row.admission = bool(known["limited"]), known["admission"]
    return row


def step_row(plan: Plan, known: Mapping[str, Any]) -> StepRow:
    """A step's row from its columns; JSON columns as text, times aware."""
    row = StepRow()
    row.state = StepState(known["state"])
    row.reason = Reason(known["reason"]) if known["reason"] else None
    row.attempt, row.generation, row.tries, row.losses = (
        known["attempt"], known["generation"], known["tries"], known["losses"],
    )  # fmt: skip
    row.wake_at, row.queued_at, row.started_at = known["wake_at"], known["queued_at"], known["started_at"]
    row.completed_at, row.override = known["completed_at"], bool(known["override"])
    row.input = known["input"] if row.override else None
    row.set_output(known["output"])
    row.error, row.fault, row.breaker = _parsed(known["error"]), _parsed(known["fault"]), known["breaker"]
    if row.fault is not None and not {"seq", "generation", "code", "message"} <= set(row.fault):
        raise ValueError(f"a fault without its parts: {str(row.fault)[:100]}")
    row.holder = known["holder"]
    taken = _parsed(known["taken"])
    row.taken = None if taken is None else tuple(plan.edge_index[id] for id in taken)
    return row


def _parsed(text: str | None) -> JSON:
    return None if text is None else loads(text, max_depth=200)


def loaded(
    run: Mapping[str, Any],
    steps: Iterable[Mapping[str, Any]],
    plan_of: Callable[[UUID], Plan | BrokenDefinition | None],
) -> Loaded:
    """A snapshot out of rows; `broken` where the definition or a row cannot be read."""
    steps = list(steps)
    plan = _own_plan(run["definition"]) if run["definition"] is not None else plan_of(run["version_id"])
    broken = None if isinstance(plan, Plan) else f"The definition cannot be read: {plan or 'it is gone'}"
    head = RunHead(
        id=run["id"], tenant_id=run["tenant_id"], workflow_id=run["workflow_id"], version_id=run["version_id"],
        version=run["version"], input=run["input"], metadata=run["metadata"], trace_id=run["trace_id"],
        corr_id=run["corr_id"], trigger=run["trigger"], depth=run["depth"],
    )  # fmt: skip
    if isinstance(plan, Plan):
        try:
            rows = {plan.index[known["step_id"]]: step_row(plan, known) for known in steps}
            return Loaded(Snapshot(head, plan, run_row(run), rows), run["lease_owner"])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            broken = f"A row of this run cannot be read: {type(error).__name__}: {error}"
    bare = bare_plan([known["step_id"] for known in steps])
    rows = {i: _readable_step(bare, known) for i, known in enumerate(steps)}
    return Loaded(Snapshot(head, bare, _readable(run), rows), run["lease_owner"], broken)


def _own_plan(text: str) -> Plan | BrokenDefinition:
    """The plan of a test run, which has its own copy of the draft."""
    try:
        return compiled(_parsed(text))
    except ValueError as error:
        return BrokenDefinition(str(error))


def _readable(run: Mapping[str, Any]) -> RunRow:
    """What is needed to end a run that cannot be read as it stands."""
    row = RunRow(run["updated_at"])
    row.state = RunState(run["state"]) if run["state"] in set(RunState) else RunState.RUNNING
    row.generation, row.seq, row.revision = run["generation"], run["seq"], run["revision"]
    row.limited, row.admission = bool(run["limited"]), run["admission"]
    return row


def _readable_step(plan: Plan, known: Mapping[str, Any]) -> StepRow:
    """The same of a step: as it is, but for its transitions; what cannot be read counts as executing."""
    try:
        return step_row(plan, {**known, "taken": None if known["taken"] is None else "[]", "fault": None})
    except (KeyError, ValueError, TypeError, AttributeError):
        row = StepRow()
        row.state, row.reason = StepState.RUNNING, Reason.EXECUTING
        row.attempt, row.generation = known["attempt"], known["generation"]
        return row
