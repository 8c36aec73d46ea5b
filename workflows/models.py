"""What should happen: workflows and their versions."""

from django.db import models

from staterail.accounts.models import Tenant
from staterail.core.ids import uuid7
from staterail.core.json_column import JSONColumn


class Workflow(models.Model):
    """A named definition with its history. Its slug is its name in URLs and on the command line."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    slug = models.CharField(max_length=63)
    description = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    archived_at = models.DateTimeField(null=True)
    max_concurrent_runs = models.PositiveIntegerField(null=True)  # of the latest published version

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "slug"], name="one_workflow_per_slug")]

    def __str__(self) -> str:
        return self.slug


class WorkflowVersion(models.Model):
    """One definition. A draft until it is published, then immutable: a trigger guards it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+")
    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()  # 1, 2, 3 … in order of creation
    revision = models.PositiveIntegerField(default=1)  # grows with every save of the draft
    definition = JSONColumn()
    definition_hash = models.CharField(max_length=64)  # SHA-256 of the canonical JSON
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    published_at = models.DateTimeField(null=True)
    published_by = models.CharField(max_length=200, null=True)  # a name, for people
    note = models.TextField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workflow", "version"], name="one_version_per_number"),
            models.UniqueConstraint(
                fields=["workflow"], condition=models.Q(published_at=None), name="one_draft_per_workflow"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.version} of {self.workflow_id}"
