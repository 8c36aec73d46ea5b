"""Who may decide an approval, and what a decision must look like."""

import json
from typing import Any
from uuid import UUID

from runs.models import StepRun, WorkflowRun
from runs.store import Loaded
from staterail.accounts.models import ApiToken, User
from staterail.core.actor import Actor, Role
from staterail.core.errors import Forbidden, ValidationFailed
from staterail.core.redaction import redact_text
from workflows.definition.validation import check_values

JSON = Any
MAX_COMMENT = 2000


def check_decision(
    actor: Actor, loaded: Loaded, step_id: str, action: str, comment: str | None, data: JSON
) -> str | None:
    """The comment as it is stored. Raises Forbidden or ValidationFailed.

    Says nothing of a step that does not wait: that is the machine's to refuse.
    """
    if comment is not None and len(comment) > MAX_COMMENT:
        raise _invalid("/comment", f"A comment has {MAX_COMMENT} characters at most.")
    row = StepRun.objects.filter(run_id=loaded.snapshot.head.id, step_id=step_id, reason="waiting_approval").first()
    config = row.input if row is not None and isinstance(row.input, dict) else None
    if config is not None:
        if not is_assignee(actor, config.get("assignees")):
            raise Forbidden("You are not an assignee of this approval.")
        if config.get("forbid_starter") and is_starter(actor, loaded.snapshot.head.id):
            raise Forbidden("Whoever started the run may not decide this approval.")
        schema = config.get("form_schema")
        if action == "approve" and isinstance(schema, dict):
            problems = check_values(schema, {} if data is None else data, "/data")
            if problems:
                raise ValidationFailed("`data` does not fit the form.", problems=problems)
    if data is not None and len(json.dumps(data)) > 1024 * 1024:
        raise _invalid("/data", "`data` is larger than 1 MiB.")
    return redact_text(comment, ()) if comment is not None else None


def is_assignee(actor: Actor, assignees: JSON) -> bool:
    """`user:<name>` is that user, `role:<role>` that role or a higher one; nobody named: anybody who may decide."""
    if not assignees or not isinstance(assignees, list):
        return True
    names = user_names(actor)
    for entry in assignees:
        kind, _, name = str(entry).partition(":")
        if kind == "role" and name in set(Role) and actor.role.rank >= Role(name).rank:
            return True
        if kind == "user" and name in names:
            return True
    return False


def user_names(actor: Actor) -> set[str]:
    """What a person is called in `assignees`; a token acts for its owner."""
    user = User.objects.filter(id=actor.user_id).first() if actor.user_id is not None else None
    return {user.get_username(), user.email, str(user.id)} - {""} if user is not None else set()


def is_starter(actor: Actor, run_id: UUID) -> bool:
    ref = WorkflowRun.objects.values_list("started_by_ref", flat=True).get(id=run_id)
    if ref == actor.ref:
        return True
    kind, _, id = ref.partition(":")
    if actor.user_id is None or kind != "token":
        return ref == f"user:{actor.user_id}"
    return ApiToken.objects.filter(id=id, user_id=actor.user_id).exists()


def _invalid(path: str, message: str) -> ValidationFailed:
    return ValidationFailed(problems=[{"severity": "error", "code": "bad_value", "path": path, "message": message}])
