"""Rendering runs: each with the facts that its row does not have."""

from collections.abc import Sequence
from typing import Any

from runs import selectors
from runs.approvals import Decider
from runs.models import WorkflowRun
from runs.rest.serializers import RunAnswer, RunDetailAnswer, StepRunAnswer
from staterail.core.actor import Actor
from staterail.core.errors import NotFound

JSON = Any


def runs_answer(actor: Actor, runs: Sequence[WorkflowRun]) -> list[JSON]:
    selectors.inline_runs(actor, runs)
    return list(RunAnswer(runs, many=True, context=_context(actor, runs)).data)


def run_answer(actor: Actor, run: WorkflowRun, *, detail: bool = False) -> JSON:
    left = selectors.inline_runs(actor, [run])
    context = _context(actor, [run])
    if not detail:
        return RunAnswer(run, context=context).data
    context |= {"steps": selectors.steps_of(actor, run, left)}
    return RunDetailAnswer(run, context=context).data


def _context(actor: Actor, runs: Sequence[WorkflowRun]) -> dict[str, Any]:
    return {"actor": actor, "decider": Decider(actor), "facts": selectors.facts_of(runs)}


def step_answer(actor: Actor, run: WorkflowRun, step_id: str) -> JSON:
    step = selectors.step_of(actor, run, step_id)
    return StepRunAnswer(step, context={"decider": Decider(actor), "run": run}).data


def item_index_is_null(item_index: int | None) -> None:
    """There are no items in v1: an index names nothing."""
    if item_index is not None:
        raise NotFound("Steps have no items: item_index is null.")
