"""Who may decide an approval, and what a decision must look like."""

from functools import cached_property
from typing import Any

from runs.machine.states import Reason
from runs.models import StepRun, WorkflowRun
from runs.store import Loaded
from staterail.accounts.models import ApiToken, User
from staterail.core.actor import Actor, Role
from staterail.core.errors import Forbidden, PayloadTooLarge, ValidationFailed
from staterail.core.redaction import redact_text
from staterail.core.strict_json import dumps
from workflows.definition.schemas import check_values

JSON = Any
MAX_COMMENT = 2000
MAX_DATA = 1024 * 1024 - 16 * 1024  # bytes: the output tells the decision whole, and has 1 MiB at most


class Decider:
    """One caller, asked about any number of approvals: what the database must say of them is read once."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def why_not(self, config: JSON, started_by_ref: str) -> str | None:
        """Why this person may not decide an approval with this config, or None where they may."""
        config = config if isinstance(config, dict) else {}
        if not self.is_assignee(config.get("assignees")):
            return "You are not an assignee of this approval."
        if config.get("forbid_starter") and started_by_ref in self._refs:
            return "Whoever started the run may not decide this approval."
        return None

    def is_assignee(self, assignees: JSON) -> bool:
        """`user:<name>` is that user, `role:<role>` that role or a higher one; nobody named: anybody who may decide."""
        if not assignees:
            return True
        return isinstance(assignees, list) and any(self._is(*str(entry).partition(":")) for entry in assignees)

    def _is(self, kind: str, _: str, name: str) -> bool:
        if kind == "role":
            return name in set(Role) and self.actor.role.rank >= Role(name).rank
        return kind == "user" and name in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        """What a person is called in `assignees`; a token acts for its owner."""
        user = User.objects.filter(id=self.actor.user_id).first() if self.actor.user_id is not None else None
        return frozenset({user.get_username(), user.email, str(user.id)} - {""}) if user is not None else frozenset()

    @cached_property
    def _refs(self) -> frozenset[str]:
        """All that this person goes by as a starter: as themselves, and through each of their tokens."""
        refs = {self.actor.ref}
        if self.actor.user_id is not None:
            tokens = ApiToken.objects.filter(user_id=self.actor.user_id).values_list("id", flat=True)
            refs |= {f"user:{self.actor.user_id}", *(f"token:{id}" for id in tokens)}
        return frozenset(refs)


def check_decision(
    actor: Actor, loaded: Loaded, step_id: str, action: str, comment: str | None, data: JSON
) -> str | None:
    """The comment as it is stored. Raises Forbidden, ValidationFailed or PayloadTooLarge.

    Says nothing of a step that does not wait: that is the machine's to refuse.
    """
    if comment is not None and len(comment) > MAX_COMMENT:
        raise ValidationFailed(problems=[_problem("/comment", f"A comment has {MAX_COMMENT} characters at most.")])
    if data is not None and len(dumps(data).encode()) > MAX_DATA:
        raise PayloadTooLarge("`data` is larger than 1 MiB with the rest of the decision.")
    run_id = loaded.snapshot.head.id
    waiting = StepRun.objects.filter(run_id=run_id, step_id=step_id, reason=Reason.WAITING_APPROVAL)
    config = waiting.values_list("input", flat=True).first()
    if isinstance(config, dict):
        started_by = WorkflowRun.objects.values_list("started_by_ref", flat=True).get(id=run_id)
        why = Decider(actor).why_not(config, started_by)
        if why is not None:
            raise Forbidden(why)
        schema = config.get("form_schema")
        if action == "approve" and isinstance(schema, dict):
            problems = check_values(schema, {} if data is None else data, "/data")
            if problems:
                raise ValidationFailed("`data` does not fit the form.", problems=problems)
    return redact_text(comment, ()) if comment is not None else None


def _problem(path: str, message: str) -> dict[str, JSON]:
    return {"severity": "error", "code": "bad_value", "path": path, "message": message}
