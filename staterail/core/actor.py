"""Who calls: every service takes an Actor, and the tenant comes from it and from nowhere else."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """Roles of a tenant, each with all that the one before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    EDITOR = "editor"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        return list(Role).index(self)


@dataclass(frozen=True, slots=True)
class Actor:
    """A person, a token or the system itself, acting in one tenant."""

    tenant_id: UUID
    role: Role
    name: str
    """What people are shown: a user's or a token's name."""
    user_id: UUID | None = None
    token_id: UUID | None = None

    @property
    def ref(self) -> str:
        """`user:<id>`, `token:<id>` or `system`: who it was, for rows and events."""
        if self.token_id is not None:
            return f"token:{self.token_id}"
        return f"user:{self.user_id}" if self.user_id is not None else "system"

    @property
    def is_authenticated(self) -> bool:
        """What rest_framework and its OpenAPI pages ask of a user."""
        return True
