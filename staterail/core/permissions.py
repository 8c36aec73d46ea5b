"""The one door for "may this actor do that?". Services call `require` first; no other code decides."""

from typing import Any

from staterail.core.actor import Actor, Role
from staterail.core.errors import Forbidden

PERMISSIONS: dict[str, Role] = {
    "workflows.view_workflow": Role.VIEWER,
    "workflows.add_workflow": Role.EDITOR,
    "workflows.change_workflow": Role.EDITOR,
    "workflows.publish_workflow": Role.EDITOR,
    "workflows.archive_workflow": Role.ADMIN,
    "workflows.operate_workflow": Role.OPERATOR,
    "runs.view_payload": Role.OPERATOR,
    "runs.decide_approval": Role.OPERATOR,
    "accounts.change_secret": Role.ADMIN,
}
"""Permission -> the lowest role that has it."""


def allowed(actor: Actor, permission: str, obj: Any = None) -> bool:
    """Whether `actor` has `permission`, on `obj` (a tenant's object) where it is given."""
    if obj is not None and obj.tenant_id != actor.tenant_id:
        return False
    return actor.role.rank >= PERMISSIONS[permission].rank


def require(actor: Actor, permission: str, obj: Any = None) -> None:
    """Raise Forbidden, naming the permission, unless `actor` has it."""
    if not allowed(actor, permission, obj):
        raise Forbidden(f"This needs the permission {permission}, which the role {actor.role} does not have.")
