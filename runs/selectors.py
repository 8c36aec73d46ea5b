"""Reading runs: within the actor's tenant, with a fixed number of queries however long the page."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet
from django.db.models.fields.json import KeyTextTransform

from runs.approvals import Decider
from runs.failures import similar_runs
from runs.machine.plan import Plan
from runs.machine.states import STEP_OPEN, Reason, RunState, StepState
from runs.models import Event, StepLog, StepRun, WorkflowRun
from runs.payloads import LARGE, hide, hide_in_events, inline, without_payloads
from runs.search import parts_of
from runs.store.admission import HELD
from runs.store.plans import compiled, plans_of
from staterail.core.actor import Actor
from staterail.core.errors import NotFound
from staterail.core.ids import derived_uuid7, uuid_or_none
from staterail.core.pagination import Part
from staterail.core.permissions import allowed, require
from workflows.definition.durations import parse_duration
from workflows.definition.shape import STEP_ID
from workflows.models import WorkflowVersion

JSON = Any
_URGENT = (Reason.CIRCUIT_OPEN, Reason.BACKOFF, Reason.WAITING_APPROVAL, Reason.WAITING_TIMER)


@dataclass(slots=True)
class RunFacts:
    """What a run's answer tells beside its row, read for a whole page at once."""

    open_steps: list[str] = field(default_factory=list)
    reason: str | None = None
    failed_step: StepRun | None = None
    similar_runs: int = 0
    sla_seconds: float | None = None


def runs(actor: Actor) -> QuerySet[WorkflowRun]:
    """Runs without their large values, to be ordered by id: ids are in order of creation."""
    require(actor, "workflows.view_workflow")
    found: QuerySet[WorkflowRun] = without_payloads(WorkflowRun.objects.filter(tenant_id=actor.tenant_id))
    return found.defer(*LARGE, "definition")


def runs_wanted(
    actor: Actor, *, workflow_id: UUID | None = None, states: Sequence[str] = (), created_after: datetime | None = None,
    created_before: datetime | None = None, search: str = "",
) -> list[Part[WorkflowRun]]:  # fmt: skip
    """`runs` that are asked for, to be paged by id."""
    return parts_of(
        runs(actor), workflow_id=workflow_id, states=states, created_after=created_after,
        created_before=created_before, search=search, payloads=allowed(actor, "runs.view_payload"),
    )  # fmt: skip


def run_of(actor: Actor, run_id: str | UUID) -> WorkflowRun:
    """A run without its large values. Raises NotFound, also for what is no id at all."""
    require(actor, "workflows.view_workflow")
    id = run_id if isinstance(run_id, UUID) else uuid_or_none(run_id)
    if id is None:
        raise NotFound
    run = without_payloads(WorkflowRun.objects.filter(id=id, tenant_id=actor.tenant_id)).first()
    if run is None:
        raise NotFound
    return run  # type: ignore[no-any-return]


def inline_runs(actor: Actor, found: Sequence[WorkflowRun]) -> int:
    """Give runs their input and output where those are small; what is left of an answer's bytes."""
    if all(allowed(actor, "runs.view_payload", run) for run in found):
        return inline(found)
    hide(found)
    return 0


def is_held(run: WorkflowRun) -> bool:
    """Whether the run waits for others of its workflow to end (`max_concurrent_runs`)."""
    return run.state == RunState.PENDING and run.admission == HELD


def facts_of(found: Iterable[WorkflowRun]) -> dict[UUID, RunFacts]:
    """Open steps, reason, failure and SLA of a page of runs of one tenant: four queries."""
    page = list(found)
    facts = {run.id: RunFacts(reason=Reason.CONCURRENCY if is_held(run) else run.reason) for run in page}
    open_ids = [run.id for run in page if run.state in (RunState.PENDING, RunState.RUNNING)]
    reasons: dict[UUID, set[str | None]] = {}
    if open_ids:
        rows = StepRun.objects.filter(run_id__in=open_ids, state__in=list(STEP_OPEN)).order_by("queued_at", "id")
        for run_id, step_id, reason in rows.values_list("run_id", "step_id", "reason"):
            facts[run_id].open_steps.append(step_id)
            reasons.setdefault(run_id, set()).add(reason)
    for run in page:
        if run.state == RunState.RUNNING:
            facts[run.id].reason = running_reason(run.stopping is not None, reasons.get(run.id, set()))
    _add_failures([run for run in page if run.state == RunState.FAILED and run.error], facts)
    versions = WorkflowVersion.objects.filter(id__in={run.version_id for run in page})
    slas = dict(versions.values_list("id", KeyTextTransform("sla", F("definition"))))
    for run in page:
        facts[run.id].sla_seconds = _seconds(slas.get(run.version_id))
    return facts


def _seconds(duration: str | float | None) -> float | None:
    """Of a definition's duration: text with a unit, or a number, which comes as text too."""
    if duration is None:
        return None
    try:
        return float(duration)
    except ValueError:
        pass
    try:
        return parse_duration(duration).total_seconds()
    except ValueError:  # of another release: its runs are shown all the same
        return None


def running_reason(cancelling: bool, reasons: Collection[str | None]) -> str:
    """A running run's reason is read off its steps, the most urgent first."""
    if cancelling:
        return Reason.CANCELLING
    return next((reason for reason in _URGENT if reason in reasons), Reason.ACTIVE)


def _add_failures(failed: list[WorkflowRun], facts: dict[UUID, RunFacts]) -> None:
    wanted = {run.id: run.error.get("step_id") for run in failed if isinstance(run.error, dict)}
    if not wanted:
        return
    rows = StepRun.objects.filter(run_id__in=wanted, step_id__in={s for s in wanted.values() if s}, fault__isnull=False)
    for step in rows.defer(*LARGE):
        if wanted[step.run_id] == step.step_id:
            facts[step.run_id].failed_step = step
    for id, count in similar_runs(failed).items():
        facts[id].similar_runs = count


def plan_of(run: WorkflowRun) -> Plan | None:
    """The plan that the run follows, or None where this release cannot read it."""
    plan = compiled(run.definition) if run.definition is not None else plans_of({run.version_id}).get(run.version_id)
    return plan if isinstance(plan, Plan) else None


def steps_of(actor: Actor, run: WorkflowRun, left: int) -> list[StepRun]:
    """One for every step of the version, idle ones included, in topological order; large values as far as they fit."""
    rows: dict[str, StepRun] = {step.step_id: step for step in without_payloads(StepRun.objects.filter(run=run))}
    _add_configs([step for step in rows.values() if step.reason == Reason.WAITING_APPROVAL])
    plan = plan_of(run)
    order = [plan.ids[i] for i in plan.topological()] if plan is not None else sorted(rows)
    if allowed(actor, "runs.view_payload", run):
        inline([rows[id] for id in order if id in rows], left)
    else:
        hide(rows.values())
    return [rows.get(id) or _idle(run, plan, id) for id in order]


def _add_configs(waiting: list[StepRun]) -> None:
    """What the approvals ask for: it decides what the caller may do, whether or not they may read it."""
    if waiting:
        configs = dict(StepRun.objects.filter(id__in=[step.id for step in waiting]).values_list("id", "input"))
        for step in waiting:
            step.config = configs.get(step.id)  # type: ignore[attr-defined]


def _idle(run: WorkflowRun, plan: Plan | None, step_id: str) -> StepRun:
    kind = plan.steps[plan.index[step_id]].kind if plan is not None else ""
    step = StepRun(
        id=derived_uuid7(run.id, step_id), tenant_id=run.tenant_id, run_id=run.id, step_id=step_id, kind=kind,
        state=StepState.IDLE, generation=run.generation,
    )  # fmt: skip
    hide([step])
    return step


def step_of(actor: Actor, run: WorkflowRun, step_id: str) -> StepRun:
    """A step run, whole. Raises NotFound for a step that the run does not have."""
    if re.fullmatch(STEP_ID, step_id) is None:
        raise NotFound("This run has no such step.")
    step = StepRun.objects.filter(run=run, step_id=step_id).first()
    if step is None:
        plan = plan_of(run)
        if plan is None or step_id not in plan.index:
            raise NotFound("This run has no such step.")
        step = _idle(run, plan, step_id)
    step.config = step.input  # type: ignore[attr-defined]
    if not allowed(actor, "runs.view_payload", run):
        hide([step])
    return step


def events_of(actor: Actor, run: WorkflowRun, *, after_seq: int, limit: int) -> list[Event]:
    """In `seq` order."""
    require(actor, "workflows.view_workflow", run)
    events = list(Event.objects.filter(run=run, seq__gt=after_seq).order_by("seq")[:limit])
    if not allowed(actor, "runs.view_payload", run):
        hide_in_events(events)
    return events


def logs_of(
    actor: Actor, run: WorkflowRun, step_id: str, *, attempt: int | None = None, search: str = "", offset: int = 0,
    limit: int = 100,
) -> list[StepLog]:  # fmt: skip
    """Oldest first. A step may write whatever it was given: lines are for those who may see payloads."""
    require(actor, "runs.view_payload", run)
    found = StepLog.objects.filter(run=run, step_id=step_id)
    if attempt is not None:
        found = found.filter(attempt=attempt)
    if search:
        found = found.filter(message__icontains=search)
    return list(found.order_by("attempt", "number")[offset : offset + limit])


def approvals(decider: Decider, *, limit: int = 100) -> list[StepRun]:
    """Approvals that wait and that the caller may decide, oldest first, each with its run."""
    actor = decider.actor
    require(actor, "workflows.view_workflow")
    if not allowed(actor, "runs.decide_approval"):
        return []
    waiting = StepRun.objects.filter(tenant_id=actor.tenant_id, asks=True, run__stopping__isnull=True)
    mine: list[StepRun] = []
    steps = waiting.select_related("run").defer("output", "run__input", "run__output", "run__definition")
    for step in steps.order_by("run_id", "id").iterator(chunk_size=200):
        if decider.why_not(step.input, step.run.started_by_ref) is None:
            mine.append(step)
            if len(mine) >= limit:
                break
    return mine
