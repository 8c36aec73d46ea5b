"""Many rows in few statements, for SQLite.

Python's sqlite3 lets go of the interpreter's lock around every step of a statement: with a row a step, the
executors' threads and the reactor hand it to and fro for every row. With many rows a step they work side by side.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from runs.store.values import Row

SIZES = (64, 16, 4, 1)  # rows a statement: few texts, so that all stay prepared


class Many:
    """A statement `before VALUES (…), (…), … after`, for rows of so many columns."""

    def __init__(self, before: str, columns: int, after: str = "") -> None:
        marks = f"({', '.join('?' * columns)})"
        self._texts = {size: f"{before} VALUES {', '.join([marks] * size)}{after}" for size in SIZES}

    def execute(self, cursor: Any, rows: Sequence[Row]) -> None:
        for text, values in self._chunks(rows):
            cursor.execute(text, values)

    def answers(self, cursor: Any, rows: Sequence[Row]) -> Iterator[Row]:
        """What the statement returns."""
        for text, values in self._chunks(rows):
            yield from cursor.execute(text, values).fetchall()

    def _chunks(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
        done = 0
        for size in SIZES:
            text = self._texts[size]
            while len(rows) - done >= size:
                values: list[Any] = []
                for row in rows[done : done + size]:
                    values += row
                yield text, values
                done += size
