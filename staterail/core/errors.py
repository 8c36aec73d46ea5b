"""What a caller can be told. Each error has a stable `code`; every door renders it the same way.

The class's docstring is the message where none is given. `status_hint` is the HTTP status,
`extensions` what GraphQL passes on beside the message.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

Problem = Mapping[str, Any]
"""{severity, code, message, path, step_id?, transition_id?}: one located finding."""


class StateRailError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "UNAVAILABLE"
    status_hint: ClassVar[int] = 503

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.message = str(self)
        self.retry_after = retry_after  # seconds
        self.problems: Sequence[Problem] = ()

    @property
    def extensions(self) -> dict[str, Any]:
        extensions: dict[str, Any] = {"code": self.code}
        if self.problems:
            extensions["problems"] = list(self.problems)
        return extensions


class Unauthenticated(StateRailError):
    """Sign in, or send a valid API token as `Authorization: Bearer srt_…`."""

    code, status_hint = "UNAUTHENTICATED", 401


class Forbidden(StateRailError):
    """You may not do that."""

    code, status_hint = "FORBIDDEN", 403


class NotFound(StateRailError):
    """There is no such object, or you may not see it."""

    code, status_hint = "NOT_FOUND", 404


class ValidationFailed(StateRailError):
    """The request is not valid."""

    code, status_hint = "VALIDATION_FAILED", 400

    def __init__(self, message: str | None = None, *, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)[:100]


class Conflict(StateRailError):
    """The object has changed meanwhile: load it anew and try again."""

    code, status_hint = "CONFLICT", 409


class IdempotencyConflict(StateRailError):
    """This idempotency key has been used with another body."""

    code, status_hint = "IDEMPOTENCY_CONFLICT", 409


class IllegalTransition(StateRailError):
    """The state does not allow that."""

    code, status_hint = "ILLEGAL_TRANSITION", 409


class PayloadTooLarge(StateRailError):
    """The request is too large."""

    code, status_hint = "PAYLOAD_TOO_LARGE", 413


class RateLimited(StateRailError):
    """Too many requests: wait a moment."""

    code, status_hint = "RATE_LIMITED", 429


class Unavailable(StateRailError):
    """The database cannot be reached just now: try again in a moment."""

    code, status_hint = "UNAVAILABLE", 503
