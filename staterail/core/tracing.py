"""The trace and the correlation id of the request (or command) that is being served."""

import re
import secrets
from contextvars import ContextVar

from staterail.core.errors import ValidationFailed

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?", re.ASCII
)
_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")

_trace: ContextVar[str | None] = ContextVar("trace", default=None)
_DEPTHS = ("0", "1", "2", "3", "4", "5")
_depth: ContextVar[str | None] = ContextVar("depth", default=None)
_correlation: ContextVar[str | None] = ContextVar("correlation", default=None)


def begin(traceparent: str | None, correlation_id: str | None, depth: str | None = None) -> None:
    """Take over what a request brings: a W3C `traceparent` that is one, `X-Correlation-Id`, `StateRail-Depth`."""
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if found is not None and found["more"] and found.string.startswith("00"):
        found = None  # only later versions may say more
    _trace.set(found["trace"] if found is not None else secrets.token_hex(16))
    _correlation.set(correlation_id)
    _depth.set(depth)


def end() -> None:
    """What a request brought is over: nothing of it reaches what this thread does next."""
    for kept in (_trace, _correlation, _depth):
        kept.set(None)


def depth() -> int:
    """How many runs stand above one that is started now. Raises ValidationFailed for what is no number of 0 to 5."""
    given = _depth.get()
    if given is None:
        return 0
    if given not in _DEPTHS:
        raise ValidationFailed(
            "StateRail-Depth is 0 to 5: runs that start one another by HttpCall stand 5 deep at most."
        )
    return _DEPTHS.index(given)


def trace_id() -> str:
    """32 hex digits; a new one where nothing has begun a trace."""
    known = _trace.get()
    return known if known is not None else secrets.token_hex(16)


def correlation_id() -> str | None:
    """The caller's. Raises ValidationFailed unless it is 1 to 255 printable ASCII characters."""
    given = _correlation.get()
    if given is not None and _PRINTABLE.fullmatch(given) is None:
        raise ValidationFailed("X-Correlation-Id is 1 to 255 printable ASCII characters.")
    return given


def traceparent(trace_id: str) -> str:
    """The header that carries a trace on."""
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"
