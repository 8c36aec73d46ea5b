"""The plain ORM store: slow and easy to believe. Tests hold the other stores against it."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, JSONField, Min, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast

from runs.machine.states import RUN_FINAL
from runs.models import Event, StepLog, StepRun, WorkflowRun
from runs.store import admission
from runs.store.interface import LEASE, Lease, Loaded, LogBatch, Write
from runs.store.plans import plans_of
from runs.store.rows import HEAD_COLUMNS, RUN_COLUMNS, STEP_COLUMNS, loaded, taken_ids
from runs.store.turns import Turns
from runs.store.whole import OF, is_torn, load_whole
from staterail.core.ids import derived_uuid7
from workflows.models import WorkflowVersion

_JSON = frozenset({"input", "metadata", "output", "error", "stopping", "definition", "taken", "fault"})


class ReferenceStore:
    """See `runs.store.interface.Store`."""

    def __init__(self) -> None:
        self._turns = Turns()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def claim(self, owner: UUID, room: int) -> list[UUID]:
        now = self.now()
        due = WorkflowRun.objects.filter(wake_at__lte=now).filter(~Q(lease_owner=owner) | Q(lease_owner=None))
        if due.count() <= room:
            return self._claim(due, owner, now, room)
        tenants = list(due.order_by("tenant_id").values_list("tenant_id", flat=True).distinct())
        claimed: list[UUID] = []
        while room > len(claimed):
            chosen, share = self._turns.share(tenants, room - len(claimed))
            before = len(claimed)
            for tenant in chosen:
                claimed += self._claim(due.filter(tenant_id=tenant), owner, now, share)
            if len(claimed) == before:
                break
        return claimed

    def _claim(self, due: QuerySet[WorkflowRun], owner: UUID, now: datetime, room: int) -> list[UUID]:
        claimed: list[UUID] = []
        for id, revision in due.order_by("wake_at", "id").values_list("id", "revision")[:room]:
            claimed += [id] * WorkflowRun.objects.filter(id=id, revision=revision, wake_at__lte=now).update(
                revision=F("revision") + 1, lease_owner=owner, wake_at=now + LEASE
            )
        return claimed

    def load(self, run_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        return load_whole(self._load, run_ids)

    def _load(self, run_ids: Collection[UUID]) -> tuple[dict[UUID, Loaded], list[UUID]]:
        columns = (*HEAD_COLUMNS, *RUN_COLUMNS, "definition", "lease_owner")
        runs = {run["id"]: run for run in _rows(WorkflowRun.objects.filter(id__in=list(run_ids)), columns)}
        versions = WorkflowVersion.objects.select_related("workflow").in_bulk(
            {run["version_id"] for run in runs.values()}
        )
        steps: dict[UUID, list[dict[str, Any]]] = {id: [] for id in runs}
        of_runs = StepRun.objects.filter(run_id__in=list(runs)).annotate(**{OF: F("run__revision")})
        for row in _rows(of_runs, ("run_id", "step_id", OF, *STEP_COLUMNS)):
            steps[row["run_id"]].append(row)
        plans = plans_of({run["version_id"] for run in runs.values() if run["definition"] is None})
        for run in runs.values():
            version = versions[run["version_id"]]
            run["version"], run["limited"] = version.version, version.workflow.max_concurrent_runs is not None
        torn = [id for id, run in runs.items() if is_torn(run, steps[id])]
        return {id: loaded(run, steps[id], plans.get) for id, run in runs.items()}, torn

    def persist(self, writes: Sequence[Write]) -> set[UUID]:
        return admission.persist(self, writes)

    def persist_admitted(self, writes: Sequence[Write]) -> set[UUID]:
        now = self.now()
        with transaction.atomic():
            return {write.decision.run_id for write in writes if self._persist(write, now)}

    def _persist(self, write: Write, now: datetime) -> bool:
        decision, head = write.decision, write.head
        values = {column: getattr(decision.run, column) for column in RUN_COLUMNS}
        values["output"] = _value(values["output"])
        if decision.run.state in RUN_FINAL:
            values |= {"lease_owner": None, "wake_at": None}
        elif write.lease is Lease.RELEASE:
            values |= {"lease_owner": None, "wake_at": write.wake_at}
        if write.new is not None:
            if write.new.idempotency_key is not None:
                same = WorkflowRun.objects.filter(tenant_id=head.tenant_id, idempotency_key=write.new.idempotency_key)
                if same.exists():
                    return False
            WorkflowRun.objects.create(**self._new(write), **{"wake_at": now, **values})
        else:
            guarded = WorkflowRun.objects.filter(id=decision.run_id, revision=decision.expected)
            if not guarded.update(**values):
                return False
            if write.lease is Lease.WAKE and decision.run.state not in RUN_FINAL:
                WorkflowRun.objects.filter(id=decision.run_id, lease_owner=None).update(wake_at=now)
        for i, row in decision.steps.items():
            step = write.plan.steps[i]
            columns = {column: getattr(row, column) for column in STEP_COLUMNS}
            columns["taken"] = taken_ids(write.plan, row)
            columns["output"] = _value(row.output)
            columns["input"] = _value(row.input)
            if row.input is None:
                del columns["input"]
            StepRun.objects.update_or_create(
                id=derived_uuid7(head.id, step.id),
                defaults=columns,
                create_defaults={
                    **columns, "tenant_id": head.tenant_id, "run_id": head.id, "step_id": step.id, "kind": step.kind,
                },
            )  # fmt: skip
        for event in decision.events:
            Event.objects.create(
                tenant_id=head.tenant_id, run_id=head.id, workflow_id=head.workflow_id,
                workflow_version=head.version, trace_id=head.trace_id, emitter=write.emitter, **event._asdict(),
            )  # fmt: skip
        self.append_logs(head, write.logs)
        return True

    def _new(self, write: Write) -> dict[str, Any]:
        head, new = write.head, write.new
        assert new is not None
        return {
            "id": head.id, "tenant_id": head.tenant_id, "workflow_id": head.workflow_id,
            "version_id": head.version_id, "input": json.loads(head.input), "metadata": json.loads(head.metadata),
            "trace_id": head.trace_id, "corr_id": head.corr_id, "trigger": head.trigger, "depth": head.depth,
            "created_at": new.created_at, "started_by": new.started_by, "started_by_ref": new.started_by_ref,
            "is_test": new.is_test, "definition": json.loads(new.definition) if new.definition else None,
            "idempotency_key": new.idempotency_key, "request_hash": new.request_hash,
        }  # fmt: skip

    def renew(self, owner: UUID) -> dict[UUID, int]:
        mine = WorkflowRun.objects.filter(lease_owner=owner)
        mine.update(wake_at=self.now() + LEASE)
        return dict(mine.values_list("id", "revision"))

    def append_logs(self, head: Any, batches: Iterable[LogBatch]) -> None:
        StepLog.objects.bulk_create(
            [
                StepLog(
                    tenant_id=head.tenant_id, run_id=head.id, step_id=batch.step_id, attempt=batch.attempt,
                    number=batch.first + n, ts=line.ts, level=line.level, message=line.message,
                )
                for batch in batches
                for n, line in enumerate(batch.lines)
            ],
            ignore_conflicts=True,
        )  # fmt: skip

    def next_wake(self) -> datetime | None:
        found: datetime | None = WorkflowRun.objects.aggregate(first=Min("wake_at"))["first"]
        return found


def _value(text: str | None) -> Any:
    if text is None:
        return None
    value = json.loads(text)
    return Value(None, JSONField()) if value is None else value


def _rows(found: QuerySet[Any], columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Rows with their JSON columns as the text that is stored: JSON's null is not the database's."""
    texts = {f"{column}_text": Cast(column, TextField()) for column in columns if column in _JSON}
    plain = [column for column in columns if column not in _JSON]
    for row in found.annotate(**texts).values(*plain, *texts):
        yield {name.removesuffix("_text"): value for name, value in row.items()}
