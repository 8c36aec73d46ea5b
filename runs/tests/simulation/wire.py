"""What lies between a process and the store: others act meanwhile, answers get lost, processes die.

Each call may be delayed before and after its work is done, which is where real processes are overtaken.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.db import OperationalError

from runs.machine.snapshot import RunHead
from runs.store.interface import Loaded, LogBatch, Write
from runs.tests.simulation.checks import Witness, living
from runs.tests.simulation.memory_store import MemoryStore


class Crashed(BaseException):
    """The process is gone, in the middle of a call."""


class Weather(Protocol):
    """Who says what goes wrong."""

    def fault(self, who: str) -> str | None:
        """`before` or `after`: the call fails so; `dies before`, `dies after`: the process does."""

    def meanwhile(self) -> None:
        """Time passes and others act, or nothing happens."""

    def tears(self) -> bool:
        """Whether another acts between the two halves of a load."""


class Wire:
    """A process's store. `owner` is None for a command's."""

    def __init__(self, store: MemoryStore, weather: Weather, witness: Witness, who: str) -> None:
        self._store, self._weather, self._witness, self._who = store, weather, witness, who
        self.owner: UUID | None = None

    def now(self) -> datetime:
        return self._store.now()

    def claim(self, owner: UUID, room: int) -> list[UUID]:
        def work() -> list[UUID]:
            owned = living(self._store)
            claimed = self._store.claim(owner, room)
            self._witness.claimed(claimed, owned)
            return claimed

        return self._call(work)

    def load(self, run_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        def work() -> dict[UUID, Loaded]:
            runs = self._store.run_rows(run_ids)
            if self._weather.tears():
                self._weather.meanwhile()
            return self._store.loaded(runs)

        return self._call(work)

    def persist(self, writes: Sequence[Write]) -> set[UUID]:
        def work() -> set[UUID]:
            owners = {write.decision.run_id: self._owner_of(write) for write in writes}
            winners = self._store.persist(writes)
            for write in writes:
                if write.decision.run_id in winners:
                    self._witness.stored(write, self.owner, owners[write.decision.run_id])
            return winners

        return self._call(work) if writes else set()

    def _owner_of(self, write: Write) -> UUID | None:
        row = self._store.rows.get(write.decision.run_id)
        return row.lease_owner if row is not None else None

    def persist_admitted(self, writes: Sequence[Write]) -> set[UUID]:
        raise NotImplementedError("for runs.store.admission only")

    def renew(self, owner: UUID) -> dict[UUID, int]:
        return self._call(lambda: self._store.renew(owner))

    def append_logs(self, head: RunHead, batches: Iterable[LogBatch]) -> None:
        self._call(lambda: self._store.append_logs(head, batches))

    def next_wake(self) -> datetime | None:
        return self._store.next_wake()

    def told(self, *_: Any) -> None:
        """The worker's word that it lives, or that it leaves: a table of its own, the same database."""
        self._call(lambda: None)

    def _call(self, work: Callable[[], Any]) -> Any:
        fault = self._weather.fault(self._who)
        self._weather.meanwhile()
        _fails(fault, "before")
        answer = work()
        _fails(fault, "after")
        self._weather.meanwhile()
        return answer


def _fails(fault: str | None, when: str) -> None:
    if fault == when:
        raise OperationalError(f"the connection is gone, {when} the work was done")
    if fault == f"dies {when}":
        raise Crashed
