"""One seed's story: whatever may happen to a few processes and runs, then calm, then what must have come of it."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from runs.machine.stimuli import Lost
from runs.reactor.pool import Job, Result
from runs.tests.machine.random_graphs import CODES
from runs.tests.machine.simulation import done, failed
from runs.tests.simulation.checks import check_quiet, check_rest, check_stops, rests
from runs.tests.simulation.people import People
from runs.tests.simulation.process import Ended, Process
from runs.tests.simulation.world import World

EVENTS = [
    ("turn", 40), ("attempt_ends", 18), ("time_passes", 14), ("start", 5), ("command", 8), ("slow_command", 3),
    ("slow_command_arrives", 3), ("result_repeats", 2), ("attempt_writes", 4), ("pause", 2), ("crash", 1), ("drain", 1),
    ("join", 3), ("misfit", 1), ("clock_is_set", 1),
]  # fmt: skip
JUMPS = [0.0, 0.05, 0.3, 0.5, 0.5, 1.0, 2.0, 5.0, 5.0, 16.0, 30.0]
PAUSES = [1.0, 14.0, 16.0, 16.0, 60.0]
HANGS = timedelta(minutes=2)  # in calm weather, then also an attempt ends that nobody told to
MOST_ROUNDS = 5_000  # of all processes; 900 were seen
CALM = timedelta(minutes=30)  # until all is at rest: backoffs of a minute, losses, one run after the other


class Story:
    """An AssertionError says what broke."""

    def __init__(self, seed: int, tell: Callable[[str], None] = lambda line: None) -> None:
        self.tell = tell
        self.world = World(seed, self.happens)
        self.dice, self.people = self.world.dice, People(self.world)
        self._on_the_way: deque[Callable[[], object]] = deque()
        self._told: list[tuple[Process, Result]] = []
        for _ in range(self.dice.pick([2, 2, 3])):
            self.world.join()

    def play(self) -> "Story":
        for _ in range(3):
            self.start()
        for _ in range(self.dice.pick([40, 80, 120])):
            self.happens()
            self._check_quiet()
        self.calm()
        while self.people.approve_all():
            self.calm()
        assert not [row.head.id for row in self.world.store.rows.values() if row.open], "open, and nobody is asked"
        return self

    def _check_quiet(self) -> None:
        check_quiet(self.world.store, self.world.ever_misfit, self.world.set_back)

    def happens(self) -> None:
        name = self.dice.weighted(EVENTS)
        self.tell(f"{self.world.seconds:9.2f} {'  ' * self.world.depth}{name}")
        getattr(self, name)()

    # What may happen

    def turn(self) -> None:
        idle = self.world.idle()
        if idle:
            self.dice.pick(idle).turn()

    def attempt_ends(self) -> None:
        jobs = self.world.jobs()
        if jobs:
            process, job = self.dice.pick(jobs)
            if self._hangs(job):
                return
            how = self._end_of(job)
            if isinstance(how, Lost):
                self.world.witness.died.add((job.call.run_id, job.step, job.call.attempt))
            self._told.append((process, process.pool.end(job, how)))

    @staticmethod
    def _hangs(job: Job) -> bool:
        """Some attempts only end when they are told to, and some of these not even then."""
        nature = (job.call.run_id.int >> 80) + job.step + job.call.attempt
        return nature % 5 == 0 and (not job.call.cancelled.is_set() or nature % 10 == 0)

    def attempt_writes(self) -> None:
        jobs = self.world.jobs()
        if jobs:
            process, job = self.dice.pick(jobs)
            process.pool.write(job)

    def _end_of(self, job: Job) -> Ended:
        if job.call.alone and self.dice.chance(0.3):
            return Lost(job.step, job.call.attempt, alone=True)
        if self.dice.chance(0.6):
            how: Ended = done(self.dice.pick([{"v": 1}, None]))
        else:
            code = self.dice.pick(CODES)
            how = failed(code, retryable=code not in ("boom", "http_404"), draw=self.dice.random())
        return replace(how, step=job.step, attempt=job.call.attempt)

    def result_repeats(self) -> None:
        """A word of an attempt that was told before; no thread is freed by it."""
        told = [(process, result) for process, result in self._told if not process.over]
        if told:
            process, result = self.dice.pick(told)
            process.inbox.put(replace(result, job=replace(result.job, given_up=True), logs=[]))

    def time_passes(self) -> None:
        self.world.move(self.dice.pick(JUMPS))

    def clock_is_set(self) -> None:
        self.world.set_clock()

    def start(self) -> None:
        self.people.start()

    def command(self) -> None:
        self.people.command()

    def slow_command(self) -> None:
        late = self.people.slow_command()
        if late is not None:
            self._on_the_way.append(late)

    def slow_command_arrives(self) -> None:
        if self._on_the_way:
            self._on_the_way.popleft()()

    def pause(self) -> None:
        idle = self.world.idle()
        if idle:
            self.dice.pick(idle).paused_until = self.world.seconds + self.dice.pick(PAUSES)

    def crash(self) -> None:
        idle = self.world.idle()
        if idle:
            self.dice.pick(idle).over = True

    def drain(self) -> None:
        idle = self.world.idle()
        if idle:
            self.dice.pick(idle).stop()

    def join(self) -> None:
        if len(self.world.idle()) < 2:
            self.world.join()

    def misfit(self) -> None:
        self.world.misfit()

    # Afterwards

    def calm(self) -> None:
        """No more faults: every attempt ends, time goes on, until each run is over or waits for a person."""
        world = self.world
        world.wild = False
        for process in world.processes:
            process.paused_until = 0.0
        while self._on_the_way:
            self._on_the_way.popleft()()
        if not world.idle():
            world.join()
        since, rounds = world.now(), 0
        while not self._rests():
            rounds += 1
            assert rounds < MOST_ROUNDS, "no rest"
            assert world.now() < since + CALM, "no rest"
            check_stops(world.store, {p.owner for p in world.idle()}, since, world.ever_misfit)
            for process in world.idle():
                process.turn()
            for process, job in world.jobs():
                if not self._hangs(job) or world.now() > since + HANGS:
                    process.pool.end(job, replace(done({"v": 1}), step=job.step, attempt=job.call.attempt))
            self._check_quiet()
            world.move(self._until_something())
        check_rest(world.store, self.people.acknowledged)

    def _rests(self) -> bool:
        store = self.world.store
        return all(rests(store, row) for row in store.rows.values())

    def _until_something(self) -> float:
        """Seconds until the next time that anybody waits for, at least a poll's where somebody has a run."""
        world = self.world
        patience = [process.reactor._patience() for process in world.idle()]
        if any(process.reactor.runs.owned or process.pool.in_flight for process in world.processes):
            return max(0.01, min(patience, default=0.5))
        wake = world.store.next_wake()
        return max(0.01, (wake - world.now()).total_seconds() if wake is not None else 0.5)
