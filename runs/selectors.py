"""Reading runs: within the actor's tenant, with a fixed number of queries however long the page."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Func, IntegerField, Q, QuerySet, TextField
from django.db.models.functions import Cast

from runs.approvals import is_assignee
from runs.machine.plan import Plan
from runs.machine.states import STEP_OPEN, Reason, RunState, StepState
from runs.models import Event, StepLog, StepRun, WorkflowRun
from runs.store.plans import compiled, plans_of
from staterail.core.actor import Actor
from staterail.core.errors import NotFound
from staterail.core.ids import derived_uuid7
from staterail.core.permissions import allowed, require
from workflows.definition.durations import parse_duration
from workflows.models import WorkflowVersion

JSON = Any
INLINE_ONE, INLINE_ALL = 64 * 1024, 1024 * 1024  # bytes of an input or output, and of all of them, in a run's answer
LARGE = ("input", "output")
_URGENT = (
    (Reason.CIRCUIT_OPEN, Reason.CIRCUIT_OPEN), (Reason.BACKOFF, Reason.BACKOFF),
    (Reason.WAITING_APPROVAL, Reason.WAITING_APPROVAL), (Reason.WAITING_TIMER, Reason.WAITING_TIMER),
)  # fmt: skip


class Bytes(Func):
    """The size of a JSON value as it is stored."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return super().as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return super().as_sql(compiler, connection, template="OCTET_LENGTH((%(expressions)s)::text)", **extra)


@dataclass(slots=True)
class RunFacts:
    """What a run's answer tells beside its row, read for a whole page at once."""

    open_steps: list[str] = field(default_factory=list)
    reason: str | None = None
    failed_step: StepRun | None = None
    sla_seconds: float | None = None


def runs(
    actor: Actor, *, workflow_id: UUID | None = None, states: Sequence[str] = (), created_after: datetime | None = None,
    search: str = "",
) -> QuerySet[WorkflowRun]:  # fmt: skip
    """Runs without their large values, to be ordered by id: ids are in order of creation."""
    require(actor, "workflows.view_workflow")
    found = WorkflowRun.objects.filter(tenant_id=actor.tenant_id).defer("input", "output", "definition")
    if workflow_id is not None:
        found = found.filter(workflow_id=workflow_id)
    if states:
        found = found.filter(state__in=states)
    if created_after is not None:
        found = found.filter(created_at__gt=created_after)
    return found.filter(_matches(search)) if search else found


def _matches(search: str) -> Q:
    """A run id, `key:value` of input and metadata, or text of the correlation id, the error, the failed step."""
    try:
        return Q(id=UUID(search))
    except ValueError:
        pass
    key, colon, value = search.partition(":")
    found = Q(corr_id__icontains=search) | Q(error_text__icontains=search)
    if colon and key.replace("_", "").isalnum():
        for column in LARGE[:1] + ("metadata",):
            found |= Q(**{f"{column}__{key}": value})
            if value.lstrip("-").isdigit() and len(value) < 19:
                found |= Q(**{f"{column}__{key}": int(value)})
    return found


def searchable(found: QuerySet[WorkflowRun]) -> QuerySet[WorkflowRun]:
    return found.alias(error_text=Cast("error", TextField()))


def run_of(actor: Actor, run_id: str | UUID) -> WorkflowRun:
    """Raises NotFound, also for what is no id at all."""
    require(actor, "workflows.view_workflow")
    run = WorkflowRun.objects.filter(id=_uuid(run_id), tenant_id=actor.tenant_id).first()
    if run is None:
        raise NotFound
    return run


def _uuid(text: str | UUID) -> UUID:
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except ValueError:
        raise NotFound from None


def facts_of(found: Iterable[WorkflowRun]) -> dict[UUID, RunFacts]:
    """Open steps, reason, failure and SLA of a page of runs: three queries."""
    page = list(found)
    facts = {run.id: RunFacts(reason=run.reason) for run in page}
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
    slas = dict(
        WorkflowVersion.objects.filter(id__in={run.version_id for run in page}).values_list("id", "definition__sla")
    )
    for run in page:
        sla = slas.get(run.version_id)
        facts[run.id].sla_seconds = parse_duration(sla).total_seconds() if sla is not None else None
    return facts


def running_reason(cancelling: bool, reasons: Collection[str | None]) -> str:
    """A running run's reason is read off its steps, the most urgent first."""
    if cancelling:
        return Reason.CANCELLING
    return next((reason for step_reason, reason in _URGENT if step_reason in reasons), Reason.ACTIVE)


def _add_failures(failed: list[WorkflowRun], facts: dict[UUID, RunFacts]) -> None:
    wanted = {run.id: run.error.get("step_id") for run in failed if isinstance(run.error, dict)}
    if not wanted:
        return
    rows = StepRun.objects.filter(run_id__in=wanted, step_id__in={s for s in wanted.values() if s}, fault__isnull=False)
    for step in rows.defer(*LARGE):
        if wanted[step.run_id] == step.step_id:
            facts[step.run_id].failed_step = step


def plan_of(run: WorkflowRun) -> Plan | None:
    """The plan that the run follows, or None where this release cannot read it."""
    plan = compiled(run.definition) if run.definition is not None else plans_of({run.version_id}).get(run.version_id)
    return plan if isinstance(plan, Plan) else None


def steps_of(actor: Actor, run: WorkflowRun) -> list[StepRun]:
    """One for every step of the version, idle ones included, in topological order; large values only where they fit.

    `input_bytes`, `output_bytes` stand on each where it has a value that was left out.
    """
    rows = {
        step.step_id: step
        for step in StepRun.objects.filter(run=run)
        .defer(*LARGE)
        .annotate(input_size=Bytes(F("input")), output_size=Bytes(F("output")))
    }
    plan = plan_of(run)
    order = [plan.ids[i] for i in plan.topological()] if plan is not None else sorted(rows)
    steps = [rows.get(id) or _idle(run, plan, id) for id in order]
    if allowed(actor, "runs.view_payload", run):
        _inline(steps)
    else:
        for step in steps:
            step.input = step.output = None
    return steps


def _idle(run: WorkflowRun, plan: Plan | None, step_id: str) -> StepRun:
    kind = plan.steps[plan.index[step_id]].kind if plan is not None else ""
    step = StepRun(
        id=derived_uuid7(run.id, step_id), tenant_id=run.tenant_id, run_id=run.id, step_id=step_id, kind=kind,
        state=StepState.IDLE, generation=run.generation,
    )  # fmt: skip
    step.input_size = step.output_size = None  # type: ignore[attr-defined]
    return step


def _inline(steps: list[Any]) -> None:
    left = INLINE_ALL
    wanted: dict[UUID, Any] = {}
    for step in steps:
        step.input_bytes = step.output_bytes = None
        sizes = {name: getattr(step, f"{name}_size") or 0 for name in LARGE}
        for name, size in sizes.items():
            if size > INLINE_ONE or size > left:
                setattr(step, f"{name}_bytes", size)
            else:
                left -= size
        if any(sizes.values()):
            wanted[step.id] = step
        else:
            step.input = step.output = None
    for large in LARGE:
        ids = [id for id, step in wanted.items() if getattr(step, f"{large}_bytes") is None]
        values: dict[UUID, JSON] = {}
        for start in range(0, len(ids), 500):
            chunk = ids[start : start + 500]
            values.update(StepRun.objects.filter(id__in=chunk).values_list("id", large))
        for id, step in wanted.items():
            setattr(step, large, values.get(id))


def step_of(actor: Actor, run: WorkflowRun, step_id: str) -> StepRun:
    """A step run, whole. Raises NotFound for a step that the run does not have."""
    step = StepRun.objects.filter(run=run, step_id=step_id[:63]).first()
    if step is None:
        plan = plan_of(run)
        if plan is None or step_id not in plan.index:
            raise NotFound(f"This run has no step {step_id[:63]!r}.")
        step = _idle(run, plan, step_id)
    if not allowed(actor, "runs.view_payload", run):
        step.input = step.output = None
    return step


def events_of(actor: Actor, run: WorkflowRun, *, after_seq: int, limit: int) -> list[Event]:
    require(actor, "workflows.view_workflow", run)
    return list(Event.objects.filter(run=run, seq__gt=after_seq).order_by("seq")[:limit])


def logs_of(
    actor: Actor, run: WorkflowRun, step_id: str, *, attempt: int | None = None, search: str = "", offset: int = 0,
    limit: int = 100,
) -> list[StepLog]:  # fmt: skip
    """Oldest first."""
    require(actor, "runs.view_payload", run)
    found = StepLog.objects.filter(run=run, step_id=step_id)
    if attempt is not None:
        found = found.filter(attempt=attempt)
    if search:
        found = found.filter(message__icontains=search)
    return list(found.order_by("attempt", "number")[offset : offset + limit])


def approvals(actor: Actor, *, limit: int = 100) -> list[StepRun]:
    """Approvals that wait and that the actor may decide, oldest first."""
    require(actor, "workflows.view_workflow")
    if not allowed(actor, "runs.decide_approval"):
        return []
    waiting = StepRun.objects.filter(tenant_id=actor.tenant_id, reason=Reason.WAITING_APPROVAL)
    mine = []
    for step in waiting.select_related("run").defer("output", "run__input", "run__output").order_by("run_id", "id"):
        config = step.input if isinstance(step.input, dict) else {}
        if is_assignee(actor, config.get("assignees")):
            mine.append(step)
            if len(mine) >= limit:
                break
    return mine
