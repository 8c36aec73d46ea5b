"""Rendering runs: each with the facts that its row does not have."""

from collections.abc import Sequence
from typing import Any

from runs import selectors
from runs.models import WorkflowRun
from runs.rest.serializers import RunAnswer, RunDetailAnswer, StepRunAnswer
from staterail.core.actor import Actor
from staterail.core.errors import NotFound
from staterail.core.permissions import allowed
from staterail.core.strict_json import dumps

JSON = Any


def runs_answer(actor: Actor, runs: Sequence[WorkflowRun]) -> list[JSON]:
    context = {"actor": actor, "facts": selectors.facts_of(runs)}
    return list(RunAnswer(runs, many=True, context=context).data)


def run_answer(actor: Actor, run: WorkflowRun, *, detail: bool = False) -> JSON:
    context: dict[str, Any] = {"actor": actor, "facts": selectors.facts_of([run])}
    if not detail:
        return RunAnswer(run, context=context).data
    context |= {"steps": selectors.steps_of(actor, run), "payload": _payload(actor, run)}
    return RunDetailAnswer(run, context=context).data


def step_answer(actor: Actor, run: WorkflowRun, step_id: str) -> JSON:
    step = selectors.step_of(actor, run, step_id)
    return StepRunAnswer(step, context={"actor": actor, "run": run}).data


def item_index_is_null(item_index: int | None) -> None:
    """There are no items in v1: an index names nothing."""
    if item_index is not None:
        raise NotFound("Steps have no items: item_index is null.")


def _payload(actor: Actor, run: WorkflowRun) -> dict[str, JSON]:
    payload: dict[str, JSON] = {"input_bytes": None, "output_bytes": None}
    for name in selectors.LARGE:
        value = getattr(run, name) if allowed(actor, "runs.view_payload", run) else None
        size = len(dumps(value).encode()) if value is not None else 0
        if size > selectors.INLINE_ONE:
            payload[f"{name}_bytes"], value = size, None
        payload[name] = value
    return payload
