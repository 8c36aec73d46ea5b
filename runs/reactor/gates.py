"""What a step must be given before it may start: a circuit breaker's leave, and its secrets.

Asked once for a whole batch, and only for runs whose definition has any: executors know no
database, so values and verdicts are handed in.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from runs import breakers
from runs.executors.base import Call
from runs.machine.decision import Execute
from runs.machine.plan import Plan
from runs.machine.snapshot import Snapshot
from runs.machine.states import Reason, StepState
from runs.machine.stimuli import Due, Failed, Stimulus, Succeeded
from runs.reactor.pool import Job
from runs.wakers import wake_waiting
from staterail.accounts.secrets import secret_values
from workflows.task_registry import registered

Verdicts = dict[int, datetime | None]
_NO_NAMES: frozenset[str] = frozenset()


class Gates:
    """Only the reactor's thread uses it."""

    def __init__(self) -> None:
        self.of_run: dict[UUID, Verdicts] = {}
        self._values: dict[UUID, dict[str, str]] = {}
        self._admitted: set[tuple[UUID, int]] = (
            set()
        )  # let through, and not started yet: a probe is not asked for twice

    def ask(self, snapshots: Sequence[Snapshot], now: datetime) -> "Gates":
        """Find out what this batch needs; the answers stand until the next call."""
        self.of_run, self._values = {}, {}
        names: dict[UUID, set[str]] = {}
        for snapshot in snapshots:
            if snapshot.plan.secret_names:
                names.setdefault(snapshot.head.tenant_id, set()).update(snapshot.plan.secret_names)
            if snapshot.plan.guarded:
                self.of_run[snapshot.head.id] = dict(self._verdicts(snapshot, now))
        for tenant_id, wanted in names.items():
            self._values[tenant_id] = secret_values(tenant_id, wanted)
        return self

    def secret_names(self, tenant_id: UUID) -> frozenset[str]:
        values = self._values.get(tenant_id)
        return frozenset(values) if values else _NO_NAMES

    def guarded(self, plan: Plan) -> bool:
        """Whether any step of the plan has a circuit breaker."""
        return bool(plan.guarded)

    def _verdicts(self, snapshot: Snapshot, now: datetime) -> Iterator[tuple[int, datetime | None]]:
        for i in snapshot.queued.keys() & snapshot.plan.guarded.keys():
            row = snapshot.steps[i]
            if row.reason is not Reason.READY and (row.wake_at is None or row.wake_at > now):
                continue
            key = (snapshot.head.id, i)
            until = None
            if key not in self._admitted:
                until = breakers.gate(snapshot.head.tenant_id, snapshot.plan.guarded[i], now)
                if until is None:
                    self._admitted.add(key)
            yield i, until

    def job(self, snapshot: Snapshot, command: Execute) -> Job:
        """The work for the pool."""
        head, step = snapshot.head, snapshot.plan.steps[command.step]
        self._admitted.discard((head.id, command.step))
        call = Call(
            run_id=head.id, step_id=step.id, kind=step.kind, attempt=command.attempt, generation=command.generation,
            config=command.config, timeout=step.timeout.total_seconds() if step.timeout is not None else None,
            trace_id=head.trace_id, corr_id=head.corr_id, metadata=snapshot.metadata,
            alone=command.alone or _isolated(step.kind, command.config),
        )  # fmt: skip
        if command.template is None:
            return Job(command.step, call)
        values = self._values.get(head.tenant_id, {})
        names = command.template.secrets
        call.secrets = tuple(values[name] for name in names if name in values)
        context = {**(command.context or {}), **{f"secrets.{name}": values.get(name) for name in names}}
        return Job(command.step, call, command.template, context)

    def record(
        self, snapshot: Snapshot, outcomes: Iterable[Stimulus], now: datetime, mine: set[UUID]
    ) -> Iterator[tuple[UUID, str]]:
        """Tell the breakers how attempts ended. Yields (run, step) of `mine` that waited for one that closed."""
        tenant_id = snapshot.head.tenant_id
        for outcome in outcomes:
            i = outcome.step if isinstance(outcome, Succeeded | Failed | Due) else None
            policy = snapshot.plan.guarded.get(i) if i is not None else None
            row = snapshot.steps.get(i) if i is not None else None
            if policy is None or row is None or _late(outcome, row.attempt):
                continue
            if isinstance(outcome, Due):
                if row.error is not None and row.error.get("code") == "timeout" and row.state is not StepState.RUNNING:
                    breakers.record_failure(tenant_id, policy, now)
            elif isinstance(outcome, Failed) and breakers.is_failure(str(outcome.error.get("code"))):
                breakers.record_failure(tenant_id, policy, now)
            elif breakers.record_success(tenant_id, policy):
                yield from wake_waiting(tenant_id, policy.key, mine)


def _late(outcome: Stimulus, attempt: int) -> bool:
    return isinstance(outcome, Succeeded | Failed) and outcome.attempt != attempt


def _isolated(kind: str, config: object) -> bool:
    if kind != "Task" or not isinstance(config, dict):
        return False
    known = registered().get(config.get("name", ""))
    return known is not None and known.isolated
