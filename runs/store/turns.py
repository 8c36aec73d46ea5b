"""Whose runs are claimed when more are due than there is room for: tenants take turns."""

from collections.abc import Sequence
from uuid import UUID


class Turns:
    """Remembers who was served last, so that also where tenants are more than places each has its turn."""

    def __init__(self) -> None:
        self._last = UUID(int=0)

    def share(self, tenants: Sequence[UUID], room: int) -> tuple[list[UUID], int]:
        """Who is served now, and with how many runs each. `tenants` have due runs, in order of their ids."""
        if not tenants or room <= 0:
            return [], 0
        after = [id for id in tenants if id > self._last]
        chosen = [*after, *(id for id in tenants if id <= self._last)][:room]
        self._last = chosen[-1]
        return chosen, room // len(chosen)
