"""Inputs and outputs in answers: small ones stand inline, large ones are told by their size."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import F, Func, IntegerField, Model

JSON = Any
INLINE_ONE, INLINE_ALL = 64 * 1024, 1024 * 1024  # bytes of one value, and of all of them in an answer
LARGE = ("input", "output")
CHUNK = 500  # ids in one IN list


class Bytes(Func):
    """The size of a JSON value as it is stored."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return super().as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return super().as_sql(compiler, connection, template="OCTET_LENGTH((%(expressions)s)::text)", **extra)


def without_payloads(found: Any) -> Any:
    """A queryset that leaves the large values where they are and brings their sizes."""
    return found.defer(*LARGE).annotate(**{f"{name}_size": Bytes(F(name)) for name in LARGE})


def inline(rows: Sequence[Any], left: int = INLINE_ALL) -> int:
    """Read the values that fit into rows `without_payloads`, two queries however many rows; the budget that is left.

    A value that is left out is None, and `input_bytes` or `output_bytes` has its size.
    """
    for name in LARGE:
        fitting = []
        for row in rows:
            size = getattr(row, f"{name}_size") or 0
            fits = size <= INLINE_ONE and size <= left
            setattr(row, f"{name}_bytes", None if fits else size)
            setattr(row, name, None)
            if fits and size:
                left -= size
                fitting.append(row)
        values = dict(_values(type(rows[0]), [row.pk for row in fitting], name)) if fitting else {}
        for row in fitting:
            setattr(row, name, values.get(row.pk))
    return left


def hide(rows: Iterable[Any]) -> None:
    """For a caller who may not see payloads. What went wrong stays, its details (an answer, a decision) do not."""
    for row in rows:
        row.input = row.output = row.input_bytes = row.output_bytes = None
        row.error = _without(row.error, "details")


def hide_in_events(events: Iterable[Any]) -> None:
    """For a caller who may not see payloads: what a condition read, and the details of an error."""
    for event in events:
        told = dict(event.payload)
        if "error" in told:
            told["error"] = _without(told["error"], "details")
        if "resolved" in told:
            told["resolved"] = [_without(transition, "operands") for transition in told["resolved"]]
        event.payload = told


def _without(value: JSON, key: str) -> JSON:
    """The object with null under this key, where it has it."""
    return {**value, key: None} if isinstance(value, dict) and key in value else value


def _values(model: type[Model], ids: Sequence[Any], name: str) -> Iterable[tuple[Any, JSON]]:
    for start in range(0, len(ids), CHUNK):
        yield from model._default_manager.filter(pk__in=ids[start : start + CHUNK]).values_list("pk", name)
