"""Columns as PostgreSQL array literals: a batch is a few long texts, not thousands of parameters.

Building parameters one by one was half of the time that Python spent on a step; a join over
texts that are there already is not.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from runs.store.values import Row


def plain(values: Iterable[Any]) -> str:
    """Of values whose text has nothing to escape: numbers, ids, times, states, booleans."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def quoted(values: Iterable[str | None]) -> str:
    """Of any text."""
    return (
        "{"
        + ",".join(
            [
                "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
                for value in values
            ]
        )
        + "}"
    )


class Table:
    """Rows of a batch for one table: `columns` are (name, PostgreSQL type) in the order of a row."""

    def __init__(self, alias: str, columns: Sequence[tuple[str, str]]) -> None:
        self.names = tuple(name for name, _ in columns)
        self._encoders = tuple(quoted if type in ("text", "json") else plain for _, type in columns)
        arrays = ", ".join(f"%s::{type}[]" for _, type in columns)
        self.source = f"unnest({arrays}) AS {alias}({', '.join(self.names)})"

    def parameters(self, rows: Sequence[Row]) -> list[str]:
        """One literal for each column."""
        if not rows:
            return ["{}"] * len(self.names)
        return [encode(values) for encode, values in zip(self._encoders, zip(*rows, strict=True), strict=True)]
