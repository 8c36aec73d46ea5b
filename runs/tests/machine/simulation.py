"""A run driven through `decide` alone: a clock that is a number, executors that are a function."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from runs.machine.audit import audit
from runs.machine.commands import run_due
from runs.machine.decide import decide_all
from runs.machine.decision import Decision, Event, Execute
from runs.machine.fold import FoldedRun, fold
from runs.machine.plan import Plan
from runs.machine.snapshot import RunHead, Snapshot, StepRow
from runs.machine.states import RUN_FINAL, STEP_FINAL, StepState
from runs.machine.stimuli import Due, Failed, Start, StartReady, Stimulus, Succeeded
from staterail.core.strict_json import dumps
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
    return done()


def by_step(**told: Stimulus | list[Stimulus | None] | None) -> Outcome:
    """Outcomes by step: one for every attempt, or a list of them in turn; steps left out succeed."""

    def outcome(step_id: str, attempt: int, config: Any) -> Stimulus | None:
        found = told.get(step_id, done())
        return found.pop(0) if isinstance(found, list) else found

    return outcome


def done(value: Any = None) -> Succeeded:
    return Succeeded(0, 0, dumps({} if value is None else value))


def failed(code: str = "boom", *, retryable: bool = False, draw: float = 0.5, **rest: Any) -> Failed:
    return Failed(0, 0, {"code": code, "message": code, "retryable": retryable}, draw, **rest)


def flaky(**rest: Any) -> Failed:
    return failed("flaky", retryable=True, **rest)


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
        self.secrets: set[str] = set()
        self.gates: dict[int, datetime | None] = dict.fromkeys(self.plan.guarded)
        self.tell(Start())

    def tell(self, stimulus: Stimulus) -> Decision:
        return self.tell_all(stimulus)

    def tell_all(self, *stimuli: Stimulus) -> Decision:
        decision = decide_all(self.run, stimuli, self.now)
        if decision.changes:
            self.run.apply(decision)
        self.events += decision.events
        for command in decision.commands:
            if isinstance(command, Execute):
                assert (command.step, command.attempt) not in self.executing, "an attempt was started twice"
                self.executing[command.step, command.attempt] = command
        return decision

    def ready(self) -> StartReady:
        room = max(0, self.room - len(self.executing))
        gates = {i: until if until is None or until > self.now else None for i, until in self.gates.items()}
        return StartReady(room, "w", frozenset(self.secrets), gates)

    def start_ready(self) -> Decision:
        return self.tell(self.ready())

    def end(self, step: str, attempt: int, outcome: Stimulus) -> None:
        command = self.executing.pop((self.plan.index[step], attempt))
        self.tell(replace(outcome, step=command.step, attempt=command.attempt))  # type: ignore[type-var]

    def next_due(self) -> tuple[datetime, int | None] | None:
        due = [(row.wake_at, i) for i, row in self.run.steps.items() if row.wake_at is not None]
        run = run_due(self.run.run)
        found: list[tuple[datetime, int | None]] = [*due, *([(run, None)] if run is not None else [])]
        return min(found, key=lambda item: item[0]) if found else None

    @property
    def over(self) -> bool:
        return self.run.run.state in RUN_FINAL

    def drive(self, outcome: Outcome = echo, *, turns: int = 2000) -> "Simulation":
        """Until the run has ended, or waits for a person or for an attempt that does not end."""
        for _ in range(turns):
            if self.over:
                return self
            self.start_ready()
            if self._end_one(outcome):
                continue
            due = self.next_due()
            if due is None:
                return self
            self.now = max(self.now, due[0])
            self.tell_all(Due(due[1], 0.5), self.ready())
        raise AssertionError("the run does not end")

    def _end_one(self, outcome: Outcome) -> bool:
        for (i, attempt), command in list(self.executing.items()):
            told = outcome(self.plan.ids[i], attempt, command.config)
            if told is not None:
                self.end(self.plan.ids[i], attempt, told)
                return True
        return False

    def finish(self, step: str, outcome: Stimulus | None = None) -> "Simulation":
        """End the step's live attempt; it succeeds unless told otherwise."""
        self.end(step, self.row(step).attempt, outcome or done())
        return self

    def start(self) -> "Simulation":
        """Start what is queued, as long as something does."""
        while self.start_ready().changes:
            pass
        return self

    def later(self, seconds: float) -> "Simulation":
        self.now += timedelta(seconds=seconds)
        return self

    def turn(self, step: str) -> Decision:
        """A step's time has come, and what is ready starts: one decision, like a reactor's."""
        return self.tell_all(Due(self.plan.index[step], 0.5), self.ready())

    def due(self, step: str | None = None, *, draw: float = 0.5) -> Decision:
        return self.tell(Due(None if step is None else self.plan.index[step], draw))

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

    @property
    def reason(self) -> str | None:
        return self.run.run.reason

    @property
    def error(self) -> str | None:
        return (self.run.run.error or {}).get("code")

    def log(self, id: str | None = None) -> list[tuple[str | None, str | None, str | None]]:
        """(before, after, reason) of each change."""
        return [(e.state_before, e.state_after, e.payload.get("reason")) for e in self.told(id)]

    def resolved(self, id: str) -> dict[str, str]:
        """How the step's transitions came out at its last end: the reason, with a + where taken."""
        entries = next(e.payload["resolved"] for e in reversed(self.told(id)) if "resolved" in e.payload)
        return {entry["transition"]: f"{'+' if entry['taken'] else '-'}{entry['reason']}" for entry in entries}

    def told(self, id: str | None = None, event_type: str | None = None) -> list[Event]:
        return [e for e in self.events if e.step_id == id and event_type in (None, e.event_type)]

    def rows(self) -> list[dict[str, Any]]:
        return rows_of(self.events)

    def folded(self) -> FoldedRun:
        return fold(self.rows())

    def check(self) -> None:
        check_log(self.run, self.events)


def rows_of(events: list[Event]) -> list[dict[str, Any]]:
    """A log as the columns of `Event`, through JSON like a store's."""
    return [{**event._asdict(), "item_index": None, "payload": json.loads(dumps(event.payload))} for event in events]


def check_log(known: Snapshot, events: list[Event]) -> None:
    """The log is legal, and folds to the rows; the counters are those of a fresh snapshot."""
    rows, plan, run = rows_of(events), known.plan, known.run
    folded = fold(rows)
    assert folded.wrong == []
    assert audit(plan.definition, rows) == []
    assert (folded.state, folded.generation, folded.seq) == (run.state, run.generation, run.seq)
    assert (folded.started_at, folded.completed_at, folded.error) == (run.started_at, run.completed_at, run.error)
    for id, i in plan.index.items():
        row, step = known.steps.get(i), folded.steps.get(id)
        if row is None or step is None:
            assert row is None
            assert step is None
            continue
        told = asdict(step)
        told["taken"] = None if step.taken is None else tuple(plan.edge_index[t] for t in step.taken)
        assert told == {name: getattr(row, name) for name in told}, id
    fresh = Snapshot(known.head, plan, run, dict(known.steps))
    for i in range(len(plan.steps)):
        assert fresh.resolved.get(i, 0) == known.resolved.get(i, 0), (plan.ids[i], "resolved")
        assert fresh.taken.get(i, 0) == known.taken.get(i, 0), (plan.ids[i], "taken")
    assert set(fresh.queued) == set(known.queued)
    assert set(fresh.running) == set(known.running)
    assert fresh.faults == known.faults
    if run.state in RUN_FINAL:
        states = [known.steps[i].state if i in known.steps else StepState.IDLE for i in range(len(plan.steps))]
        assert all(state in STEP_FINAL for state in states)
