"""The commands on workflows: create, save a draft, publish, archive."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from staterail.core.actor import Actor
from staterail.core.errors import Conflict, PayloadTooLarge, Problem, ValidationFailed
from staterail.core.ids import uuid7
from staterail.core.permissions import require
from staterail.core.strict_json import dumps, loads
from workflows.definition.shape import text
from workflows.definition.validation import DRAFT_REFUSALS, validate
from workflows.models import Workflow, WorkflowVersion
from workflows.selectors import SLUG_RULE, is_slug, looks_like_id
from workflows.task_registry import TaskType, registered
from workflows.versions import definition_hash

JSON = Any
UNSET: Any = object()
_NAME = text(200)


def problems_of(definition: JSON) -> list[Problem]:
    """What validation says of a definition, errors first. Raises ValidationFailed for what is no JSON."""
    try:
        document = dumps(definition)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationFailed(f"The definition is no JSON: {error}") from None
    return [dict(problem) for problem in _problems(document, tuple(registered().values()))]


@lru_cache(maxsize=64)
def _problems(document: str, tasks: tuple[TaskType, ...]) -> tuple[dict[str, JSON], ...]:
    return tuple(validate(loads(document, max_depth=None), tasks={task.name: task.signature for task in tasks}))


def create_workflow(
    *, actor: Actor, name: str, slug: str | None = None, description: str = "", definition: JSON = UNSET
) -> Workflow:
    """Make a workflow, with a first draft where a definition is given.

    Raises:
        Conflict: the slug is taken.
        ValidationFailed: a bad name or slug, or a definition that not even a draft may be.
    """
    require(actor, "workflows.add_workflow")
    wrong = _NAME.check(name) or (None if name.strip() else "this may not be blank")
    if wrong is not None:
        raise ValidationFailed(problems=[_problem("/name", f"`name`: {wrong}")])
    if slug is not None and not is_slug(slug):
        raise ValidationFailed(problems=[_problem("/slug", SLUG_RULE)])
    if definition is not UNSET:
        _check_draft(definition)
    for _ in range(10):  # a free slug may be taken by somebody else meanwhile
        chosen = slug if slug is not None else _free_slug(actor, name)
        try:
            with transaction.atomic():
                workflow = Workflow.objects.create(
                    id=uuid7(), tenant_id=actor.tenant_id, name=name, slug=chosen, description=description
                )
                if definition is not UNSET:
                    _new_draft(workflow, definition, 1, 1)
                return workflow
        except IntegrityError:
            if slug is not None:
                break
    raise Conflict(f"There is a workflow called {chosen} already.")


def save_draft(
    *, actor: Actor, workflow: Workflow, definition: JSON, base_revision: int | None = None
) -> WorkflowVersion:
    """Store `definition` as the workflow's draft, a new one after a published version.

    `base_revision` is that of the version which was edited. Raises Conflict where it has changed meanwhile.
    """
    require(actor, "workflows.change_workflow", workflow)
    _check_draft(definition)
    with transaction.atomic():
        _lock(workflow)
        newest = workflow.versions.order_by("-version").first()
        _check_revision(newest, base_revision)
        if newest is None or newest.published_at is not None:
            # its revisions go on: who edited the version before, and knows nothing of this draft, is told
            number, revision = (newest.version + 1, newest.revision + 1) if newest is not None else (1, 1)
            draft = _new_draft(workflow, definition, number, revision)
        else:
            draft = newest
            draft.definition, draft.definition_hash = definition, definition_hash(definition)
            draft.revision += 1
            draft.save(update_fields=["definition", "definition_hash", "revision", "updated_at"])
        Workflow.objects.filter(id=workflow.id).update(updated_at=datetime.now(UTC))
    return draft


def publish(
    *, actor: Actor, workflow: Workflow, version: int | None = None, base_revision: int | None = None,
    note: str | None = None,
) -> WorkflowVersion:  # fmt: skip
    """Make the draft (or the version of this number, if that is the draft) immutable and current.

    Raises:
        ValidationFailed: the definition has errors; `problems` lists all of them, warnings too.
        Conflict: there is no draft, it has changed since `base_revision`, or the workflow is archived.
    """
    require(actor, "workflows.publish_workflow", workflow)
    with transaction.atomic():
        if _lock(workflow).archived_at is not None:
            raise Conflict("The workflow is archived: restore it before you publish.")
        draft = workflow.versions.filter(published_at=None).first()
        if version is not None and (draft is None or draft.version != version):
            known = workflow.versions.filter(version=version).exists()
            raise Conflict(f"Version {version} is {'published already' if known else 'unknown'}.")
        if draft is None:
            raise Conflict("The workflow has no draft to publish.")
        _check_revision(draft, base_revision)
        problems = problems_of(draft.definition)
        if any(problem["severity"] == "error" for problem in problems):
            raise ValidationFailed("The definition has errors: it cannot be published.", problems=problems)
        draft.published_at, draft.published_by, draft.note = datetime.now(UTC), actor.name[:200], note
        draft.definition_hash = definition_hash(draft.definition)
        draft.save()
        Workflow.objects.filter(id=workflow.id).update(
            updated_at=draft.published_at, max_concurrent_runs=draft.definition.get("max_concurrent_runs")
        )
    return draft


def archive(*, actor: Actor, workflow: Workflow, archived: bool = True) -> Workflow:
    """Hide a workflow and refuse new runs of it, or take it back. What runs goes on."""
    require(actor, "workflows.archive_workflow", workflow)
    with transaction.atomic():
        locked = _lock(workflow)
        if archived != (locked.archived_at is not None):
            locked.archived_at = datetime.now(UTC) if archived else None
            locked.save(update_fields=["archived_at", "updated_at"])
    return locked


def deploy(
    *, actor: Actor, slug: str, name: str, definition: JSON, description: str = ""
) -> tuple[WorkflowVersion, bool]:
    """Create or update the workflow of this slug and publish `definition`: (version, whether anything changed)."""
    with transaction.atomic():
        workflow = Workflow.objects.filter(tenant_id=actor.tenant_id, slug=slug).first()
        if workflow is None:
            workflow = create_workflow(
                actor=actor, name=name, slug=slug, description=description, definition=definition
            )
        else:
            latest = workflow.versions.exclude(published_at=None).order_by("-version").first()
            if latest is not None and latest.definition_hash == definition_hash(definition):
                return latest, False
            save_draft(actor=actor, workflow=workflow, definition=definition)
        return publish(actor=actor, workflow=workflow), True


def _check_draft(definition: JSON) -> None:
    problems = problems_of(definition)
    codes = {problem["code"] for problem in problems if problem["severity"] == "error"}
    if any(problem["code"] == "too_large" and problem["path"] == "" for problem in problems):  # in bytes
        raise PayloadTooLarge(problems[0]["message"])
    if codes & DRAFT_REFUSALS or (not isinstance(definition, dict)):
        raise ValidationFailed("Not even a draft may look like this.", problems=problems)


def _check_revision(version: WorkflowVersion | None, base_revision: int | None) -> None:
    if base_revision is not None and version is not None and version.revision != base_revision:
        raise Conflict(
            f"Version {version.version} has been saved by somebody else meanwhile: it is at revision"
            f" {version.revision}, this change was made on {base_revision}."
        )


def _new_draft(workflow: Workflow, definition: JSON, number: int, revision: int) -> WorkflowVersion:
    return WorkflowVersion.objects.create(
        id=uuid7(), tenant_id=workflow.tenant_id, workflow=workflow, version=number, revision=revision,
        definition=definition, definition_hash=definition_hash(definition),
    )  # fmt: skip


def _lock(workflow: Workflow) -> Workflow:
    """The workflow as it is now. Its versions are numbered and published one after the other."""
    return Workflow.objects.select_for_update().get(id=workflow.id)


def _free_slug(actor: Actor, name: str) -> str:
    base = (slugify(name)[:50].strip("-_").replace("_", "-")) or "workflow"
    base = f"workflow-{base}" if looks_like_id(base) else base
    taken = set(
        Workflow.objects.filter(tenant_id=actor.tenant_id, slug__startswith=base).values_list("slug", flat=True)
    )
    return next(s for s in (base, *(f"{base}-{n}" for n in range(2, 100_000))) if s not in taken)


def _problem(path: str, message: str) -> Problem:
    return {"severity": "error", "code": "bad_value", "path": path, "message": message}
