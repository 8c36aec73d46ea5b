"""From the end of a step to what follows: transitions, joins, skips, the run's end (SEMANTICS 3)."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from runs.machine.context import context_of
from runs.machine.draft import Draft
from runs.machine.plan import Edge
from runs.machine.snapshot import StepRow
from runs.machine.states import Reason, RunState, StepState
from staterail.core.strict_json import dumps
from workflows.definition.expressions import ExpressionError
from workflows.definition.model import matches_code

JSON = Any
LIMIT_BYTES = 1024 * 1024


class _Failing(Exception):
    """A `when` of a step that was to succeed failed."""

    def __init__(self, edge: Edge, error: ExpressionError) -> None:
        self.edge, self.error = edge, error


def succeed(draft: Draft, i: int, output: str) -> None:
    """End a running step with its output, and route on. `output` is JSON text."""
    row = draft.row(i)
    if draft.plan.plain[i]:
        row.set_output(output)
        taken, told = draft.plan.plainly_taken[i], draft.plan.plainly_told[i]
    else:
        before = row.state
        row.set_output(output)
        row.state = StepState.SUCCEEDED  # a `when` reads its source as it has just ended
        try:
            taken, told = _resolve_success(draft, i)
        except _Failing as failing:
            row.state = before
            row.set_output(None)
            error = expression_error(f"the condition of {failing.edge.id} failed: {failing.error}")
            fail(draft, i, error, Reason.EXPRESSION_ERROR, broken=failing.edge)
            return
        row.state = before
    duration = draft.duration_ms(row)
    row = draft.change_step(i, StepState.SUCCEEDED, None, {"duration_ms": duration, "resolved": told})
    row.completed_at, row.taken, row.error = draft.now, taken, None
    follow(draft, [i])


def fail(
    draft: Draft, i: int, error: dict[str, JSON], reason: Reason, *, broken: Edge | None = None, routed: bool = True
) -> None:
    """End a queued or running step as failed for good, and route on.

    `broken` is the transition whose condition made it fail. Not `routed`: a cancel or the run's
    timeout ended it, and no transition is taken.
    """
    row = draft.row(i)
    before, duration = row.state, draft.duration_ms(row) if row.state is StepState.RUNNING else None
    row.error = error
    fault: str | None = None
    taken: tuple[int, ...] = ()
    if routed:
        row.state = StepState.FAILED
        taken, told, fault = _resolve_failure(draft, i, error["code"], broken)
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
        taken, told, fault = _resolve_always(draft, i)
        row.state = before
    else:
        told = [edge.told(False, "source_skipped") for edge in draft.plan.outgoing[i]]
    row = draft.change_step(i, StepState.SKIPPED, reason, {"resolved": told})
    row.completed_at, row.taken, row.error = draft.now, taken, None
    if fault is not None:
        draft.add_fault(i, "expression_error", fault)


def expression_error(message: str) -> dict[str, JSON]:
    return {"code": "expression_error", "message": message, "retryable": False}


# How a step's transitions come out


def _holds(draft: Draft, edge: Edge) -> tuple[bool, dict[str, JSON] | None]:
    """Whether the edge's condition holds, and what it read. Raises ExpressionError."""
    if edge.when is None:
        return True, None
    context = context_of(draft, edge.when.references)
    value = edge.when.evaluate(context)
    if not isinstance(value, bool):
        raise ExpressionError(f"it gives {type(value).__name__}, not a bool")
    return value, edge.when.operands(context)


def _resolve_success(draft: Draft, i: int) -> tuple[tuple[int, ...], list[dict[str, JSON]]]:
    taken: list[int] = []
    told: dict[int, dict[str, JSON]] = {}
    another = False
    for edge in draft.plan.outgoing[i]:
        if edge.on == "failure":
            told[edge.position] = edge.told_other
        elif not edge.default:
            try:
                holds, operands = _holds(draft, edge)
            except ExpressionError as error:
                raise _Failing(edge, error) from None
            told[edge.position] = edge.told(holds, edge.on if holds else "condition_false", operands)
            if holds:
                taken.append(edge.position)
                another = another or edge.on == "success"
    for edge in draft.plan.outgoing[i]:
        if edge.default:
            told[edge.position] = edge.told(not another, "other_outcome" if another else "default")
            if not another:
                taken.append(edge.position)
    return tuple(sorted(taken)), [told[edge.position] for edge in draft.plan.outgoing[i]]


def _resolve_failure(
    draft: Draft, i: int, code: str, broken: Edge | None
) -> tuple[tuple[int, ...], list[dict[str, JSON]], str | None]:
    """Positions taken, what to tell, and the message of a condition that failed itself."""
    taken: list[int] = []
    told: list[dict[str, JSON]] = []
    fault: str | None = None
    for edge in draft.plan.outgoing[i]:
        if edge is broken and edge.on != "always":
            told.append(edge.told(False, "expression_error"))
        elif edge.on == "success":
            told.append(edge.told_other)
        elif edge.on == "failure" and edge.errors is not None and not any(matches_code(e, code) for e in edge.errors):
            told.append(edge.told(False, "code_not_listed"))
        else:
            holds, entry, wrong = _try(draft, edge)
            told.append(entry)
            fault = fault or wrong
            if holds:
                taken.append(edge.position)
    return tuple(taken), told, fault


def _resolve_always(draft: Draft, i: int) -> tuple[tuple[int, ...], list[dict[str, JSON]], str | None]:
    """The same for a skipped step, of which only `always` transitions may be taken."""
    taken: list[int] = []
    told: list[dict[str, JSON]] = []
    fault: str | None = None
    for edge in draft.plan.outgoing[i]:
        if edge.on != "always":
            told.append(edge.told(False, "source_skipped"))
            continue
        holds, entry, wrong = _try(draft, edge)
        told.append(entry)
        fault = fault or wrong
        if holds:
            taken.append(edge.position)
    return tuple(taken), told, fault


def _try(draft: Draft, edge: Edge) -> tuple[bool, dict[str, JSON], str | None]:
    """Resolve an edge whose source stays as it is even if the condition fails."""
    try:
        holds, operands = _holds(draft, edge)
    except ExpressionError as error:
        return False, edge.told(False, "expression_error"), f"the condition of {edge.id} failed: {error}"
    return holds, edge.told(holds, edge.on if holds else "condition_false", operands), None


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


def end_if_done(draft: Draft) -> None:
    """End a run of which no step is queued or running: none can become so then, for skips cascade at once."""
    run = draft.run
    if draft.queued or draft.running or run.state not in (RunState.PENDING, RunState.RUNNING):
        return
    if run.stopping is not None:
        _end_stopped(draft)
        return
    faults = draft.known_faults()
    if faults:
        i, first = min(faults.items(), key=lambda item: item[1]["seq"])
        error = {"code": first["code"], "message": first["message"], "step_id": draft.plan.ids[i]}
        _end(draft, RunState.FAILED, Reason.STEP_FAILED, error=error)
        return
    output: str | None = None
    template = draft.plan.output
    if template is not None:
        try:
            output = dumps(template.render(context_of(draft, template.references)))
        except ExpressionError as error:
            _end(draft, RunState.FAILED, Reason.EXPRESSION_ERROR, error=_run_error(f"the run's output failed: {error}"))
            return
        if len(output.encode()) > LIMIT_BYTES:
            message = "the run's output is larger than 1 MiB"
            _end(draft, RunState.FAILED, Reason.EXPRESSION_ERROR, error=_run_error(message))
            return
    _end(draft, RunState.COMPLETED, None, output=output)


def _run_error(message: str) -> dict[str, JSON]:
    return {"code": "expression_error", "message": message}


def _end_stopped(draft: Draft) -> None:
    stopping = draft.run.stopping or {}
    if stopping["kind"] == "run_timeout":
        error = {"code": "run_timeout", "message": "The run took longer than its timeout."}
        _end(draft, RunState.FAILED, Reason.RUN_TIMEOUT, error=error)
    else:
        _end(draft, RunState.CANCELLED, Reason.OPERATOR, told={"by": stopping.get("by"), "why": stopping.get("why")})


def _end(
    draft: Draft, state: RunState, reason: Reason | None, *, error: dict[str, JSON] | None = None,
    output: str | None = None, told: dict[str, JSON] | None = None,
) -> None:  # fmt: skip
    payload: dict[str, JSON] = {"reason": reason, **(told or {})}
    if error is not None:
        payload["error"] = error
    draft.change_run(state, payload, reason)
    draft.run.error, draft.run.output, draft.run.stopping = error, output, None
