"""What a request on workflows may say, and what answers look like."""

from typing import Any

from rest_framework import serializers

from staterail.core.fields import (
    AnyJSONField,
    ClosedSerializer,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
)
from workflows.definition.parsing import BrokenDefinition, load
from workflows.models import Workflow, WorkflowVersion
from workflows.services import problems_of

JSON = Any


class NewWorkflow(ClosedSerializer):
    name = StrictCharField(min_length=1, max_length=200)
    slug = StrictCharField(min_length=1, max_length=63, required=False)
    description = StrictCharField(max_length=10_000, required=False, allow_blank=True, default="")
    definition = AnyJSONField(required=False)


class NewDraft(ClosedSerializer):
    definition = AnyJSONField()
    base_revision = StrictIntegerField(min_value=1, required=False)


class Publication(ClosedSerializer):
    version = StrictIntegerField(min_value=1, required=False)
    base_revision = StrictIntegerField(min_value=1, required=False)
    note = StrictCharField(max_length=2000, required=False, allow_blank=True)


class Archival(ClosedSerializer):
    archived = StrictBooleanField(required=False, default=True)


class DefinitionBody(ClosedSerializer):
    definition = AnyJSONField()


class ProblemAnswer(serializers.Serializer[Any]):
    severity = serializers.ChoiceField(["error", "warning"])
    code = serializers.CharField()
    message = serializers.CharField()
    path = serializers.CharField(help_text="JSON pointer into the definition")
    step_id = serializers.CharField(allow_null=True)
    transition_id = serializers.CharField(allow_null=True)


class ProblemsAnswer(serializers.Serializer[Any]):
    problems = ProblemAnswer(many=True)


class WorkflowAnswer(serializers.ModelSerializer[Workflow]):
    draft = serializers.IntegerField(
        source="draft_number", allow_null=True, help_text="number of the unpublished version"
    )
    latest_version = serializers.IntegerField(
        source="latest_number", allow_null=True, help_text="number of the newest published version"
    )

    class Meta:
        model = Workflow
        fields = [
            "id", "name", "slug", "description", "created_at", "updated_at", "archived_at", "draft", "latest_version",
        ]  # fmt: skip


class VersionAnswer(serializers.ModelSerializer[WorkflowVersion]):
    workflow_id = serializers.UUIDField()
    definition = serializers.JSONField()
    steps = serializers.SerializerMethodField()
    transitions = serializers.SerializerMethodField()
    problems = serializers.SerializerMethodField()

    class Meta:
        model = WorkflowVersion
        fields = [
            "id", "workflow_id", "version", "revision", "definition", "steps", "transitions", "problems", "created_at",
            "published_at", "published_by", "note",
        ]  # fmt: skip

    def get_steps(self, version: WorkflowVersion) -> list[dict[str, JSON]]:
        try:
            steps = load(version.definition).steps
        except BrokenDefinition:  # a draft may be incomplete
            return []
        return [
            {
                "id": step.id, "kind": step.kind, "name": step.name, "config": step.config, "join": step.join,
                "retry": written.get("retry"), "circuit_breaker": written.get("circuit_breaker"),
                "timeout_seconds": step.timeout.total_seconds() if step.timeout is not None else None,
                "position": step.position,
            }
            for step, written in zip(steps, version.definition["steps"], strict=True)
        ]  # fmt: skip

    def get_transitions(self, version: WorkflowVersion) -> list[dict[str, JSON]]:
        try:
            transitions = load(version.definition).transitions
        except BrokenDefinition:
            return []
        return [
            {
                "id": t.id, "from": t.source, "to": t.target, "on": t.on, "when": t.when, "default": t.default,
                "errors": list(t.errors) if t.errors is not None else None, "label": t.label,
            }
            for t in transitions
        ]  # fmt: skip

    def get_problems(self, version: WorkflowVersion) -> list[Any]:
        return list(problems_of(version.definition))
