"""What is kept of a run's open steps is what a look at all its steps would find."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runs.machine.commands import run_due
from runs.machine.decision import Decision
from runs.machine.states import Reason
from runs.machine.stimuli import PutBack, StartReady, Stimulus, TakeApart
from runs.reactor.open_steps import SPARE, OpenSteps
from runs.reactor.owned import Owned
from runs.tests.machine.random_graphs import graphs
from runs.tests.machine.simulation import NOON, Simulation, definition
from runs.tests.machine.test_random_runs import ALL, Chaos

LEASE = timedelta(seconds=15)


class Held(Chaos):
    """A run in a reactor's hands, of which some steps are sent to workers of their own."""

    owned: Owned | None = None

    def __init__(self, document: dict[str, Any], data: st.DataObject) -> None:
        super().__init__(document, data)
        apart = frozenset(data.draw(st.sets(st.sampled_from(range(len(self.plan.ids))))))
        self.owned = Owned(self.run, apart)

    def ready(self) -> StartReady:
        ready: StartReady = super().ready()
        return replace(ready, apart=self.owned.apart) if self.owned is not None else ready

    def tell_all(self, *stimuli: Stimulus) -> Decision:
        decision = super().tell_all(*stimuli)
        if self.owned is not None and decision.changes:
            self.owned.apply(decision)  # once more, which changes nothing of the snapshot
        return decision

    def act(self) -> None:
        assert self.owned is not None
        if self.draw(True, False, False, False):
            self.owned.take(self.run)
        elif self.owned.apart and self.draw(True, False, False):
            self.tell(TakeApart(self.draw(*sorted(self.owned.apart)), "holder", LEASE, super().ready()))
        else:
            super().act()


def kept(run: Owned) -> tuple[bool, bool, list[int], bool, datetime | None]:
    return run.has_ready(), run.sent(), sorted(run.executing()), run.is_idle(), run.next_due()


def scanned(run: Owned) -> tuple[bool, bool, list[int], bool, datetime | None]:
    rows = {i: row for i, row in run.snapshot.steps.items() if row.state in ("queued", "running")}
    waiting = {i for i, row in rows.items() if row.reason is Reason.READY}
    executing = sorted(i for i, row in rows.items() if row.reason is Reason.EXECUTING)
    idle = not (waiting or executing or run.jobs or run.has_news)
    times = [at for at in (run_due(run.snapshot.run), *(row.wake_at for row in rows.values())) if at is not None]
    return bool(waiting - run.apart), bool(waiting & run.apart), executing, idle, min(times, default=None)


@ALL
@given(graphs(), st.data())
def test_after_any_decisions_the_kept_figures_are_those_of_a_scan(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Held(graph, data)
    assert run.owned is not None
    for _ in range(data.draw(st.integers(1, 25))):
        run.act()
        assert kept(run.owned) == scanned(run.owned)


def test_a_decision_costs_what_it_changes_however_many_steps_are_open() -> None:
    delay = {"kind": "Delay", "config": {"for": "1h"}}
    run = Simulation(definition({f"d{n}": delay for n in range(500)})).start()
    looked: list[int] = []

    class Rows(dict[int, Any]):
        def __getitem__(self, i: int) -> Any:
            looked.append(i)
            return super().__getitem__(i)

    owned = Owned(run.run)
    run.run.steps = Rows(run.run.steps)
    for _ in range(10):
        assert (owned.has_ready(), owned.executing(), owned.next_due()) == (False, [], NOON + timedelta(hours=1))

    assert len(looked) <= 10


def test_times_that_nobody_waits_for_are_thrown_out() -> None:
    run = Simulation(definition({"a": {"timeout": "1h"}})).start()
    steps = OpenSteps(run.run, frozenset())
    for attempt in range(1, 3 * SPARE):
        run.later(1).end("a", attempt, PutBack(0, 0))
        run.start_ready()
        steps.change([0])

    assert len(steps._times) <= SPARE + 3
    assert steps.next_time() == run.row("a").wake_at
