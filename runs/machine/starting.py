"""How queued steps start: into a free thread, as a row that waits, or not yet (SEMANTICS 4)."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from runs.machine.asking import check_approval, with_its_rules
from runs.machine.context import LIMIT_BYTES, context_of
from runs.machine.decision import Execute
from runs.machine.draft import Draft
from runs.machine.routing import expression_error, fail
from runs.machine.states import Reason, RunState, StepState
from runs.machine.stimuli import StartReady, TakeApart
from staterail.core.strict_json import dumps
from workflows.definition.durations import parse_duration
from workflows.definition.expressions import ExpressionError

JSON = Any
LOSSES_BEFORE_ALONE = 2
MAX_WAIT = timedelta(days=366)
_UNASKED = datetime.max.replace(tzinfo=UTC)


def start_ready(draft: Draft, stimulus: StartReady) -> None:
    """Start queued steps: rows (Delay, HumanApproval) at once, the others into free threads."""
    if draft.run.stopping is not None or draft.run.state not in (RunState.PENDING, RunState.RUNNING):
        return
    room = stimulus.room
    if room > 0:
        for i in itertools.chain(draft.snapshot.queued, draft.came):  # which grows, where one fails to start
            room -= _start_or_wait(draft, i, stimulus, room)
            if room <= 0:
                break
        else:
            return
    # No thread is free: of 5,000 ready steps only those are looked at that need none, or that have just come
    needless = draft.snapshot.queued.keys() & (draft.plan.special | draft.late.keys())
    for i in itertools.chain(sorted(needless), draft.came):
        _start_or_wait(draft, i, stimulus, 0)


def _start_or_wait(draft: Draft, i: int, stimulus: StartReady, room: int) -> int:
    """Start the step if it is queued and nothing but a thread is wanting; how many threads it takes."""
    row = draft.step(i)
    if row is None or row.state is not StepState.QUEUED or not (row.reason is Reason.READY or i in draft.late):
        return 0
    if i not in stimulus.apart:
        if draft.plan.steps[i].circuit_breaker is not None and stimulus.gates.get(i, _UNASKED) is not None:
            _at_breaker(draft, i, stimulus.gates.get(i))
            return 0
        if room > 0 or not draft.plan.executed[i]:
            return _start(draft, i, stimulus)
    if row.reason is not Reason.READY:
        make_ready(draft, i)
    return 0


def take_apart(draft: Draft, stimulus: TakeApart) -> None:
    """Start one isolated step, which another process than the owner executes."""
    i, row = stimulus.step, draft.step(stimulus.step)
    if draft.run.stopping is not None or draft.run.state not in (RunState.PENDING, RunState.RUNNING):
        return
    if row is None or row.state is not StepState.QUEUED or row.reason is not Reason.READY:
        return
    if draft.plan.steps[i].circuit_breaker is not None and stimulus.start.gates.get(i, _UNASKED) is not None:
        _at_breaker(draft, i, stimulus.start.gates.get(i))
    elif _start(draft, i, stimulus.start):
        row = draft.row(i)
        lease_end = draft.now + stimulus.lease
        row.holder, row.wake_at = stimulus.holder, lease_end if row.wake_at is None else min(row.wake_at, lease_end)


def _start(draft: Draft, i: int, stimulus: StartReady) -> bool:
    """queued → running, or → failed where the config cannot be made; whether it takes a thread."""
    template = draft.plan.configs[i]
    if draft.run.state is RunState.PENDING:
        begin_run(draft)
    row = draft.row(i)
    try:
        config, text = _resolved(draft, i)
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


def _resolved(draft: Draft, i: int) -> tuple[JSON, str]:
    """The step's config, and its JSON text. Raises ExpressionError."""
    plan, template, row = draft.plan, draft.plan.configs[i], draft.step(i)
    if row is not None and row.override:
        text = row.input or "null"
        config = json.loads(text)
        if plan.steps[i].kind == "HumanApproval":
            config = with_its_rules(draft, plan.steps[i].config, config)
            text = dumps(config)
        return config, text
    if template.constant:
        return template.render({}), plan.config_texts[i] or "null"
    config = template.render(context_of(draft, template.references))
    text = dumps(config)
    if len(text) > LIMIT_BYTES // 4 and len(text.encode()) > LIMIT_BYTES:
        raise ExpressionError("the resolved config is larger than 1 MiB")
    return config, text


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
        if draft.row(i).override or not draft.plan.configs[i].constant:
            check_approval(step.config, config)
        return deadline, Reason.WAITING_APPROVAL
    if step.kind != "Delay":
        return deadline, Reason.EXECUTING
    due = delay_end(config, now)
    return (due if deadline is None else min(due, deadline)), Reason.WAITING_TIMER


def ends_in_time(draft: Draft, i: int) -> bool:
    """Whether a Delay that is due for its timeout ends at that very moment too."""
    row = draft.step(i)
    assert row is not None
    assert row.started_at is not None
    assert row.wake_at is not None
    try:
        return delay_end(_resolved(draft, i)[0], row.started_at) <= row.wake_at
    except ExpressionError:
        return False


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
