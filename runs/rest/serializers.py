"""What a request on runs may say, and what answers look like."""

from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from runs.actions import run_actions, step_actions, why_not_decide
from runs.failures import error_signature
from runs.machine.states import RunState, StepState
from runs.models import Event, StepLog, StepRun, WorkflowRun
from runs.selectors import RunFacts
from staterail.accounts.idempotency import KEY
from staterail.core.fields import (
    AnyJSONField,
    ClosedSerializer,
    JSONObjectField,
    StrictCharField,
    StrictChoiceField,
    StrictIntegerField,
)
from staterail.core.ids import derived_uuid7

JSON = Any
MAX_BATCH = 1000


class NewRun(ClosedSerializer):
    input = AnyJSONField(required=False)
    metadata = JSONObjectField(required=False)
    version = StrictIntegerField(min_value=1, required=False)
    corr_id = StrictCharField(min_length=1, max_length=255, required=False)


class BatchItem(ClosedSerializer):
    input = AnyJSONField(required=False)
    metadata = JSONObjectField(required=False)
    corr_id = StrictCharField(min_length=1, max_length=255, required=False)
    idempotency_key = StrictCharField(required=False)

    def validate_idempotency_key(self, key: str) -> str:
        if KEY.fullmatch(key) is None:
            raise serializers.ValidationError("A key is 1 to 255 printable ASCII characters.")
        return key


class Batch(ClosedSerializer):
    runs = BatchItem(many=True, max_length=MAX_BATCH, allow_empty=False)  # type: ignore[call-arg] # many's own


class Cancellation(ClosedSerializer):
    reason = StrictCharField(max_length=2000, required=False, allow_blank=True)


class Nothing(ClosedSerializer):
    pass


class StepRetry(ClosedSerializer):
    input = AnyJSONField(required=False)
    item_index = StrictIntegerField(required=False, allow_null=True)


class Transition(ClosedSerializer):
    action = StrictChoiceField(["approve", "reject"])
    comment = StrictCharField(max_length=2000, required=False, allow_blank=True, allow_null=True)
    data = AnyJSONField(required=False)  # type: ignore[assignment] # a field called data
    item_index = StrictIntegerField(required=False, allow_null=True)


class ActionAnswer(serializers.Serializer[Any]):
    action = serializers.CharField()
    allowed = serializers.BooleanField()
    reason = serializers.CharField(allow_null=True)


class FailureAnswer(serializers.Serializer[Any]):
    """The first unhandled failure."""

    step_id = serializers.CharField()
    attempt = serializers.IntegerField()
    code = serializers.CharField()
    message = serializers.CharField()
    signature = serializers.CharField(help_text="the same for failures that differ in numbers and ids only")
    at = serializers.DateTimeField()
    similar_runs_24h = serializers.IntegerField(
        help_text="other runs of the last 24 hours that failed with this signature, among the newest 1,000 that failed"
    )


def duration_ms(started_at: datetime | None, completed_at: datetime | None) -> float | None:
    """Started to completed, or to now while it runs."""
    if started_at is None:
        return None
    return max(0.0, round(((completed_at or datetime.now(UTC)) - started_at).total_seconds() * 1000, 3))


class StepRunAnswer(serializers.ModelSerializer[StepRun]):
    run_id = serializers.UUIDField()
    state = serializers.ChoiceField(list(StepState))
    duration_ms = serializers.SerializerMethodField()
    input = serializers.JSONField(allow_null=True)
    output = serializers.JSONField(allow_null=True)
    error = serializers.JSONField(allow_null=True)
    input_bytes = serializers.SerializerMethodField(help_text="where the input is too large to stand here")
    output_bytes = serializers.SerializerMethodField()
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = StepRun
        fields = [
            "id", "run_id", "step_id", "item_index", "kind", "state", "attempt", "reason", "wake_at", "queued_at",
            "started_at", "completed_at", "duration_ms", "input", "output", "error", "input_bytes", "output_bytes",
            "allowed_actions",
        ]  # fmt: skip

    def get_duration_ms(self, step: StepRun) -> float | None:
        return duration_ms(step.started_at, step.completed_at if step.state != StepState.RUNNING else None)

    def get_input_bytes(self, step: StepRun) -> int | None:
        return getattr(step, "input_bytes", None)

    def get_output_bytes(self, step: StepRun) -> int | None:
        return getattr(step, "output_bytes", None)

    @extend_schema_field(ActionAnswer(many=True))
    def get_allowed_actions(self, step: StepRun) -> list[dict[str, JSON]]:
        return step_actions(self.context["decider"], self.context["run"], step)


class RunAnswer(serializers.ModelSerializer[WorkflowRun]):
    """A run as lists and commands answer it. `context` has the actor and the page's facts."""

    workflow_id = serializers.UUIDField()
    workflow_version_id = serializers.UUIDField(source="version_id")
    state = serializers.ChoiceField(list(RunState))
    reason = serializers.SerializerMethodField()
    input = serializers.JSONField(allow_null=True, help_text="null where it is larger than 64 KiB: see input_bytes")
    output = serializers.JSONField(allow_null=True)
    input_bytes = serializers.SerializerMethodField()
    output_bytes = serializers.SerializerMethodField()
    error = serializers.JSONField(allow_null=True)
    metadata = serializers.JSONField()
    duration_ms = serializers.SerializerMethodField()
    sla_seconds = serializers.SerializerMethodField()
    sla_breached = serializers.SerializerMethodField()
    current_steps = serializers.SerializerMethodField()
    failure = serializers.SerializerMethodField()
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = WorkflowRun
        fields = [
            "id", "workflow_id", "workflow_version_id", "state", "reason", "generation", "input", "output",
            "input_bytes", "output_bytes", "error", "metadata", "trigger", "started_by", "is_test", "created_at",
            "started_at", "completed_at", "duration_ms", "seq", "trace_id", "corr_id", "sla_breached", "sla_seconds",
            "current_steps", "failure", "allowed_actions",
        ]  # fmt: skip

    def _facts(self, run: WorkflowRun) -> RunFacts:
        return self.context["facts"].get(run.id) or RunFacts()

    def get_reason(self, run: WorkflowRun) -> str | None:
        return self._facts(run).reason

    def get_input_bytes(self, run: WorkflowRun) -> int | None:
        return getattr(run, "input_bytes", None)

    def get_output_bytes(self, run: WorkflowRun) -> int | None:
        return getattr(run, "output_bytes", None)

    def get_duration_ms(self, run: WorkflowRun) -> float | None:
        return duration_ms(run.started_at, run.completed_at)

    def get_sla_seconds(self, run: WorkflowRun) -> float | None:
        return self._facts(run).sla_seconds

    def get_sla_breached(self, run: WorkflowRun) -> bool:
        sla, taken = self._facts(run).sla_seconds, duration_ms(run.started_at, run.completed_at)
        return sla is not None and taken is not None and taken > sla * 1000

    def get_current_steps(self, run: WorkflowRun) -> list[str]:
        return self._facts(run).open_steps

    @extend_schema_field(FailureAnswer(allow_null=True))
    def get_failure(self, run: WorkflowRun) -> dict[str, JSON] | None:
        facts = self._facts(run)
        step = facts.failed_step
        if step is None or not isinstance(step.fault, dict):
            return None
        code, message = str(step.fault.get("code")), str(step.fault.get("message"))
        return {
            "step_id": step.step_id, "attempt": step.attempt, "code": code, "message": message,
            "signature": error_signature(run.workflow_id, step.step_id, code, message), "at": step.completed_at,
            "similar_runs_24h": facts.similar_runs,
        }  # fmt: skip

    @extend_schema_field(ActionAnswer(many=True))
    def get_allowed_actions(self, run: WorkflowRun) -> list[dict[str, JSON]]:
        return run_actions(self.context["actor"], run)


class RunDetailAnswer(RunAnswer):
    step_runs = serializers.SerializerMethodField()

    class Meta(RunAnswer.Meta):
        fields = [*RunAnswer.Meta.fields, "step_runs"]

    @extend_schema_field(StepRunAnswer(many=True))
    def get_step_runs(self, run: WorkflowRun) -> list[dict[str, JSON]]:
        steps = self.context["steps"]
        return StepRunAnswer(steps, many=True, context={"decider": self.context["decider"], "run": run}).data  # type: ignore[return-value]


class EventAnswer(serializers.ModelSerializer[Event]):
    id = serializers.SerializerMethodField()
    run_id = serializers.UUIDField()
    payload = serializers.JSONField()

    class Meta:
        model = Event
        fields = [
            "id", "event_type", "workflow_id", "workflow_version", "run_id", "seq", "step_id", "item_index",
            "generation", "attempt", "state_before", "state_after", "payload", "ts", "trace_id", "corr_id", "emitter",
        ]  # fmt: skip

    def get_id(self, event: Event) -> str:
        return str(derived_uuid7(event.run_id, f"#{event.seq}"))


class LogLineAnswer(serializers.ModelSerializer[StepLog]):
    class Meta:
        model = StepLog
        fields = ["number", "ts", "attempt", "level", "message"]


class ApprovalAnswer(serializers.Serializer[StepRun]):
    step_run_id = serializers.UUIDField(source="id")
    run_id = serializers.UUIDField()
    step_id = serializers.CharField()
    workflow_id = serializers.UUIDField(source="run.workflow_id")
    title = serializers.SerializerMethodField()
    instructions = serializers.SerializerMethodField()
    assignees = serializers.SerializerMethodField()
    requested_at = serializers.DateTimeField(source="started_at")
    due_at = serializers.DateTimeField(source="wake_at", allow_null=True)
    form_schema = serializers.SerializerMethodField()
    can_act = serializers.SerializerMethodField()

    def _config(self, step: StepRun) -> dict[str, JSON]:
        return step.input if isinstance(step.input, dict) else {}

    def get_title(self, step: StepRun) -> str:
        return str(self._config(step).get("title", ""))

    def get_instructions(self, step: StepRun) -> str:
        return str(self._config(step).get("instructions", ""))

    def get_assignees(self, step: StepRun) -> list[str]:
        assignees = self._config(step).get("assignees")
        return [str(entry) for entry in assignees] if isinstance(assignees, list) else []

    def get_form_schema(self, step: StepRun) -> dict[str, JSON] | None:
        schema = self._config(step).get("form_schema")
        return schema if isinstance(schema, dict) else None

    def get_can_act(self, step: StepRun) -> bool:
        return why_not_decide(self.context["decider"], step.run, step) is None
