"""What people and programs ask for, as `runs.services` does it: load, decide, store under the guard.

The tests of the services hold them to a real database; here the same few lines race reactors.
"""

from collections.abc import Callable
from uuid import UUID

from django.db import DatabaseError

from runs.machine.decide import decide
from runs.machine.snapshot import RunHead, Snapshot
from runs.machine.states import Reason
from runs.machine.stimuli import Cancel, ManualTransition, RetryRun, RetryStep, Start, Stimulus
from runs.store.interface import Lease, NewRun, Write
from runs.tests.machine.random_graphs import INPUT
from runs.tests.simulation.wire import Wire
from runs.tests.simulation.world import WEB, World, an_id
from staterail.core.errors import IllegalTransition, NotFound

MOST_RUNS = 8
RACES = 50


class People:
    def __init__(self, world: World) -> None:
        self.world, self.dice = world, world.dice
        self.wire = Wire(world.store, world, world.witness, WEB)
        self.acknowledged: set[UUID] = set()
        self._started = 0

    def start(self) -> None:
        if self._started >= MOST_RUNS:
            return
        world, n = self.world, self.dice.pick(range(len(self.world.plans)))
        id, tenant = an_id(1, self._started), an_id(3, n % 2)
        self._started += 1
        plan, now = world.plans[n], world.now()
        head = RunHead(id, tenant, an_id(2, n), an_id(5, n), 1, INPUT, "{}", "0" * 32, f"corr-{id}")
        run = Snapshot.new(head, plan, now)
        run.run.limited = an_id(2, n) in world.store.limits
        write = Write(head, plan, decide(run, Start(), now), lease=Lease.WAKE, new=NewRun(now, "me", "user:1"))
        try:
            if self.wire.persist([write]):
                self.acknowledged.add(id)
                self._ring(None)
        except DatabaseError:
            pass  # a start whose answer is lost may run all the same

    def command(self) -> None:
        """Load, decide and store, again while others win the race."""
        asked = self._draw()
        if asked is None:
            return
        id, stimulus = asked
        for _ in range(RACES):
            store = self._decided(id, stimulus)
            if store is None or store():
                return
        raise AssertionError("a command loses every race")

    def slow_command(self) -> Callable[[], object] | None:
        """Decided now; what is returned stores it, whenever that is."""
        asked = self._draw()
        return None if asked is None else self._decided(*asked)

    def approve_all(self) -> bool:
        """Everybody who is asked approves; whether anybody was."""
        asked = False
        for id, row in self.world.store.rows.items():
            for i, step in list(row.steps.items()):
                if row.open and step.reason is Reason.WAITING_APPROVAL:
                    store = self._decided(id, ManualTransition(row.plan.ids[i], "approve", "me"))
                    asked = store is not None and store()
        return asked

    def _draw(self) -> tuple[UUID, Stimulus] | None:
        rows, dice = self.world.store.rows, self.dice
        if not rows:
            return None
        id = dice.pick(list(rows))
        row = rows[id]
        asked = [row.plan.ids[i] for i, step in row.steps.items() if step.reason is Reason.WAITING_APPROVAL]
        corr_id, step = dice.pick([None, "one"]), dice.pick(asked or list(row.plan.ids))
        if not row.open:
            return id, dice.pick([RetryRun(corr_id, "me"), RetryStep(step, dice.pick([None, "{}"]), corr_id, "me")])
        decided = ManualTransition(step, dice.pick(["approve", "approve", "reject"]), "me", corr_id=corr_id)
        other = dice.pick([Cancel(corr_id, "enough", "me"), RetryStep(step, None, corr_id, "me")])
        return id, decided if asked and dice.chance(0.7) else other

    def _decided(self, id: UUID, stimulus: Stimulus) -> Callable[[], bool] | None:
        """None: refused, nothing to change, or the database failed. Else what stores it, and says whether it won."""
        try:
            found = self.wire.load([id])[id]
            decision = decide(found.snapshot, stimulus, self.wire.now())
        except (IllegalTransition, NotFound, DatabaseError, KeyError):
            return None
        if not decision.changes:
            return None
        write = Write(found.snapshot.head, found.snapshot.plan, decision, lease=Lease.WAKE, emitter="api")

        def store() -> bool:
            try:
                won = bool(self.wire.persist([write]))
            except DatabaseError:
                return True  # whoever asked is told so, and sees what became of it
            if won:
                self._ring(id if found.lease_owner is not None else None)
            return won

        return store

    def _ring(self, poked: UUID | None) -> None:
        """Rings and pokes get lost."""
        for process in self.world.processes:
            if not process.over and self.dice.chance(0.5):
                process.reactor.ring()
            if poked is not None and not process.over and self.dice.chance(0.5):
                process.reactor.poke(poked)
