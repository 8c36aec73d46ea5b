"""Reading query strings: keyset pages, limits, times. What is wrong is told with its place."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.core import signing
from django.db.models import Model, QuerySet
from rest_framework.request import Request

from staterail.core.errors import ValidationFailed
from staterail.core.ids import uuid_or_none

M = TypeVar("M", bound=Model)
MAX_SEARCH = 200
LOOKED_AT = 5000  # rows that one page goes through for what no index finds


def page(
    found: QuerySet[M], *, limit: int, cursor: str | None, scope: str, key: str = "id"
) -> tuple[list[M], str | None]:
    """One page, greatest `key` first, and the cursor of the next, or None at the end.

    A cursor is signed for `scope` (the list and its tenant). Raises ValidationFailed for any other.
    """
    if cursor is not None:
        found = found.filter(**{f"{key}__lt": _read_cursor(cursor, scope)})
    rows = list(found.order_by(f"-{key}")[: limit + 1])
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _cursor(scope, getattr(rows[limit - 1], key))


@dataclass(frozen=True, slots=True)
class Part(Generic[M]):
    """A list by id that an index finds; or, with `among`, what is picked from such a list row by row."""

    found: QuerySet[M]
    among: QuerySet[M] | None = None


def page_of_parts(
    parts: Sequence[Part[M]], *, limit: int, cursor: str | None, scope: str
) -> tuple[list[M], str | None]:
    """One page of lists that have no row in common, greatest id first, and the cursor of the next, or None at the end.

    It looks at LOOKED_AT rows of each `among` and no further: it may be short, or empty, and still not be the last.
    """
    before = {"id__lt": _read_cursor(cursor, scope)} if cursor is not None else {}
    floors = [_floor(part.among.filter(**before)) for part in parts if part.among is not None]
    floor = max((floor for floor in floors if floor is not None), default=None)
    above = {"id__gte": floor} if floor is not None else {}
    rows = [row for part in parts for row in part.found.filter(**before, **above).order_by("-id")[: limit + 1]]
    rows.sort(key=lambda row: row.pk, reverse=True)
    if len(rows) > limit:
        return rows[:limit], _cursor(scope, rows[limit - 1].pk)
    return rows, _cursor(scope, floor) if floor is not None else None


def _floor(among: QuerySet[Any]) -> Any:
    """The id of the last row that is looked at, or None where there are not so many."""
    return next(iter(among.order_by("-id").values_list("id", flat=True)[LOOKED_AT - 1 : LOOKED_AT]), None)


def _cursor(scope: str, last: Any) -> str:
    return signing.dumps([scope, str(last)], salt="cursor", compress=False)


def _read_cursor(cursor: str, scope: str) -> str:
    try:
        its_scope, last = signing.loads(cursor[:2000], salt="cursor")
    except (signing.BadSignature, ValueError, TypeError):
        raise _wrong("cursor", "This is no cursor of this list.") from None
    if its_scope != scope:
        raise _wrong("cursor", "This is a cursor of another list.")
    return str(last)


def refuse_unknown_params(request: Request, known: Collection[str]) -> None:
    for name in request.query_params:
        if name not in known:
            raise _wrong(name[:60], f"There is no such parameter; there are {', '.join(sorted(known))}.")


def read_limit(request: Request, *, maximum: int = 100, default: int = 50) -> int:
    return read_int(request, "limit", 1, maximum) or default


def read_int(request: Request, name: str, minimum: int, maximum: int) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,12}", text) or not minimum <= int(text) <= maximum:
        raise _wrong(name, f"This is a whole number between {minimum} and {maximum}.")
    return int(text)


def read_bool(request: Request, name: str, *, default: bool) -> bool:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text not in ("true", "false", "1", "0"):
        raise _wrong(name, "This is true or false.")
    return text in ("true", "1")


def read_uuid(request: Request, name: str) -> UUID | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    id = uuid_or_none(text)
    if id is None:
        raise _wrong(name, "This is an id.")
    return id


def read_choices(request: Request, name: str, choices: Collection[str]) -> Sequence[str]:
    """Given several times, or joined by commas."""
    given = [part for text in request.query_params.getlist(name) for part in text.split(",") if part]
    for part in given:
        if part not in choices:
            raise _wrong(name, f"This is one of {', '.join(choices)}.")
    return given


def read_time(request: Request, name: str) -> datetime | None:
    """Aware UTC."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign in a query string reads as a blank
    except ValueError:
        raise _wrong(name, "This is a time such as 2026-01-31T08:00:00Z.") from None
    if at.tzinfo is None:
        raise _wrong(name, "This time needs a zone, as in 2026-01-31T08:00:00Z.")
    if not 1970 <= at.year <= 9000:
        raise _wrong(name, "This time is out of range.")
    return at.astimezone(UTC)


def read_span(request: Request, after: str, before: str) -> tuple[datetime | None, datetime | None]:
    """Two times, where both are given the first the earlier one."""
    since, until = read_time(request, after), read_time(request, before)
    if since is not None and until is not None and since >= until:
        raise _wrong(before, f"This time is later than `{after}`.")
    return since, until


def read_search(request: Request) -> str:
    text = request.query_params.get("search", "")
    if len(text) > MAX_SEARCH or "\x00" in text:
        raise _wrong("search", f"This is text of {MAX_SEARCH} characters at most.")
    return text


def _wrong(name: str, message: str) -> ValidationFailed:
    problem: dict[str, Any] = {"severity": "error", "code": "bad_value", "path": f"/{name}", "message": message}
    return ValidationFailed(f"{name}: {message}", problems=[problem])
