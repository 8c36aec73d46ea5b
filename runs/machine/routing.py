"""From the end of a step to what follows: joins, skips, the stop after a failure (SEMANTICS 3)."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from runs.machine.draft import Draft
from runs.machine.resolving import Failing, resolve_always, resolve_failure, resolve_success
from runs.machine.snapshot import StepRow
from runs.machine.states import Reason, StepState

JSON = Any


def succeed(draft: Draft, i: int, output: str, *, details: dict[str, JSON] | None = None) -> None:
    """End a running step with its output (JSON text), and route on.

    `details` are kept in the step's error where a condition fails, for its output is not then.
    """
    row = draft.row(i)
    if draft.plan.plain[i]:
        row.set_output(output)
        taken, told = draft.plan.plainly_taken[i], draft.plan.plainly_told[i]
    else:
        before = row.state
        row.set_output(output)
        row.state = StepState.SUCCEEDED  # a `when` reads its source as it has just ended
        try:
            taken, told = resolve_success(draft, i)
        except Failing as failing:
            row.state = before
            row.set_output(None)
            error = expression_error(str(failing))
            if details is not None:
                error["details"] = details
            fail(draft, i, error, Reason.EXPRESSION_ERROR, broken=failing)
            return
        row.state = before
    duration = draft.duration_ms(row)
    row = draft.change_step(i, StepState.SUCCEEDED, None, {"duration_ms": duration, "resolved": told})
    row.completed_at, row.taken, row.error = draft.now, taken, None
    follow(draft, [i])


def fail(
    draft: Draft, i: int, error: dict[str, JSON], reason: Reason, *, broken: Failing | None = None, routed: bool = True
) -> None:
    """End a queued or running step as failed for good, and route on.

    `broken` is the condition that made it fail. Not `routed`: a cancel or the run's
    timeout ended it, and no transition is taken.
    """
    row = draft.row(i)
    before, duration = row.state, draft.duration_ms(row) if row.state is StepState.RUNNING else None
    row.error = error
    fault: str | None = None
    taken: tuple[int, ...] = ()
    if routed:
        row.state = StepState.FAILED
        taken, told, fault = resolve_failure(draft, i, error["code"], broken)
        row.state = before
    else:
        told = [edge.told_other for edge in draft.plan.outgoing[i]]
    row = draft.change_step(i, StepState.FAILED, reason, {"error": error, "duration_ms": duration, "resolved": told})
    row.completed_at, row.taken = draft.now, taken
    row.set_output(None)
    if routed and not taken:
        draft.add_fault(i, error["code"], error["message"])
    elif fault is not None:
        draft.add_fault(i, "expression_error", fault)
    follow(draft, [i], sweep=True)


def skip(draft: Draft, i: int, reason: Reason, *, routed: bool = True) -> None:
    """Skip an idle or queued step. Its transitions are yet to be followed."""
    taken: tuple[int, ...] = ()
    fault: str | None = None
    if not routed:
        told = [
            edge.told_other if edge.on == "always" else edge.told(False, "source_skipped")
            for edge in draft.plan.outgoing[i]
        ]
    elif any(edge.on == "always" for edge in draft.plan.outgoing[i]):
        row = draft.row(i)
        before, row.state = row.state, StepState.SKIPPED
        taken, told, fault = resolve_always(draft, i)
        row.state = before
    else:
        told = [edge.told(False, "source_skipped") for edge in draft.plan.outgoing[i]]
    row = draft.change_step(i, StepState.SKIPPED, reason, {"resolved": told})
    row.completed_at, row.taken, row.error = draft.now, taken, None
    if fault is not None:
        draft.add_fault(i, "expression_error", fault)


def expression_error(message: str) -> dict[str, JSON]:
    return {"code": "expression_error", "message": message, "retryable": False}


# What follows


def follow(draft: Draft, ended: Iterable[int], *, sweep: bool = False) -> None:
    """Bring the ends of steps to their targets, skips and their ends included, until nothing follows.

    `sweep`: a failure may just have stopped the run; what is queued then is skipped at once.
    """
    waiting = deque(ended)
    if sweep:
        sweep_queued(draft, waiting)
    while waiting:
        i = waiting.popleft()
        row = draft.row(i)
        taken = row.taken or ()
        for edge in draft.plan.outgoing[i]:
            target = edge.target
            draft.decision.resolved[target] = draft.resolved(target) + 1
            if edge.position in taken:
                draft.decision.taken[target] = draft.taken(target) + 1
            if judge(draft, target):
                waiting.append(target)
                if draft.stopped:
                    sweep_queued(draft, waiting)


def judge(draft: Draft, i: int) -> bool:
    """Queue or skip an idle step if its join is decided; whether it was skipped."""
    if draft.state(i) is not StepState.IDLE:
        return False
    join, taken = draft.plan.steps[i].join, draft.taken(i)
    incoming = draft.plan.incoming[i]
    all_resolved = draft.resolved(i) >= len(incoming)
    if not incoming:
        ready = True
    elif join == "any":
        ready = taken > 0
    else:
        ready = all_resolved and (taken > 0 if join == "all" else taken == len(incoming))
    if ready:
        if draft.stopped and not led_by_always(draft, i):
            skip(draft, i, Reason.RUN_FAILED)
            return True
        queue(draft, i)
        return False
    if all_resolved:
        skip(draft, i, _why_skipped(draft, i))
        return True
    return False


def queue(draft: Draft, i: int, *, override: str | None = None) -> StepRow:
    """Queue a step for a new budget of attempts, in the run's present generation."""
    row = draft.change_step(i, StepState.QUEUED, Reason.READY, {})
    row.generation, row.tries, row.losses = draft.run.generation, 0, 0
    row.queued_at, row.started_at, row.completed_at = draft.now, None, None
    row.input, row.override = override, override is not None
    row.error, row.taken, row.fault = None, None, None
    row.set_output(None)
    return row


def sweep_queued(draft: Draft, waiting: deque[int]) -> None:
    """Skip what is queued in a run that an unhandled failure has stopped, but for what `always` leads to."""
    if not draft.stopped or not draft.queued:
        return
    rows = {**dict.fromkeys(draft.snapshot.queued), **dict.fromkeys(draft.decision.steps)}
    for i in rows:
        if draft.state(i) is StepState.QUEUED and not led_by_always(draft, i):
            skip(draft, i, Reason.RUN_FAILED)
            waiting.append(i)


def led_by_always(draft: Draft, i: int) -> bool:
    for edge in draft.plan.incoming[i]:
        if edge.on == "always":
            source = draft.step(edge.source)
            if source is not None and source.taken is not None and edge.position in source.taken:
                return True
    return False


def _why_skipped(draft: Draft, i: int) -> Reason:
    """`condition` if a transition not taken came from a step that ran, `dead_path` if all came from skipped ones."""
    for edge in draft.plan.incoming[i]:
        source = draft.step(edge.source)
        if source is not None and source.state is not StepState.SKIPPED and edge.position not in (source.taken or ()):
            return Reason.CONDITION
    return Reason.DEAD_PATH
