"""The commands on runs. Each loads the run, asks the machine, and stores the answer under the guard.

The same `decide` and the same guard as the reactor's: whoever commits first wins, the other
loads the new state and is judged by it. Nothing here starts a step: the doorbell rings for that.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from runs import doorbell, store
from runs.approvals import check_decision
from runs.machine.decide import decide
from runs.machine.snapshot import RunHead, Snapshot
from runs.machine.stimuli import Cancel, ManualTransition, RetryRun, RetryStep, Start, Stimulus
from runs.models import WorkflowRun
from runs.store import Lease, Loaded, NewRun, Write
from runs.store.plans import compiled, plans_of
from staterail.core import tracing
from staterail.core.actor import Actor
from staterail.core.errors import (
    Conflict,
    IdempotencyConflict,
    NotFound,
    PayloadTooLarge,
    Unavailable,
    ValidationFailed,
)  # fmt: skip
from staterail.core.ids import uuid7
from staterail.core.permissions import require
from staterail.core.strict_json import dumps
from workflows import selectors as workflows
from workflows.definition.configs import resolved_problems
from workflows.definition.parsing import BrokenDefinition
from workflows.definition.schemas import check_values
from workflows.definition.shape import STEP_ID
from workflows.models import Workflow, WorkflowVersion
from workflows.task_registry import signatures

JSON = Any
LIMIT_BYTES = 1024 * 1024
RACES = 50  # lost to others before a command gives up
UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class Started:
    """`created` is false where the idempotency key had started this run before."""

    run_id: UUID
    created: bool


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run of a batch."""

    input: JSON = field(default_factory=dict)
    metadata: dict[str, JSON] | None = None
    corr_id: str | None = None
    idempotency_key: str | None = None


def start_run(
    *,
    actor: Actor,
    workflow: Workflow,
    input: JSON,
    version: int | None = None,
    metadata: dict[str, JSON] | None = None,
    corr_id: str | None = None,
    idempotency_key: str | None = None,
    trigger: str = "api",
    draft: bool = False,
) -> Started:
    """Start a run of a published version (the latest by default), or name the run this key already started.

    The run is stored, `pending`, when this returns; a reactor claims it after commit.

    Args:
        input: JSON object of at most 1 MiB, checked against the version's input schema.
        draft: run the draft instead, as a test run that keeps its own copy of the definition.
        corr_id: the run's; else the request's `X-Correlation-Id`, else its own id.
        idempotency_key: 1 to 255 characters chosen by the caller, unique in the tenant, kept for ever.

    Raises:
        Forbidden: the actor may see the workflow but not operate it.
        Conflict: there is no such published version, or the workflow is archived.
        ValidationFailed: `input` breaks the schema; `problems` carry JSON pointers.
        IdempotencyConflict: the key has been used with another body.
    """
    request = RunRequest(input, metadata, corr_id, idempotency_key)
    started = _start(actor, workflow, [request], version, trigger, draft)
    return started[0]


def start_runs(
    *, actor: Actor, workflow: Workflow, requests: Sequence[RunRequest], version: int | None = None
) -> list[UUID]:
    """Start many runs in one transaction: all are stored, or none. Ids in the order of `requests`."""
    return [started.run_id for started in _start(actor, workflow, requests, version, "api", False)]


def _start(
    actor: Actor, workflow: Workflow, requests: Sequence[RunRequest], version: int | None, trigger: str, draft: bool
) -> list[Started]:
    require(actor, "workflows.operate_workflow", workflow)
    hashes = [_request_hash(workflow, version, draft, request) for request in requests]
    known = _started_before(actor, requests, hashes)
    started: list[Started | None] = [Started(id, created=False) if id else None for id in known]
    fresh = [n for n, before in enumerate(started) if before is None]
    if fresh:
        _keys_differ_or_bodies_agree(requests, hashes)
        target = workflows.draft_of(actor, workflow) if draft else workflows.published_version(actor, workflow, version)
        writes = _writes(actor, target, [requests[n] for n in fresh], [hashes[n] for n in fresh], trigger, draft)
        with transaction.atomic():
            winners = store.current().persist(writes)
            for n, write in zip(fresh, writes, strict=True):
                started[n] = Started(write.head.id, created=True) if write.head.id in winners else None
            if None in started:  # a key that came twice, in this batch or in a race for it
                again = _started_before(actor, requests, hashes)
                started = [
                    s or (Started(id, created=False) if id else None) for s, id in zip(started, again, strict=True)
                ]
            if None in started:
                raise Unavailable("The run could not be stored: try again.", retry_after=1)
            doorbell.ring_after_commit()
    return [s for s in started if s is not None]


def _keys_differ_or_bodies_agree(requests: Sequence[RunRequest], hashes: Sequence[str]) -> None:
    bodies: dict[str, str] = {}
    for request, request_hash in zip(requests, hashes, strict=True):
        if (
            request.idempotency_key is not None
            and bodies.setdefault(request.idempotency_key, request_hash) != request_hash
        ):
            raise IdempotencyConflict(f"The key {request.idempotency_key[:100]} stands twice in this batch.")


def _started_before(actor: Actor, requests: Sequence[RunRequest], hashes: Sequence[str]) -> list[UUID | None]:
    keys = {request.idempotency_key for request in requests if request.idempotency_key is not None}
    if not keys:
        return [None] * len(requests)
    runs = WorkflowRun.objects.filter(tenant_id=actor.tenant_id, idempotency_key__in=keys)
    known = {key: (id, hash) for id, key, hash in runs.values_list("id", "idempotency_key", "request_hash")}
    found: list[UUID | None] = []
    for request, request_hash in zip(requests, hashes, strict=True):
        id, before = known.get(request.idempotency_key or "", (None, None))
        if id is not None and before != request_hash:
            raise IdempotencyConflict
        found.append(id)
    return found


def _request_hash(workflow: Workflow, version: int | None, draft: bool, request: RunRequest) -> str:
    body = [str(workflow.id), version, draft, request.input, request.metadata, request.corr_id]
    return hashlib.sha256(repr(_canonical(body)).encode()).hexdigest()


def _canonical(value: JSON) -> JSON:
    if isinstance(value, dict):
        return sorted((key, _canonical(item)) for key, item in value.items())
    return [_canonical(item) for item in value] if isinstance(value, list) else value


def _writes(
    actor: Actor, version: WorkflowVersion, requests: Sequence[RunRequest], hashes: Sequence[str], trigger: str,
    draft: bool,
) -> list[Write]:  # fmt: skip
    plan = compiled(version.definition) if draft else plans_of({version.id})[version.id]
    if isinstance(plan, BrokenDefinition):
        raise ValidationFailed(f"The definition cannot be run: {plan}")
    current = store.current()
    now, trace_id, caller = current.now(), tracing.trace_id(), tracing.correlation_id()
    writes = []
    for request, request_hash in zip(requests, hashes, strict=True):
        text = _checked_input(plan.definition.input_schema, request.input)
        id = uuid7()
        head = RunHead(
            id=id, tenant_id=actor.tenant_id, workflow_id=version.workflow_id, version_id=version.id,
            version=version.version, input=text, metadata=_bounded("metadata", request.metadata or {}),
            trace_id=trace_id, corr_id=request.corr_id or caller or str(id), trigger=trigger,
            depth=tracing.depth(),
        )  # fmt: skip
        new = NewRun(
            now, actor.name[:200], actor.ref, is_test=draft, definition=dumps(version.definition) if draft else None,
            idempotency_key=request.idempotency_key, request_hash=request_hash,
        )  # fmt: skip
        decision = decide(Snapshot.new(head, plan, now), Start(), now)
        writes.append(Write(head, plan, decision, lease=Lease.WAKE, new=new, emitter="api"))
    return writes


def _checked_input(schema: dict[str, JSON] | None, value: JSON) -> str:
    text = _bounded("input", value)
    problems = check_values(schema, value, "/input") if schema is not None else []
    if problems:
        raise ValidationFailed("The input does not fit the workflow's input_schema.", problems=problems)
    return text


def _bounded(name: str, value: JSON) -> str:
    text = dumps(value)
    if len(text.encode()) > LIMIT_BYTES:
        raise PayloadTooLarge(f"`{name}` is larger than 1 MiB.")
    return text


def cancel_run(*, actor: Actor, run_id: UUID, reason: str | None = None, corr_id: str | None = None) -> None:
    """Cancel a run: what has not started is skipped at once, what executes is told and ends within 10 s.

    No-op where it is cancelled already or under way. Raises IllegalTransition for a run that has ended.
    """
    _command(actor, run_id, Cancel(corr_id, reason, actor.name))


def retry_run(*, actor: Actor, run_id: UUID, corr_id: str | None = None) -> None:
    """Take up a failed or cancelled run where it failed. Raises IllegalTransition where there is nothing to retry."""
    _command(actor, run_id, RetryRun(corr_id, actor.name))


def retry_step(*, actor: Actor, run_id: UUID, step_id: str, input: JSON = UNSET, corr_id: str | None = None) -> None:
    """Queue a failed step again, with `input` in place of its resolved config where it is given.

    An approval keeps its definition's assignees, form_schema and forbid_starter.

    Raises IllegalTransition unless the step failed and nothing that follows it is open,
    ValidationFailed for an input that is no config of the step's kind.
    """
    _check_step_id(step_id)
    text = None if input is UNSET else _bounded("input", input)

    def stimulus(loaded: Loaded) -> Stimulus:
        plan = loaded.snapshot.plan
        if text is not None and step_id in plan.index:
            kind = plan.steps[plan.index[step_id]].kind
            problems = resolved_problems(kind, input, tasks=signatures(), path=("input",))
            if problems:
                raise ValidationFailed(f"The input is no config of a {kind}.", problems=problems)
        return RetryStep(step_id, text, corr_id, actor.name)

    _command(actor, run_id, stimulus)


def decide_approval(
    *, actor: Actor, run_id: UUID, step_id: str, action: str, comment: str | None = None, data: JSON = None,
    corr_id: str | None = None,
) -> None:  # fmt: skip
    """Approve or reject a step that waits for it. It counts once.

    Raises Forbidden unless the actor is an assignee, ValidationFailed where `data` breaks the
    form, IllegalTransition (saying who decided what and when) where nothing waits.
    """
    _check_step_id(step_id)

    def stimulus(loaded: Loaded) -> Stimulus:
        comment_text = check_decision(actor, loaded, step_id, action, comment, data)
        return ManualTransition(step_id, action, actor.name, comment_text, data, corr_id)

    _command(actor, run_id, stimulus, permission="runs.decide_approval")


def _check_step_id(step_id: str) -> None:
    if re.fullmatch(STEP_ID, step_id) is None:
        raise NotFound("This run has no such step.")


def _command(actor: Actor, run_id: UUID, stimulus: Any, *, permission: str = "workflows.operate_workflow") -> None:
    """Decide and store, again while others win the race for the run's revision."""
    current = store.current()
    for _ in range(RACES):
        loaded = current.load([run_id]).get(run_id)
        if loaded is None or loaded.snapshot.head.tenant_id != actor.tenant_id:
            raise NotFound
        require(actor, permission)
        snapshot = loaded.snapshot
        if loaded.broken is not None:
            raise Conflict(f"The engine cannot go on with this run. {loaded.broken}")
        told = stimulus(loaded) if callable(stimulus) else stimulus
        decision = decide(snapshot, told, current.now())
        if not decision.changes:
            return
        with transaction.atomic():
            won = current.persist([Write(snapshot.head, snapshot.plan, decision, lease=Lease.WAKE, emitter="api")])
            if won:
                doorbell.ring_after_commit(*([run_id] if loaded.lease_owner is not None else []))
                return
    raise Unavailable("The run is changing too fast: try again.", retry_after=1)
