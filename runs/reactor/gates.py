"""What a step must be given before it may start: a circuit breaker's leave, and its secrets.

Asked once for a whole batch, and only for runs whose definition has any: executors know no
database, so values and verdicts are handed in.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from runs import breakers
from runs.breakers import Verdict
from runs.executors.base import Call
from runs.machine.decision import Execute
from runs.machine.plan import Plan
from runs.machine.snapshot import RunHead, Snapshot
from runs.machine.states import Reason
from runs.reactor.pool import Job
from staterail.accounts.secrets import secret_values
from workflows.task_registry import registered

Verdicts = dict[int, datetime | None]
_NO_NAMES: frozenset[str] = frozenset()
_NO_VERDICTS: Verdicts = {}
_NOBODY: frozenset[int] = frozenset()


class Gates:
    """Only the reactor's thread uses it."""

    def __init__(self) -> None:
        self.of_run: dict[UUID, Verdicts] = {}
        self._values: dict[UUID, dict[str, str]] = {}
        self._known: dict[tuple[UUID, str], Verdict] = {}  # breakers asked for this batch
        self._probes: dict[tuple[UUID, int], datetime] = {}  # let through and not started yet, and until when

    def ask(
        self,
        snapshots: Sequence[Snapshot],
        now: datetime,
        apart: Callable[[Plan], frozenset[int]] | None = None,
        *,
        free: int = 1,
    ) -> "Gates":
        """Find out what this batch needs, but for the steps that `apart` names; it stands until the next call.

        While no thread is `free` no breaker is asked: by the time a step can start it may say something else.
        """
        self.of_run, self._values, self._known = {}, {}, {}
        self._probes = {key: until for key, until in self._probes.items() if until > now}
        names: dict[UUID, set[str]] = {}
        for snapshot in snapshots:
            if snapshot.plan.secret_names:
                names.setdefault(snapshot.head.tenant_id, set()).update(snapshot.plan.secret_names)
            if snapshot.plan.guarded:
                others = apart(snapshot.plan) if apart is not None else _NOBODY
                self.of_run[snapshot.head.id] = dict(self._verdicts(snapshot, now, others, free))
        for tenant_id, wanted in names.items():
            self._values[tenant_id] = secret_values(tenant_id, wanted)
        return self

    def given(self, head: RunHead) -> tuple[frozenset[str], Verdicts]:
        """What a run's steps may start with: the names of secrets that its tenant has, and the breakers' verdicts."""
        values = self._values.get(head.tenant_id) if self._values else None
        return (
            frozenset(values) if values else _NO_NAMES,
            self.of_run.get(head.id, _NO_VERDICTS) if self.of_run else _NO_VERDICTS,
        )

    def _verdicts(
        self, snapshot: Snapshot, now: datetime, apart: frozenset[int], free: int
    ) -> Iterator[tuple[int, datetime | None]]:
        for i in (snapshot.queued.keys() & snapshot.plan.guarded.keys()) - apart:
            row = snapshot.steps[i]
            if row.reason is not Reason.READY and (row.wake_at is None or row.wake_at > now):
                continue
            if free > 0:
                yield i, self._until(snapshot, i, now)
            elif row.reason is Reason.CIRCUIT_OPEN:
                yield i, None  # its time has come: it waits for a thread now, and is asked for again then

    def _until(self, snapshot: Snapshot, i: int, now: datetime) -> datetime | None:
        """None to let the step through; a breaker is asked once a batch."""
        if (snapshot.head.id, i) in self._probes:
            return None
        tenant_id, policy = snapshot.head.tenant_id, snapshot.plan.guarded[i]
        verdict = self._known.get((tenant_id, policy.key))
        if verdict is None:
            verdict = self._known[tenant_id, policy.key] = breakers.gate(tenant_id, policy, now)
            if verdict.until is not None and verdict.goes:
                self._probes[snapshot.head.id, i] = verdict.until
                self._known[tenant_id, policy.key] = Verdict(goes=False, until=verdict.until)
        return None if verdict.goes else verdict.until

    def begun(self, run_id: UUID, i: int) -> None:
        """A step that was let through has begun: whatever comes of it, it is asked for anew."""
        self._probes.pop((run_id, i), None)

    def job(self, snapshot: Snapshot, command: Execute) -> Job:
        """The work for the pool."""
        head, step = snapshot.head, snapshot.plan.steps[command.step]
        call = Call(
            run_id=head.id, step_id=step.id, kind=step.kind, attempt=command.attempt, generation=command.generation,
            config=command.config, timeout=step.timeout.total_seconds() if step.timeout is not None else None,
            trace_id=head.trace_id, corr_id=head.corr_id, metadata=snapshot.metadata, depth=head.depth,
            alone=command.alone or _isolated(step.kind, command.config),
        )  # fmt: skip
        if command.template is None:
            return Job(command.step, call)
        values, names = self._values.get(head.tenant_id, {}), command.template.secrets
        call.secrets = tuple(values[name] for name in names if name in values)
        context = {**(command.context or {}), **{f"secrets.{name}": values.get(name) for name in names}}
        return Job(command.step, call, command.template, context)


def _isolated(kind: str, config: object) -> bool:
    name = config.get("name") if kind == "Task" and isinstance(config, dict) else None
    known = registered().get(name) if isinstance(name, str) else None
    return known is not None and known.isolated
