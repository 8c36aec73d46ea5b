"""How a run ends: once no step is open any more."""

from typing import Any

from runs.machine.context import LIMIT_BYTES, context_of
from runs.machine.draft import Draft
from runs.machine.states import Reason, RunState
from staterail.core.strict_json import dumps
from workflows.definition.expressions import ExpressionError

JSON = Any


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
