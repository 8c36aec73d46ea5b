"""Opening a run anew: retryRun and retryStep (SEMANTICS 5)."""

from collections import deque
from typing import Any

from runs.machine.draft import Draft
from runs.machine.routing import follow, judge, queue
from runs.machine.states import Reason, RunState, StepState
from runs.machine.stimuli import RetryRun, RetryStep
from staterail.core.errors import IllegalTransition, NotFound

JSON = Any
_TAKEN_UP = frozenset({Reason.RUN_FAILED, Reason.RUN_CANCELLED})


def on_retry_run(draft: Draft, stimulus: RetryRun) -> None:
    run = draft.run
    if run.state not in (RunState.FAILED, RunState.CANCELLED):
        raise IllegalTransition(f"The run is {run.state}: only a failed or cancelled run can be retried.")
    again = [i for i in draft.snapshot.faults if draft.state(i) is StepState.FAILED]  # interrupted is a fault too
    stopped = [i for i, row in draft.snapshot.steps.items() if row.reason in _TAKEN_UP]
    if not again and not stopped:
        raise IllegalTransition("No step of this run failed unhandled or was interrupted: there is nothing to retry.")
    reopen(draft, stimulus.corr_id, stimulus.by)
    reset = set(again) | set(stopped)
    reset |= _reach(draft, reset, lambda i: draft.state(i) is StepState.SKIPPED)
    _open_anew(draft, again, reset)


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
    # In a running run too: what a failure stopped there would never run otherwise.
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
    follow(draft, skipped, sweep=True)


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
