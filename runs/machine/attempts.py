"""Attempts: all the ways in which one ends (SEMANTICS 4)."""

from datetime import timedelta
from typing import Any

from runs.machine.decision import Interrupt
from runs.machine.draft import Draft
from runs.machine.routing import fail, led_by_always, succeed
from runs.machine.snapshot import StepRow
from runs.machine.starting import LOSSES_BEFORE_ALONE, ends_in_time
from runs.machine.states import Reason, StepState
from runs.machine.stimuli import Due, Failed, Lost, PutBack, Succeeded
from staterail.core.strict_json import dumps
from workflows.definition.durations import format_duration

JSON = Any
_INTERRUPTED_BY = {
    "operator": "The run was cancelled.",
    "run_timeout": "The run took longer than its timeout.",
    "engine_error": "The engine cannot go on with the run.",
}
_FAILED_BY = {"timeout": Reason.TIMEOUT, "rejected": Reason.REJECTED, "expression_error": Reason.EXPRESSION_ERROR}


def live(draft: Draft, i: int, attempt: int) -> StepRow | None:
    """The row of a running attempt, or None for a late or repeated word of another."""
    row = draft.step(i)
    if row is None or row.attempt != attempt or row.state is not StepState.RUNNING:
        return None
    return row if row.reason is Reason.EXECUTING else None


def on_succeeded(draft: Draft, stimulus: Succeeded) -> None:
    if live(draft, stimulus.step, stimulus.attempt) is None:
        return
    if draft.run.stopping is not None:
        interrupt(draft, stimulus.step)
    else:
        succeed(draft, stimulus.step, stimulus.output)


def on_failed(draft: Draft, stimulus: Failed) -> None:
    if live(draft, stimulus.step, stimulus.attempt) is None:
        return
    if draft.run.stopping is not None:
        interrupt(draft, stimulus.step)
    else:
        retry_or_fail(draft, stimulus.step, stimulus.error, stimulus.draw, stimulus.retry_after)


def retry_or_fail(draft: Draft, i: int, error: dict[str, JSON], draw: float, retry_after: float | None = None) -> None:
    """Queue the next attempt while the budget lasts, else fail the step."""
    row, policy = draft.row(i), draft.plan.steps[i].retry
    again = row.tries < policy.max_attempts and policy.retries(error["code"], bool(error.get("retryable")))
    if not again or (draft.stopped and not led_by_always(draft, i)):
        fail(draft, i, error, _FAILED_BY.get(error["code"], Reason.ERROR))
        return
    ceiling = policy.ceiling(row.tries)
    delay = ceiling * draw if policy.jitter == "full" else ceiling
    if retry_after is not None:
        delay = max(delay, min(timedelta(seconds=min(retry_after, 1e6)), policy.max_interval))
    _again(draft, i, error, Reason.BACKOFF, delay, ceiling)


def _again(draft: Draft, i: int, error: dict[str, JSON], reason: Reason, delay: timedelta, ceiling: timedelta) -> None:
    """running → queued: the next attempt, after `delay`."""
    row, due = draft.row(i), draft.now + delay
    row.error = error
    told = {
        "error": error,
        "duration_ms": draft.duration_ms(row),
        "delay_ms": round(delay / timedelta(milliseconds=1), 3),
        "ceiling_ms": round(ceiling / timedelta(milliseconds=1), 3),
        "due_at": due.isoformat(),
    }
    row = draft.change_step(i, StepState.QUEUED, reason, told)
    row.queued_at = draft.now
    if reason is Reason.BACKOFF:
        row.wake_at = due


def on_lost(draft: Draft, stimulus: Lost) -> None:
    """A worker's death costs none of the budget; a child that dies under a step that lost two before is poisoned."""
    i = stimulus.step
    if live(draft, i, stimulus.attempt) is None:
        return
    if draft.run.stopping is not None:
        interrupt(draft, i)
        return
    row = draft.row(i)
    if stimulus.alone and row.losses >= LOSSES_BEFORE_ALONE:
        row.losses += 1
        message = "Three workers died under this step; it is not tried again until someone retries it."
        fail(draft, i, {"code": "poison", "message": message, "retryable": False}, Reason.POISON)
        return
    row.losses = min(row.losses + 1, LOSSES_BEFORE_ALONE)
    row.tries -= 1
    error = {"code": "worker_lost", "message": "The worker that executed this attempt is gone.", "retryable": True}
    if draft.stopped and not led_by_always(draft, i):
        fail(draft, i, error, Reason.ERROR)
    else:
        _again(draft, i, error, Reason.READY, timedelta(0), timedelta(0))


def on_put_back(draft: Draft, stimulus: PutBack) -> None:
    i = stimulus.step
    if live(draft, i, stimulus.attempt) is None:
        return
    if draft.run.stopping is not None:
        interrupt(draft, i)
        return
    draft.row(i).tries -= 1
    message = "The worker was stopped in good order before this attempt ended."
    error = {"code": "worker_lost", "message": message, "retryable": True, "details": {"orderly": True}}
    if draft.stopped and not led_by_always(draft, i):
        fail(draft, i, error, Reason.INTERRUPTED)
    else:
        _again(draft, i, error, Reason.READY, timedelta(0), timedelta(0))


def interrupt(draft: Draft, i: int) -> None:
    """End a running step because the run ends: no transition of it is taken."""
    assert draft.run.stopping is not None
    message = _INTERRUPTED_BY[draft.run.stopping["kind"]]
    error: dict[str, JSON] = {"code": "interrupted", "message": message, "retryable": False}
    fail(draft, i, error, Reason.INTERRUPTED, routed=False)
    draft.add_fault(i, error["code"], error["message"])  # unhandled, should another step of it be retried alone


def on_due(draft: Draft, stimulus: Due) -> None:
    """A step's `wake_at` has come. Nothing happens where it has moved meanwhile."""
    i = stimulus.step
    assert i is not None
    row = draft.step(i)
    if row is None or row.wake_at is None or row.wake_at > draft.now or draft.run.stopping is not None:
        return
    if row.state is StepState.QUEUED:
        draft.late[i] = None
        return
    if row.state is not StepState.RUNNING:
        return
    if row.reason is Reason.WAITING_TIMER and (not _is_deadline(draft, i, row) or ends_in_time(draft, i)):
        succeed(draft, i, dumps({"woke_at": draft.now.isoformat()}))
        return
    timeout = draft.plan.steps[i].timeout
    if row.holder is not None and not (timeout and row.started_at and row.started_at + timeout <= draft.now):
        on_lost(draft, Lost(i, row.attempt, alone=True))  # its lease is over, and its time is not
        return
    if row.reason is Reason.EXECUTING:
        draft.decision.commands.append(Interrupt(i, row.attempt))
    error = {"code": "timeout", "message": f"No result within {_spoken(timeout)}.", "retryable": True}
    if row.reason is Reason.WAITING_APPROVAL:  # never retried
        error = {"code": "timeout", "message": f"Nobody decided within {_spoken(timeout)}.", "retryable": False}
        fail(draft, i, error, Reason.TIMEOUT)
    else:
        retry_or_fail(draft, i, error, stimulus.draw)


def _spoken(timeout: timedelta | None) -> str:
    return format_duration(timeout) if timeout is not None else "its time"


def _is_deadline(draft: Draft, i: int, row: StepRow) -> bool:
    timeout = draft.plan.steps[i].timeout
    return timeout is not None and row.started_at is not None and row.wake_at == row.started_at + timeout
