"""The simulated world: one clock, dice, a store, some processes, and the weather on their wires."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from runs.machine.plan import Plan
from runs.reactor.pool import Job
from runs.store.interface import Write
from runs.tests.machine.simulation import NOON
from runs.tests.simulation.checks import Witness
from runs.tests.simulation.dice import Seeded, a_workflow
from runs.tests.simulation.memory_store import MemoryStore
from runs.tests.simulation.process import Process
from runs.tests.simulation.wire import Wire
from workflows.definition.parsing import load

WEB = "web"  # the process of a command, which has no reactor


def an_id(kind: int, n: int) -> UUID:
    return UUID(int=kind << 96 | (n + 1) << 80 | 7 << 76 | 2 << 62)


class World:
    """`happens` is called where a call is overtaken: something is to happen meanwhile."""

    def __init__(self, seed: int, happens: Callable[[], None]) -> None:
        self.dice, self._happens = Seeded(seed), happens
        self.seconds, self._clock_set, self.set_back = 0.0, timedelta(0), timedelta(0)
        self.wild, self.depth = True, 0
        self.witness, self.store = Witness(), MemoryStore(self.now)
        self.plans = [Plan(load(a_workflow(self.dice))) for _ in range(self.dice.pick([1, 2, 2, 3]))]
        for n in range(len(self.plans)):
            if self.dice.chance(0.3):
                self.store.limits[an_id(2, n)] = self.dice.pick([1, 1, 2])
        self._faulty = self.dice.pick([0.0, 0.005, 0.02])  # of calls that fail
        self._slow = self.dice.pick([0.0, 0.02, 0.08])  # of calls that are overtaken
        self._misfits: dict[UUID, int] = {}  # how many more writes of a run do not fit
        self.ever_misfit: set[UUID] = set()
        self.store.fits = self._fits
        self._made = 0
        self.processes: list[Process] = []

    # Time

    def now(self) -> datetime:
        """The database's."""
        return NOON + timedelta(seconds=self.seconds) + self._clock_set

    def move(self, seconds: float) -> None:
        self.seconds += seconds

    def set_clock(self) -> None:
        """The database's clock is put right."""
        by = timedelta(seconds=self.dice.pick([-2.0, -0.5, 0.5, 2.0]))
        self._clock_set += by
        self.set_back += max(-by, timedelta(0))

    # Processes

    def join(self) -> None:
        """A process starts; its monotonic clock began somewhere else."""
        self._made += 1
        began = self.dice.pick([0.0, 1000.0, 1e6])
        wire = Wire(self.store, self, self.witness, f"p{self._made}")
        process = Process(
            f"p{self._made}", an_id(4, self._made), wire, self.dice.pick([1, 2, 4]), lambda: began + self.seconds,
            self.dice.random, self._executes, self._waits,
        )  # fmt: skip
        process.reactor.runs.most_runs = self.dice.pick([1, 3, 512])
        self.processes.append(process)

    def idle(self) -> list[Process]:
        self.processes = [process for process in self.processes if not process.over]
        return [p for p in self.processes if not p.busy and p.paused_until <= self.seconds]

    def jobs(self) -> list[tuple[Process, Job]]:
        """Attempts in threads: those of a process that is paused too stand still."""
        alive = [p for p in self.processes if not p.over and p.paused_until <= self.seconds]
        return [(process, job) for process in alive for job in process.pool.jobs]

    def _executes(self, process: Process, job: Job) -> None:
        self.witness.executes(job, process.owner)

    def _waits(self, process: Process, seconds: float) -> None:
        """A reactor waits for its inbox: only where it drains does time go by in there."""
        if process.reactor.stopping.is_set():
            self.move(seconds)
            if self.wild:
                self.meanwhile()

    # Weather

    def fault(self, who: str) -> str | None:
        if not self.wild or not self.dice.chance(self._faulty):
            return None
        return self.dice.pick(["before", "after", "after", *(["dies before", "dies after"] if who != WEB else [])])

    def meanwhile(self) -> None:
        if not self.wild or self.depth >= 2 or not self.dice.chance(self._slow):
            return
        self.depth += 1
        try:
            if self.dice.chance(0.4):
                self.move(self.dice.pick([1.0, 6.0, 16.0]))
            for _ in range(self.dice.pick([1, 2, 3, 5])):
                self._happens()
        finally:
            self.depth -= 1

    def tears(self) -> bool:
        return self.wild and self.dice.chance(0.1)

    def misfit(self) -> None:
        """The next writes of some run do not fit their columns."""
        if self.store.rows:
            id = self.dice.pick(list(self.store.rows))
            self._misfits[id] = self.dice.pick([1, 2, 2, 4])
            self.ever_misfit.add(id)

    def _fits(self, write: Write) -> bool:
        left = self._misfits.get(write.decision.run_id, 0) if self.wild and write.decision.events else 0
        if left:
            self._misfits[write.decision.run_id] = left - 1
        return left == 0
