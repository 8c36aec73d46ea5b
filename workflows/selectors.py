"""Reading workflows: always within the actor's tenant, a foreign one is as one that does not exist."""

import re
from uuid import UUID

from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from staterail.core.actor import Actor
from staterail.core.errors import Conflict, NotFound
from staterail.core.ids import uuid_or_none
from staterail.core.permissions import require
from workflows.models import Workflow, WorkflowVersion

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
SLUG_RULE = "A slug has small letters, digits and hyphens, 1 to 63, and is no id."


def is_slug(text: str) -> bool:
    """By SLUG_RULE."""
    return SLUG.fullmatch(text) is not None and not looks_like_id(text)


def looks_like_id(slug: str) -> bool:
    """Whether a caller could mean a workflow's id by it."""
    return len(slug) in (32, 36) and re.fullmatch(r"[0-9a-f-]+", slug) is not None


def workflows(actor: Actor, *, search: str = "", archived: bool | None = False) -> QuerySet[Workflow]:
    """Workflows with `draft_number` and `latest_number`. `archived` None: all of them."""
    require(actor, "workflows.view_workflow")
    found = Workflow.objects.filter(tenant_id=actor.tenant_id)
    if archived is not None:
        found = found.filter(archived_at__isnull=not archived)
    if search:
        found = found.filter(Q(name__icontains=search) | Q(slug__icontains=search) | Q(description__icontains=search))
    return _numbered(found)


def workflow_of(actor: Actor, id_or_slug: str | UUID) -> Workflow:
    """Raises NotFound, also for a workflow of another tenant."""
    require(actor, "workflows.view_workflow")
    text = str(id_or_slug)
    id = uuid_or_none(text)
    if id is None and SLUG.fullmatch(text) is None:
        raise NotFound
    named = {"slug": text} if id is None else {"id": id}
    found = Workflow.objects.filter(tenant_id=actor.tenant_id, **named)
    workflow = _numbered(found).first()
    if workflow is None:
        raise NotFound
    return workflow


def versions_of(actor: Actor, workflow: Workflow) -> QuerySet[WorkflowVersion]:
    """Newest first."""
    require(actor, "workflows.view_workflow", workflow)
    return WorkflowVersion.objects.filter(workflow=workflow, tenant_id=actor.tenant_id).order_by("-version")


def version_of(actor: Actor, workflow: Workflow, version: int) -> WorkflowVersion:
    """Raises NotFound."""
    found = versions_of(actor, workflow).filter(version=version).first()
    if found is None:
        raise NotFound
    return found


def draft_of(actor: Actor, workflow: Workflow) -> WorkflowVersion:
    """The unpublished version. Raises Conflict where there is none."""
    found = versions_of(actor, workflow).filter(published_at=None).first()
    if found is None:
        raise Conflict("The workflow has no draft.")
    return found


def published_version(actor: Actor, workflow: Workflow, version: int | None = None) -> WorkflowVersion:
    """The latest published version, or that of a number. Raises Conflict where it cannot be run."""
    if workflow.archived_at is not None:
        raise Conflict("The workflow is archived: it starts no runs until it is restored.")
    found = versions_of(actor, workflow).exclude(published_at=None)
    if version is not None:
        found = found.filter(version=version)
    one = found.first()
    if one is None:
        raise Conflict(
            "The workflow has no published version yet: publish its draft first."
            if version is None
            else f"The workflow has no published version {version}."
        )
    return one


def _numbered(found: QuerySet[Workflow]) -> QuerySet[Workflow]:
    versions = WorkflowVersion.objects.filter(workflow=OuterRef("pk"))
    return found.annotate(
        draft_number=Subquery(versions.filter(published_at=None).values("version")[:1]),
        latest_number=Subquery(versions.exclude(published_at=None).order_by(F("version").desc()).values("version")[:1]),
    )
