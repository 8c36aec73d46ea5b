"""What may be asked of a run: start, cancel, approve, give up (SEMANTICS 5; `retrying` has the retries)."""

from datetime import datetime, timedelta
from typing import Any

from runs.machine.attempts import interrupt
from runs.machine.decision import Interrupt
from runs.machine.draft import Draft
from runs.machine.routing import fail, queue, skip, succeed
from runs.machine.snapshot import RunRow
from runs.machine.states import RUN_FINAL, Reason, RunState, StepState
from runs.machine.stimuli import Cancel, EngineError, ManualTransition
from staterail.core.errors import IllegalTransition, NotFound
from staterail.core.strict_json import dumps

JSON = Any
CANCEL_PATIENCE = timedelta(seconds=10)


def on_start(draft: Draft) -> None:
    if draft.run.state is not None:
        return
    draft.change_run(RunState.CREATED, {"reason": None, "trigger": draft.snapshot.head.trigger})
    draft.change_run(RunState.PENDING, {"reason": None})
    for i in draft.plan.starts:
        queue(draft, i)


# Cancel, and the run's own timeout


def on_cancel(draft: Draft, stimulus: Cancel) -> None:
    run = draft.run
    if run.state is RunState.CANCELLED or run.stopping is not None:
        return
    if run.state in RUN_FINAL:
        raise IllegalTransition(f"The run is {run.state} already: there is nothing to cancel.")
    stop(draft, "operator", stimulus.corr_id, Reason.RUN_CANCELLED, by=stimulus.by, why=stimulus.reason)


def on_run_due(draft: Draft) -> None:
    """The run's deadline, or the end of the patience with attempts that were told to end."""
    run = draft.run
    if run.stopping is not None:
        if draft.now >= patience_end(run.stopping):
            for i in _running(draft):
                interrupt(draft, i)
        return
    if run.state is RunState.RUNNING and run.deadline_at is not None and run.deadline_at <= draft.now:
        stop(draft, "run_timeout", None, Reason.RUN_FAILED)


def patience_end(stopping: dict[str, JSON]) -> datetime:
    return datetime.fromisoformat(stopping["since"]) + CANCEL_PATIENCE


def run_due(run: RunRow) -> datetime | None:
    """When `on_run_due` has something to do."""
    if run.stopping is not None:
        return patience_end(run.stopping)
    return run.deadline_at if run.state is RunState.RUNNING else None


def stop(
    draft: Draft, kind: str, corr_id: str | None, skipped: Reason, *, by: str | None = None, why: str | None = None,
    waits: bool = True,
) -> None:  # fmt: skip
    """End what is open without taking a transition; attempts that execute are told, and waited for if it `waits`."""
    run = draft.run
    run.stopping = {"kind": kind, "since": draft.now.isoformat(), "corr_id": corr_id, "by": by, "why": why}
    draft.corr_id = corr_id or draft.corr_id
    executing = [i for i in _running(draft) if _reason(draft, i) is Reason.EXECUTING]
    if executing and waits:
        draft.change_run(RunState.RUNNING, {"reason": Reason.CANCELLING, "kind": kind, "by": by, "why": why})
    for i in executing:
        row = draft.step(i)
        assert row is not None
        draft.decision.commands.append(Interrupt(i, row.attempt))
    for i in range(len(draft.plan.steps)):
        if draft.state(i) in (StepState.IDLE, StepState.QUEUED):
            skip(draft, i, skipped, routed=False)
    for i in _running(draft):  # after the skips: nothing is left that could follow
        if not waits or _reason(draft, i) is not Reason.EXECUTING:
            interrupt(draft, i)
    count_resolved(draft)


def count_resolved(draft: Draft) -> None:
    """All transitions are resolved, none by a step that still runs: the joins' counters follow from the rows."""
    for i, incoming in enumerate(draft.plan.incoming):
        ended = [edge for edge in incoming if (row := draft.step(edge.source)) is not None and row.taken is not None]
        draft.decision.resolved[i] = len(ended)


def _running(draft: Draft) -> list[int]:
    ids = {**draft.snapshot.running, **dict.fromkeys(draft.decision.steps)}
    return [i for i in ids if draft.state(i) is StepState.RUNNING]


def _reason(draft: Draft, i: int) -> Reason | None:
    row = draft.step(i)
    return row.reason if row is not None else None


# Approve


def on_manual_transition(draft: Draft, stimulus: ManualTransition) -> None:
    i = draft.plan.index.get(stimulus.step_id)
    if i is None:
        raise NotFound(f"This run has no step {stimulus.step_id[:63]!r}.")
    row = draft.step(i)
    if draft.plan.steps[i].kind != "HumanApproval":
        raise IllegalTransition(f"{stimulus.step_id} is no approval.")
    if row is None or row.state is not StepState.RUNNING or draft.run.stopping is not None:
        raise IllegalTransition(_decided(draft, i))
    draft.corr_id = stimulus.corr_id or draft.corr_id
    decision = {
        "action": stimulus.action, "actor": stimulus.actor, "comment": stimulus.comment, "data": stimulus.data,
        "at": draft.now.isoformat(),
    }  # fmt: skip
    if stimulus.action == "approve":
        succeed(draft, i, dumps(decision), details=decision)
    else:
        message = stimulus.comment or f"Rejected by {stimulus.actor}."
        error = {"code": "rejected", "message": message, "retryable": False, "details": decision}
        fail(draft, i, error, Reason.REJECTED)


def _decided(draft: Draft, i: int) -> str:
    """Who decided what and when, or why nobody can."""
    row = draft.step(i)
    if row is None or row.state in (StepState.IDLE, StepState.QUEUED):
        return "The approval has not been reached yet."
    details = row.value if row.state is StepState.SUCCEEDED else (row.error or {}).get("details")
    if isinstance(details, dict) and "action" in details:
        verb = "approved" if details["action"] == "approve" else "rejected"
        return f"{details['actor']} {verb} this at {details['at']}."
    return f"The approval is over: {row.state} ({row.reason})."


def on_engine_error(draft: Draft, stimulus: EngineError) -> None:
    """End a run that the engine cannot go on with; what is open says `run_failed` or `interrupted`."""
    if draft.run.state is None or draft.run.state in RUN_FINAL:
        return
    stop(draft, "engine_error", None, Reason.RUN_FAILED, waits=False)
    draft.run.stopping = None
    error = {"code": "engine_error", "message": stimulus.message}
    draft.change_run(RunState.FAILED, {"reason": Reason.ENGINE_ERROR, "error": error}, Reason.ENGINE_ERROR)
    draft.run.error = error
