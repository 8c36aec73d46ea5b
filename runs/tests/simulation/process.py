"""A process of the simulation: a reactor that is turned by hand, and threads that are none."""

from collections import Counter
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from runs.machine.stimuli import Failed, Lost, Succeeded
from runs.reactor.job import lines_of
from runs.reactor.loop import Reactor
from runs.reactor.pool import Job, Pool, Result
from runs.reactor.surroundings import Surroundings
from runs.tests.simulation.wire import Crashed, Wire

Ended = Succeeded | Failed | Lost


class Inbox(SimpleQueue[Any]):
    """Nobody waits in real time: where the reactor would, `waits` is told for how long."""

    waits: Callable[[float], None] = staticmethod(lambda seconds: None)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return super().get_nowait()
        except Empty:
            if timeout is None:
                raise
            self.waits(timeout)
            return super().get_nowait()


class HandPool(Pool):
    """Attempts end when somebody says so, or never."""

    on_start: Callable[[Job], None] = staticmethod(lambda job: None)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.jobs: list[Job] = []
        self._written: Counter[int] = Counter()

    def _add_thread(self) -> None:
        self._threads += 1

    def submit(self, job: Job) -> None:
        super().submit(job)
        self.jobs.append(self._jobs.get_nowait())  # type: ignore[arg-type]
        self.on_start(job)

    def write(self, job: Job) -> None:
        """The attempt writes a line of its log."""
        self._written[id(job)] += 1
        job.call.log.write(f"line {self._written[id(job)]}")

    def end(self, job: Job, how: Ended) -> Result:
        self.jobs.remove(job)
        self._written.pop(id(job), None)
        result = Result(job.call.run_id, job, how, lines_of(job.call))
        self._inbox.put(result)
        return result


class Process:
    """Turns like `Reactor.run`, a round at a time."""

    def __init__(
        self, name: str, owner: UUID, wire: Wire, threads: int, monotonic: Callable[[], float],
        random: Callable[[], float], executes: Callable[["Process", Job], None],
        waits: Callable[["Process", float], None],
    ) -> None:  # fmt: skip
        self.name, self.owner, self.wire = name, owner, wire
        self.busy = False  # in the middle of a call: others act meanwhile
        self.paused_until = 0.0
        self.over = False
        around = Surroundings(
            monotonic=monotonic, random=random, owner=lambda: owner, inbox=Inbox, pool=HandPool, beat=wire.told,
            leave=wire.told, disconnect=lambda: None,
        )  # fmt: skip
        self.reactor = Reactor(wire, threads, {}, None, name=name, around=around)
        self.pool: Any = self.reactor.pool
        self.pool.on_start = lambda job: executes(self, job)
        self.inbox: Any = self.reactor.inbox
        self.inbox.waits = lambda seconds: waits(self, seconds)
        wire.owner = owner

    def turn(self) -> None:
        self._guarded(self._round)

    def stop(self) -> None:
        """An orderly end: what can end does, the rest is put back."""
        self.reactor.stop(2.0)
        self._guarded(self._drain)

    def _round(self) -> None:
        try:
            self.reactor.turn()
        except (DatabaseError, InterfaceError):
            self.reactor._recover(0.0)
        if self.reactor.stopping.is_set():  # too many threads are stuck
            self._drain()

    def _drain(self) -> None:
        self.reactor._drain_and_release()
        self.over = True

    def _guarded(self, work: Callable[[], None]) -> None:
        self.busy = True
        try:
            work()
        except Crashed:
            self.over = True
        finally:
            self.busy = False
