"""What the caller may do now, with the reason where not: buttons are drawn from this, services check again."""

from typing import Any

from runs.approvals import Decider
from runs.machine.states import RUN_FINAL, Reason, RunState, StepState
from runs.models import StepRun, WorkflowRun
from staterail.core.actor import Actor
from staterail.core.permissions import allowed

Action = dict[str, Any]
_OPERATE = "This needs the permission workflows.operate_workflow."


def run_actions(actor: Actor, run: WorkflowRun) -> list[Action]:
    """cancel, retry, run_again."""
    if not allowed(actor, "workflows.operate_workflow", run):
        return [_no(action, _OPERATE) for action in ("cancel", "retry", "run_again")]
    cancel = _yes("cancel")
    if run.state in RUN_FINAL:
        cancel = _no("cancel", f"The run is {run.state}.")
    elif run.stopping is not None:
        cancel = _no("cancel", "The run is being cancelled.")
    retry = _yes("retry")
    if run.state not in (RunState.FAILED, RunState.CANCELLED):
        retry = _no("retry", f"The run is {run.state}: only a failed or cancelled run can be retried.")
    return [cancel, retry, _yes("run_again")]


def step_actions(decider: Decider, run: WorkflowRun, step: StepRun) -> list[Action]:
    """retry_step, and for an approval approve and reject."""
    actions = [_retry_step(decider.actor, run, step)]
    if step.kind == "HumanApproval":
        why = why_not_decide(decider, run, step)
        actions += [_no(name, why) if why else _yes(name) for name in ("approve", "reject")]
    return actions


def _retry_step(actor: Actor, run: WorkflowRun, step: StepRun) -> Action:
    if not allowed(actor, "workflows.operate_workflow", run):
        return _no("retry_step", _OPERATE)
    if step.state != StepState.FAILED:
        return _no("retry_step", f"The step is {step.state}: only a failed step can be retried.")
    if run.stopping is not None or run.state not in (RunState.FAILED, RunState.RUNNING):
        return _no("retry_step", f"The run is {run.state}.")
    return _yes("retry_step")


def why_not_decide(decider: Decider, run: WorkflowRun, step: StepRun) -> str | None:
    """Why the caller may not approve or reject this step now, or None where they may."""
    if step.reason != Reason.WAITING_APPROVAL:
        return f"The approval is {step.state}."
    if run.stopping is not None:
        return "The run is being cancelled."
    if not allowed(decider.actor, "runs.decide_approval", run):
        return "This needs the permission runs.decide_approval."
    return decider.why_not(
        getattr(step, "config", step.input), run.started_by_ref
    )  # see selectors: input may be hidden


def _yes(action: str) -> Action:
    return {"action": action, "allowed": True, "reason": None}


def _no(action: str, reason: str | None) -> Action:
    return {"action": action, "allowed": False, "reason": reason}
