"""Attempts: how a queued step starts, and all the ways in which an attempt ends (SEMANTICS 4)."""

import json
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from runs.machine.context import context_of
from runs.machine.decision import Execute, Interrupt
from runs.machine.draft import Draft
from runs.machine.routing import LIMIT_BYTES, expression_error, fail, led_by_always, succeed
from runs.machine.snapshot import StepRow
from runs.machine.states import Reason, RunState, StepState
from runs.machine.stimuli import Due, Failed, Lost, PutBack, StartReady, Succeeded
from staterail.core.strict_json import dumps
from workflows.definition.durations import parse_duration
from workflows.definition.expressions import ExpressionError

JSON = Any
LOSSES_BEFORE_ALONE = 2
MAX_WAIT = timedelta(days=366)
_UNASKED = datetime.max.replace(tzinfo=UTC)
_FAILED_BY = {"timeout": Reason.TIMEOUT, "rejected": Reason.REJECTED, "expression_error": Reason.EXPRESSION_ERROR}


# Beginning


def start_ready(draft: Draft, stimulus: StartReady) -> None:
    """Start queued steps: rows (Delay, HumanApproval) at once, the others into free threads."""
    if draft.run.stopping is not None or draft.run.state not in (RunState.PENDING, RunState.RUNNING):
        return
    room = stimulus.room
    changed = list(draft.decision.steps)
    for i in chain(draft.snapshot.queued, changed):
        row = draft.step(i)
        if row is None or row.state is not StepState.QUEUED or not (row.reason is Reason.READY or i in draft.late):
            continue
        if draft.plan.steps[i].circuit_breaker is not None and stimulus.gates.get(i, _UNASKED) is not None:
            _at_breaker(draft, i, stimulus.gates.get(i))
        elif not draft.plan.executed[i]:
            _start(draft, i, stimulus)
        elif room > 0:
            room -= _start(draft, i, stimulus)
        elif row.reason is not Reason.READY:
            make_ready(draft, i)
        elif not draft.plan.waits and not draft.late:
            return  # 5,000 ready steps cost nothing while no thread is free


def _start(draft: Draft, i: int, stimulus: StartReady) -> bool:
    """queued → running, or → failed where the config cannot be made; whether it takes a thread."""
    plan, template = draft.plan, draft.plan.configs[i]
    if draft.run.state is RunState.PENDING:
        begin_run(draft)
    row = draft.row(i)
    config: JSON = None
    try:
        if row.override:
            text = row.input or "null"
            config = json.loads(text)
        elif template.constant:
            config, text = template.render({}), plan.config_texts[i] or "null"
        else:
            config = template.render(context_of(draft, template.references))
            text = dumps(config)
            if len(text) > LIMIT_BYTES // 4 and len(text.encode()) > LIMIT_BYTES:
                raise ExpressionError("the resolved config is larger than 1 MiB")
        missing = set() if row.override else template.secrets - stimulus.secrets
        if missing:
            raise ExpressionError(f"there is no secret called {', '.join(sorted(missing))}")
        wake_at, reason = _waits(draft, i, config)
    except ExpressionError as error:
        fail(draft, i, expression_error(f"config: {error}"), Reason.EXPRESSION_ERROR)
        return False
    row.attempt += 1
    row.tries += 1
    told: dict[str, JSON] = {"worker": stimulus.worker}
    if wake_at is not None:
        told["wake_at"] = wake_at.isoformat()
    row = draft.change_step(i, StepState.RUNNING, reason, told)
    row.started_at, row.completed_at, row.input, row.wake_at, row.error = draft.now, None, text, wake_at, None
    if reason is not Reason.EXECUTING:
        return False
    secret = bool(template.secrets) and not row.override
    draft.decision.commands.append(
        Execute(
            i, row.attempt, row.generation, config, row.losses >= LOSSES_BEFORE_ALONE,
            template if secret else None,
            context_of(draft, template.references) if secret else None,
        )
    )  # fmt: skip
    return True


def begin_run(draft: Draft) -> None:
    """pending → running, with the first step that starts or fails for its config."""
    draft.change_run(RunState.RUNNING, {"trigger": draft.snapshot.head.trigger})
    draft.run.started_at = draft.now
    draft.run.deadline_at = draft.now + draft.plan.timeout if draft.plan.timeout is not None else None


def _waits(draft: Draft, i: int, config: JSON) -> tuple[datetime | None, Reason]:
    """When the running step must be looked at next, and what it waits for. Raises ExpressionError."""
    step, now = draft.plan.steps[i], draft.now
    deadline = now + step.timeout if step.timeout is not None else None
    if step.kind == "HumanApproval":
        return deadline, Reason.WAITING_APPROVAL
    if step.kind != "Delay":
        return deadline, Reason.EXECUTING
    due = delay_end(config, now)
    return (due if deadline is None else min(due, deadline)), Reason.WAITING_TIMER


def delay_end(config: JSON, now: datetime) -> datetime:
    """When a Delay that starts now ends; a time in the past is now. Raises ExpressionError."""
    try:
        if config.get("until") is not None:
            until = datetime.fromisoformat(config["until"])
            until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
            wait = until.astimezone(UTC) - now
        else:
            wait = parse_duration(config.get("for"))
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise ExpressionError(f"this is no time to wait for: {error}") from None
    if wait > MAX_WAIT:
        raise ExpressionError("a Delay waits 365 days at most")
    return now + max(wait, timedelta(0))


def make_ready(draft: Draft, i: int) -> None:
    """The step has nothing to wait for any more but a free thread."""
    row = draft.step(i)
    assert row is not None
    draft.change_step(i, StepState.QUEUED, Reason.READY, {})


def _at_breaker(draft: Draft, i: int, until: datetime | None) -> None:
    """Wait until the breaker's time; where it was not asked yet, stay ready: the owner asks and comes again."""
    known, breaker = draft.step(i), draft.plan.steps[i].circuit_breaker
    assert known is not None
    assert breaker is not None
    if until is None:
        if known.reason is Reason.BACKOFF:
            make_ready(draft, i)
        return
    if known.reason is Reason.CIRCUIT_OPEN:
        row = draft.row(i)  # it says so already: only the time moves
    else:
        row = draft.change_step(i, StepState.QUEUED, Reason.CIRCUIT_OPEN, {"until": until.isoformat()})
    row.wake_at, row.breaker = until, breaker.key


# Ending


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
    stopping = draft.run.stopping or {}
    why = "The run took longer than its timeout." if stopping.get("kind") == "run_timeout" else "The run was cancelled."
    error = {"code": "interrupted", "message": why, "retryable": False}
    fail(draft, i, error, Reason.INTERRUPTED, routed=False)


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
    if row.reason is Reason.WAITING_TIMER and not _is_deadline(draft, i, row):
        succeed(draft, i, dumps({"woke_at": draft.now.isoformat()}))
        return
    if row.reason is Reason.EXECUTING:
        draft.decision.commands.append(Interrupt(i, row.attempt))
    timeout = draft.plan.steps[i].timeout
    error = {"code": "timeout", "message": f"No result within {timeout}.", "retryable": True}
    if row.reason is Reason.WAITING_APPROVAL:  # never retried
        error = {"code": "timeout", "message": f"Nobody decided within {timeout}.", "retryable": False}
        fail(draft, i, error, Reason.TIMEOUT)
    else:
        retry_or_fail(draft, i, error, stimulus.draw)


def _is_deadline(draft: Draft, i: int, row: StepRow) -> bool:
    timeout = draft.plan.steps[i].timeout
    return timeout is not None and row.started_at is not None and row.wake_at == row.started_at + timeout
