"""What is happening: runs, their step runs, their event log, their logs, and circuit breakers.

Rows that every step writes (step runs, events, logs) have no foreign keys where `persist` joins them to
their run anyway: a check for each row would cost more than the row. `check_invariants` looks (I-39, I-44).
"""

from django.db import models

from runs.machine.states import RUN_FINAL, RunState, StepState
from staterail.accounts.models import Tenant
from staterail.core.ids import uuid7
from staterail.core.json_column import JSONColumn
from workflows.models import Workflow, WorkflowVersion

OPEN_STATES = [RunState.CREATED, RunState.PENDING, RunState.RUNNING]
OPEN = "open"


class WorkflowRun(models.Model):
    """One execution of a version. It changes only through `store.persist`, guarded by `revision`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+", db_index=False)
    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="+", db_index=False)
    version = models.ForeignKey(WorkflowVersion, models.PROTECT, related_name="+", db_index=False)
    definition = JSONColumn(null=True)  # a test run's own copy of the draft
    is_test = models.BooleanField(default=False)
    state = models.CharField(max_length=16)
    outcome = models.GeneratedField(
        expression=models.Case(
            models.When(state__in=sorted(RUN_FINAL), then=models.F("state")), default=models.Value(OPEN)
        ),
        output_field=models.CharField(max_length=16),
        db_persist=True,
    )  # lists go by it: an index on `state` would take every change of it out of place, also those of an open run
    reason = models.CharField(max_length=24, null=True)  # null while running: read off the steps then
    generation = models.PositiveIntegerField(default=1)
    input = JSONColumn()
    output = JSONColumn(null=True)
    error = JSONColumn(null=True)  # {code, message, step_id?}
    metadata = JSONColumn(default=dict)
    trigger = models.CharField(max_length=32)  # api | ui | cli | …
    depth = models.PositiveSmallIntegerField(default=0)  # runs above it that started one another by HttpCall
    started_by = models.CharField(max_length=200)  # a user's or a token's name
    started_by_ref = models.CharField(max_length=64)  # user:<id> | token:<id> | system
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)  # of this generation
    completed_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()  # the newest event's ts
    deadline_at = models.DateTimeField(null=True)  # the run's timeout, from run_started on
    stopping = JSONColumn(null=True)  # a cancel or timeout under way: {kind, since, corr_id, reason?}
    seq = models.PositiveIntegerField(default=0)  # the newest event's
    revision = models.PositiveIntegerField(default=0)  # every write names it and raises it
    lease_owner = models.UUIDField(null=True)  # the process that drives it now
    wake_at = models.DateTimeField(null=True)  # when a reactor must look again; null: waits for a person, or ended
    idempotency_key = models.CharField(max_length=255, null=True)
    request_hash = models.CharField(max_length=64, null=True)
    admission = models.CharField(max_length=8, null=True)  # under max_concurrent_runs: held | slot
    trace_id = models.CharField(max_length=32)
    corr_id = models.CharField(max_length=255)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="run_once_per_key",
            ),
            models.CheckConstraint(condition=models.Q(state__in=list(RunState)), name="run_state"),
        ]
        indexes = [
            models.Index(fields=["wake_at"], condition=models.Q(wake_at__isnull=False), name="run_awake"),
            models.Index(
                fields=["tenant", "wake_at"], condition=models.Q(wake_at__isnull=False), name="run_awake_by_tenant"
            ),  # tenants take turns when more is due than there is room for
            models.Index(
                fields=["workflow", "admission", "id"],
                condition=models.Q(admission__isnull=False),
                name="run_admission",
            ),
            models.Index(fields=["tenant", "id"], name="run_by_tenant"),
            models.Index(fields=["workflow", "id"], name="run_by_workflow"),
            models.Index(fields=["tenant", "outcome", "id"], name="run_by_outcome"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class StepRun(models.Model):
    """One step of a run, from the moment it leaves `idle`; its id is derived from the run and the step."""

    id = models.UUIDField(primary_key=True, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    run = models.ForeignKey(  # no constraint: a row is stored with its run's, and a check of each costs 10 µs a step
        WorkflowRun, models.CASCADE, related_name="step_runs", db_index=False, db_constraint=False
    )
    step_id = models.CharField(max_length=63)
    item_index = models.IntegerField(null=True)  # null in v1
    kind = models.CharField(max_length=16)
    state = models.CharField(max_length=16)
    reason = models.CharField(max_length=24, null=True)
    attempt = models.PositiveIntegerField(default=0)
    generation = models.PositiveIntegerField(default=1)  # in which it was last queued
    tries = models.PositiveIntegerField(
        default=0
    )  # of the budget of max_attempts, since it was last queued by a command
    losses = models.PositiveSmallIntegerField(default=0)  # workers that died under it, since then
    wake_at = models.DateTimeField(null=True)  # when its timer, backoff or deadline acts
    queued_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    input = JSONColumn(null=True)  # the resolved config of the newest attempt, secrets masked
    override = models.BooleanField(default=False)  # `input` was given by retry_step
    output = JSONColumn(null=True)
    error = JSONColumn(null=True)  # {code, message, retryable, details?}
    taken = JSONColumn(null=True)  # ids of the outgoing transitions that were taken; null until its end
    fault = JSONColumn(null=True)  # what fails the run: {seq, code, message}
    breaker = models.CharField(max_length=200, null=True)  # key of the circuit breaker it waits for
    asks = models.BooleanField(null=True)  # true while it waits for a person, else null
    dead = models.BooleanField(null=True)  # true: a dead letter; false: dismissed; else null
    holder = models.CharField(max_length=36, null=True)  # the execution of an isolated task; `wake_at` is its lease

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "step_id"], name="one_step_run_per_step"),
            models.CheckConstraint(condition=models.Q(state__in=list(StepState)), name="step_state"),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "run"],
                condition=models.Q(asks__isnull=False),
                name="step_waiting_approval",
            ),
            models.Index(fields=["tenant", "run"], condition=models.Q(dead__isnull=False), name="step_dead_letter"),
            models.Index(fields=["holder"], condition=models.Q(holder__isnull=False), name="step_held_apart"),
            models.Index(
                fields=["tenant", "breaker"], condition=models.Q(breaker__isnull=False), name="step_waiting_breaker"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.step_id}"


class Event(models.Model):
    """One fact about a run. Appended in the transaction of the change it tells; never changed."""

    id = models.BigAutoField(primary_key=True)  # order of commits on SQLite
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    run = models.ForeignKey(WorkflowRun, models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    seq = models.PositiveIntegerField()  # 1, 2, 3 … without a gap within the run
    workflow_id = models.UUIDField()
    workflow_version = models.PositiveIntegerField()
    event_type = models.CharField(max_length=20)
    step_id = models.CharField(max_length=63, null=True)
    item_index = models.IntegerField(null=True)
    generation = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(null=True)
    state_before = models.CharField(max_length=16, null=True)
    state_after = models.CharField(max_length=16, null=True)
    payload = JSONColumn()
    ts = models.DateTimeField()
    trace_id = models.CharField(max_length=32)
    corr_id = models.CharField(max_length=255)
    emitter = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "seq"], name="one_event_per_seq")]

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq}"


class StepLog(models.Model):
    """One line that an attempt wrote. At most 1 MiB an attempt is kept."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    run = models.ForeignKey(WorkflowRun, models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    step_id = models.CharField(max_length=63)
    attempt = models.PositiveIntegerField()
    number = models.PositiveIntegerField()  # from 1 within the attempt
    ts = models.DateTimeField()
    level = models.CharField(max_length=8)
    message = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "step_id", "attempt", "number"], name="one_log_line_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.step_id} {self.number}"


class Worker(models.Model):
    """A process that works on a queue, as of its last word (`runs.workers`)."""

    id = models.UUIDField(primary_key=True, editable=False)  # new with every start of a process
    name = models.CharField(max_length=100)  # host:pid
    queue = models.CharField(max_length=16)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    figures = JSONColumn(default=dict)  # what it has done since its start, for /metrics

    def __str__(self) -> str:
        return self.name


class CircuitBreaker(models.Model):
    """What a tenant's calls to one dependency have come to: closed, open, or one probe under way."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+", db_index=False)
    key = models.CharField(max_length=200)
    state = models.CharField(max_length=16, default="closed")  # closed | open | half_open
    failures = JSONColumn(default=list)  # times of the failures in the window, Unix seconds
    opened_at = models.DateTimeField(null=True)
    probe_at = models.DateTimeField(null=True)  # open: when a probe may go; half_open: when it counts as lost
    revision = models.PositiveIntegerField(default=0)  # the compare-and-set of the probe

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], name="one_breaker_per_key")]

    def __str__(self) -> str:
        return self.key
