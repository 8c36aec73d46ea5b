"""A run driven through `decide` alone: a clock that is a number, executors that are a function."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from runs.machine.commands import run_due
from runs.machine.decide import decide
from runs.machine.decision import Decision, Event, Execute
from runs.machine.fold import FoldedRun, fold
from runs.machine.plan import Plan
from runs.machine.snapshot import RunHead, Snapshot, StepRow
from runs.machine.states import RUN_FINAL, StepState
from runs.machine.stimuli import Due, Failed, Start, StartReady, Stimulus, Succeeded
from workflows.definition.parsing import load

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Outcome = Callable[[str, int, Any], Stimulus | None]
"""(step id, attempt, config) -> how the attempt ends; None leaves it running."""


def definition(steps: dict[str, dict[str, Any]] | str, *transitions: Any, **rest: Any) -> dict[str, Any]:
    """A definition of Tasks; `"a b c"` names plain steps, `("a", "b", {...})` or `"a b"` a transition."""
    named = {id: {} for id in steps.split()} if isinstance(steps, str) else steps
    edges = []
    for t in transitions:
        parts = t.split() if isinstance(t, str) else t
        edges.append({"from": parts[0], "to": parts[1], **(parts[2] if len(parts) > 2 else {})})
    echo = {"kind": "Task", "config": {"name": "core.echo", "args": {}}}
    return {
        "schema": "staterail.workflow/v1",
        "steps": [{"id": id, **echo, **extra} for id, extra in named.items()],
        "transitions": edges,
        **rest,
    }


def echo(step_id: str, attempt: int, config: Any) -> Stimulus:
    return Succeeded(0, attempt, "{}")


class Simulation:
    """Applies every decision; `events` is the log that a store would have."""

    def __init__(self, document: dict[str, Any], input: str = "{}", *, room: int = 100) -> None:
        self.plan = Plan(load(document))
        id = UUID(int=7 << 76 | 2 << 62)
        head = RunHead(id, id, id, id, 1, input, "{}", "0" * 32, "corr")
        self.now = NOON
        self.run = Snapshot.new(head, self.plan, self.now)
        self.events: list[Event] = []
        self.executing: dict[tuple[int, int], Execute] = {}
        self.room = room
        self.tell(Start())

    def tell(self, stimulus: Stimulus) -> Decision:
        decision = decide(self.run, stimulus, self.now)
        if decision.changes:
            self.run.apply(decision)
        self.events += decision.events
        for command in decision.commands:
            if isinstance(command, Execute):
                assert (command.step, command.attempt) not in self.executing, "an attempt was started twice"
                self.executing[command.step, command.attempt] = command
        return decision

    def start_ready(self) -> Decision:
        return self.tell(StartReady(self.room - len(self.executing), "w"))

    def end(self, step: str, attempt: int, outcome: Stimulus | None) -> None:
        i = self.plan.index[step]
        command = self.executing[i, attempt]
        if outcome is None:
            return
        del self.executing[i, attempt]
        outcome.step, outcome.attempt = command.step, command.attempt  # type: ignore[union-attr]
        self.tell(outcome)

    def next_due(self) -> tuple[datetime, int | None] | None:
        due = [(row.wake_at, i) for i, row in self.run.steps.items() if row.wake_at is not None]
        run = run_due(self.run.run)
        found: list[tuple[datetime, int | None]] = [*due, *([(run, None)] if run is not None else [])]
        return min(found, key=lambda item: item[0]) if found else None

    @property
    def over(self) -> bool:
        return self.run.run.state in RUN_FINAL

    def drive(self, outcome: Outcome = echo, *, turns: int = 2000) -> "Simulation":
        """Until the run has ended, or waits for a person."""
        for _ in range(turns):
            if self.over:
                return self
            self.start_ready()
            if self.executing:
                (i, attempt), command = next(iter(self.executing.items()))
                told = outcome(self.plan.ids[i], attempt, command.config)
                if told is not None:
                    self.end(self.plan.ids[i], attempt, told)
                    continue
            due = self.next_due()
            if due is None:
                if not self.over and not self.executing:
                    return self
                continue
            self.now = max(self.now, due[0])
            self.tell(Due(due[1], 0.5))
        raise AssertionError("the run does not end")

    def later(self, seconds: float) -> "Simulation":
        self.now += timedelta(seconds=seconds)
        return self

    # What came out

    @property
    def state(self) -> str:
        return str(self.run.run.state)

    @property
    def states(self) -> dict[str, str]:
        return {id: str(self.row(id).state) for id in self.plan.ids}

    @property
    def reasons(self) -> dict[str, str | None]:
        return {id: self.row(id).reason for id in self.plan.ids}

    def row(self, id: str) -> StepRow:
        return self.run.steps.get(self.plan.index[id]) or StepRow()

    def told(self, id: str | None = None, event_type: str | None = None) -> list[Event]:
        return [e for e in self.events if e.step_id == id and event_type in (None, e.event_type)]

    def folded(self) -> FoldedRun:
        return fold({**event._asdict(), "item_index": None} for event in self.events)

    def check(self) -> None:
        """The log is legal, and folds to the rows; the counters are those of a fresh snapshot."""
        folded = self.folded()
        assert folded.wrong == []
        run = self.run.run
        assert (folded.state, folded.generation, folded.seq) == (run.state, run.generation, run.seq)
        assert (folded.started_at, folded.completed_at, folded.error) == (run.started_at, run.completed_at, run.error)
        for id, i in self.plan.index.items():
            row, step = self.run.steps.get(i), folded.steps.get(id)
            if row is None or step is None:
                assert row is None
                assert step is None
                continue
            known = asdict(step)
            known["taken"] = None if step.taken is None else tuple(self.plan.edge_index[t] for t in step.taken)
            assert known == {name: getattr(row, name) for name in known}, id
        fresh = Snapshot(self.run.head, self.plan, run, dict(self.run.steps))
        for i in range(len(self.plan.steps)):
            assert fresh.resolved.get(i, 0) == self.run.resolved.get(i, 0), (self.plan.ids[i], "resolved")
            assert fresh.taken.get(i, 0) == self.run.taken.get(i, 0), (self.plan.ids[i], "taken")
        assert set(fresh.queued) == set(self.run.queued)
        assert set(fresh.running) == set(self.run.running)
        assert fresh.faults == self.run.faults
        if self.over:
            rows = [self.row(id).state for id in self.plan.ids]
            assert all(state in (StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED) for state in rows)


def failed(code: str = "boom", *, retryable: bool = False, draw: float = 0.5, **rest: Any) -> Failed:
    return Failed(0, 0, {"code": code, "message": code, "retryable": retryable}, draw, **rest)
