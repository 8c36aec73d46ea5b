"""What people may ask of a run: start, cancel, retry, approve (SEMANTICS 5)."""

from collections import deque
from datetime import datetime, timedelta
from typing import Any

from runs.machine.attempts import interrupt
from runs.machine.decision import Interrupt
from runs.machine.draft import Draft
from runs.machine.routing import fail, follow, judge, queue, skip, succeed
from runs.machine.snapshot import RunRow
from runs.machine.states import RUN_FINAL, Reason, RunState, StepState
from runs.machine.stimuli import Cancel, EngineError, ManualTransition, RetryRun, RetryStep
from staterail.core.errors import IllegalTransition, NotFound
from staterail.core.strict_json import dumps

JSON = Any
CANCEL_PATIENCE = timedelta(seconds=10)
_TAKEN_UP = frozenset({Reason.RUN_FAILED, Reason.RUN_CANCELLED})


def on_start(draft: Draft) -> None:
    if draft.run.state is not None:
        return
    draft.change_run(RunState.CREATED, {"trigger": draft.snapshot.head.trigger})
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
    draft: Draft, kind: str, corr_id: str | None, skipped: Reason, *, by: str | None = None, why: str | None = None
) -> None:
    """End what is open without taking a transition; attempts that execute are told and waited for."""
    run = draft.run
    run.stopping = {"kind": kind, "since": draft.now.isoformat(), "corr_id": corr_id, "by": by, "why": why}
    draft.corr_id = corr_id or draft.corr_id
    executing = [i for i in _running(draft) if _reason(draft, i) is Reason.EXECUTING]
    if executing:
        draft.change_run(RunState.RUNNING, {"reason": Reason.CANCELLING, "kind": kind, "by": by, "why": why})
        for i in executing:
            row = draft.step(i)
            assert row is not None
            draft.decision.commands.append(Interrupt(i, row.attempt))
    for i in range(len(draft.plan.steps)):
        if draft.state(i) in (StepState.IDLE, StepState.QUEUED):
            skip(draft, i, skipped, routed=False)
    for i in _running(draft):  # after the skips: nothing is left that could follow
        if _reason(draft, i) is not Reason.EXECUTING:
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


# Retry


def on_retry_run(draft: Draft, stimulus: RetryRun) -> None:
    run = draft.run
    if run.state not in (RunState.FAILED, RunState.CANCELLED):
        raise IllegalTransition(f"The run is {run.state}: only a failed or cancelled run can be retried.")
    again = [i for i, row in draft.snapshot.steps.items() if _failed_for_good(draft, i, row.reason)]
    stopped = [i for i, row in draft.snapshot.steps.items() if row.reason in _TAKEN_UP]
    if not again and not stopped:
        raise IllegalTransition("No step of this run failed unhandled or was interrupted: there is nothing to retry.")
    reopen(draft, stimulus.corr_id, stimulus.by)
    reset = set(again) | set(stopped)
    reset |= _reach(draft, reset, lambda i: draft.state(i) is StepState.SKIPPED)
    _open_anew(draft, again, reset)


def _failed_for_good(draft: Draft, i: int, reason: Reason | None) -> bool:
    if draft.state(i) is not StepState.FAILED:
        return False
    return reason is Reason.INTERRUPTED or i in draft.snapshot.faults


def on_retry_step(draft: Draft, stimulus: RetryStep) -> None:
    run, i = draft.run, draft.plan.index.get(stimulus.step_id)
    if i is None:
        raise NotFound(f"This run has no step {stimulus.step_id[:63]!r}.")
    if run.stopping is not None or run.state not in (RunState.FAILED, RunState.RUNNING):
        state = "being cancelled" if run.stopping is not None else run.state
        raise IllegalTransition(f"The run is {state}: a step is retried in a failed or running run.")
    if draft.state(i) is not StepState.FAILED:
        raise IllegalTransition(f"The step is {draft.state(i)}: only a failed step can be retried.")
    below = _reach(draft, {i}, lambda _: True)
    busy = [draft.plan.ids[j] for j in below if draft.state(j) in (StepState.QUEUED, StepState.RUNNING)]
    if busy:
        raise IllegalTransition(f"{busy[0]} follows this step and is {draft.state(draft.plan.index[busy[0]])} now.")
    taken_up: set[int] = set()
    if draft.stopped or run.state is RunState.FAILED:  # else what the failure stopped would never run
        taken_up = {j for j, row in draft.snapshot.steps.items() if row.reason is Reason.RUN_FAILED}
        taken_up |= _reach(draft, taken_up, lambda j: draft.state(j) is StepState.SKIPPED)
    if run.state is RunState.FAILED:
        reopen(draft, stimulus.corr_id, stimulus.by, step_id=stimulus.step_id)
    else:
        draft.corr_id = stimulus.corr_id or draft.corr_id
        run.generation += 1
    _open_anew(draft, [i], {i} | below | taken_up, override=stimulus.input)


def reopen(draft: Draft, corr_id: str | None, by: str, step_id: str | None = None) -> None:
    """failed or cancelled → pending, in the next generation."""
    run = draft.run
    draft.corr_id = corr_id or draft.corr_id
    run.generation += 1
    told: dict[str, JSON] = {"reason": None, "by": by}
    if step_id is not None:
        told["step_id"] = step_id
    draft.change_run(RunState.PENDING, told)
    run.started_at = run.completed_at = run.deadline_at = run.output = run.error = run.stopping = None


def _reach(draft: Draft, sources: set[int], through: Any) -> set[int]:
    """Steps that can be reached from `sources` by way of steps for which `through` holds."""
    found: set[int] = set()
    waiting = deque(sources)
    while waiting:
        for edge in draft.plan.outgoing[waiting.popleft()]:
            target = edge.target
            if target not in found and target not in sources and through(target):
                found.add(target)
                waiting.append(target)
    return found


def _open_anew(draft: Draft, again: list[int], reset: set[int], *, override: str | None = None) -> None:
    """Queue the steps of `again`; make the others of `reset` idle, and judge their joins anew."""
    order = [i for i in draft.plan.topological() if i in reset and draft.state(i) is not StepState.IDLE]
    queued = set(again)
    for i in order:
        draft.clear_fault(i)
        _withdraw(draft, i)
    for i in order:
        if i in queued:
            queue(draft, i, override=override)
        else:
            row = draft.change_step(i, StepState.IDLE, None, {})
            row.queued_at = row.started_at = row.completed_at = row.error = row.taken = row.input = None
            row.override = False
            row.set_output(None)
    skipped = deque(i for i in order if i not in queued and judge(draft, i))
    follow(draft, skipped)


def _withdraw(draft: Draft, i: int) -> None:
    """Open the step's transitions anew: its targets' joins forget them."""
    row = draft.step(i)
    assert row is not None
    if row.taken is None:
        return
    for edge in draft.plan.outgoing[i]:
        draft.decision.resolved[edge.target] = draft.resolved(edge.target) - 1
        if edge.position in row.taken:
            draft.decision.taken[edge.target] = draft.taken(edge.target) - 1


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
        succeed(draft, i, dumps(decision))
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
    if draft.run.state in RUN_FINAL:
        return
    stop(draft, "engine_error", None, Reason.RUN_FAILED)
    for i in _running(draft):
        interrupt(draft, i)
    draft.run.stopping = None
    error = {"code": "engine_error", "message": stimulus.message}
    draft.change_run(RunState.FAILED, {"reason": Reason.ENGINE_ERROR, "error": error}, Reason.ENGINE_ERROR)
    draft.run.error = error
