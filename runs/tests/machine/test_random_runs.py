"""Random graphs, random outcomes, random commands: what holds for every run."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.machine.decide import decide_all
from runs.machine.decision import Decision
from runs.machine.snapshot import RunRow, Snapshot, StepRow
from runs.machine.states import StepState
from runs.machine.stimuli import (
    BreakerClosed,
    Cancel,
    Due,
    EngineError,
    Lost,
    ManualTransition,
    PutBack,
    RetryRun,
    RetryStep,
    StartReady,
    Stimulus,
    Succeeded,
)
from runs.tests.machine.random_graphs import INPUT, graphs, outcomes
from runs.tests.machine.simulation import Simulation, by_step, definition, done, failed
from staterail.core.errors import IllegalTransition

ALL = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def columns(row: RunRow | StepRow) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in row.__slots__ if name != "_value")  # what was parsed once is no change


def rows_of(steps: dict[int, StepRow]) -> dict[int, tuple[Any, ...]]:
    return {i: columns(row) for i, row in steps.items()}


def seen(run: Snapshot) -> tuple[Any, ...]:
    counters = (dict(run.resolved), dict(run.taken), list(run.queued), list(run.running), dict(run.faults))
    return (columns(run.run), rows_of(run.steps), counters)


def said(decision: Decision) -> tuple[Any, ...]:
    counters = (decision.resolved, decision.taken, decision.expected)
    return (columns(decision.run), rows_of(decision.steps), counters, decision.events, decision.commands)


class Chaos(Simulation):
    """A run to which anything may happen at any time. What is drawn says what."""

    def __init__(self, document: dict[str, Any], data: st.DataObject) -> None:
        self.data = data
        super().__init__(document, INPUT, room=data.draw(st.integers(1, 4)))
        self.secrets = data.draw(st.sampled_from([{"KEY"}, set[str]()]))

    def draw(self, *choices: Any) -> Any:
        return self.data.draw(st.sampled_from(choices))

    def tell_all(self, *stimuli: Stimulus) -> Decision:
        """Every decision is made twice: the same arguments give the same answer, and the snapshot stays as it is."""
        before = seen(self.run)
        try:
            first = decide_all(self.run, stimuli, self.now)
            assert said(first) == said(decide_all(self.run, stimuli, self.now))
        finally:  # a command that is refused changes nothing either
            assert seen(self.run) == before
        return super().tell_all(*stimuli)

    def end(self, step: str, attempt: int, outcome: Stimulus) -> None:
        if isinstance(outcome, Lost):
            outcome = Lost(0, 0, self.executing[self.plan.index[step], attempt].alone)
        super().end(step, attempt, outcome)

    def act(self) -> None:
        getattr(self, "_" + self.draw("ready", "ready", "end", "end", "time", "command", "breaker", "stray"))()

    def _ready(self) -> None:
        self.tell(self.ready() if self.draw(True, True, False) else StartReady(0, "w"))

    def _end(self) -> None:
        self._end_one(outcomes(self.data.draw))

    def _time(self) -> None:
        due = self.next_due()
        if due is None or self.draw(True, False, False):
            self.later(self.draw(-5, 0, 0.5, 3, 11))
            due = due if due is not None and due[0] <= self.now else None
        if due is not None:
            self.now = max(self.now, due[0])
            self.tell_all(*([Due(due[1], 0.5), self.ready()] if self.draw(True, False) else [Due(due[1], 0.5)]))

    def _command(self) -> None:
        step, corr_id = self.draw(*self.plan.ids), self.draw(None, "one", "two")
        command = self.draw(
            Cancel(corr_id, "enough", "me"), RetryRun(corr_id, "me"), RetryRun(corr_id, "me"),
            RetryStep(step, self.draw(None, "{}"), corr_id, "me"),
            ManualTransition(step, self.draw("approve", "reject"), "me", corr_id=corr_id), EngineError("no"),
        )  # fmt: skip
        try:
            self.tell(command)
        except IllegalTransition:
            assert not isinstance(command, EngineError)

    def _breaker(self) -> None:
        for i in self.gates:
            self.gates[i] = self.draw(None, self.now + timedelta(seconds=4))
            if self.draw(True, False):
                self.tell(BreakerClosed(i))

    def _stray(self) -> None:
        """A word of an attempt that nobody executes, or of a time that has not come."""
        i = self.draw(*range(len(self.plan.ids)))
        attempt = self.draw(0, 1, 2)
        if (i, attempt) not in self.executing:
            row = self.run.steps.get(i)
            waits = row is None or row.attempt != attempt or row.reason != "executing"
            for late in (Succeeded(i, attempt, "1"), Lost(i, attempt), PutBack(i, attempt)):
                assert not (waits and self.tell(late).changes)
        due, now = self.next_due(), max(self.now, self.run.run.updated_at)  # a run's time never runs back
        if due is None or due[0] > now:
            assert not self.tell_all(Due(i), Due(None)).changes

    def to_the_end(self, outcome: Any = None) -> "Chaos":
        """What waits for a person is decided; an attempt that hangs is lost at last."""
        for _ in range(200):
            self.drive(outcome or outcomes(self.data.draw))
            if self.over:
                return self
            for i in list(self.run.running):
                if self.run.steps[i].reason == "waiting_approval":
                    action = "approve" if outcome else self.draw("approve", "reject")
                    self.tell(ManualTransition(self.plan.ids[i], action, "me"))
                    break
            else:
                for i, attempt in list(self.executing):
                    self.end(self.plan.ids[i], attempt, failed())
        raise AssertionError("the run does not end")


@ALL
@given(graphs(), st.data())
def test_every_run_ends_and_its_log_folds_to_its_rows(graph: dict[str, Any], data: st.DataObject) -> None:
    Chaos(graph, data).to_the_end().check()


@ALL
@given(graphs(), st.data())
def test_anything_at_any_time_keeps_the_log_legal(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Chaos(graph, data)

    for _ in range(data.draw(st.integers(1, 25))):
        run.act()
    run.check()

    run.to_the_end().check()


@ALL
@given(graphs(), st.data())
def test_a_late_or_repeated_stimulus_changes_nothing(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Chaos(graph, data)
    ended: list[tuple[int, int]] = []
    plain_end = run.end

    def end(step: str, attempt: int, outcome: Any) -> None:
        plain_end(step, attempt, outcome)
        ended.append((run.plan.index[step], attempt))
        i, n = data.draw(st.sampled_from(ended))
        for late in (Succeeded(i, n, "1"), Lost(i, n), Lost(i, n, True), PutBack(i, n)):
            assert not run.tell(late).changes

    run.end = end  # type: ignore[method-assign]
    run.to_the_end()
    for i, n in ended:
        assert not run.tell(Succeeded(i, n, "1")).changes
    for stimulus in (Due(None), StartReady(5, "w"), EngineError("no"), *map(Due, range(len(run.plan.ids)))):
        assert not run.tell(stimulus).changes
    run.check()


@ALL
@given(graphs(), st.data())
def test_a_join_fires_once_in_a_generation(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Chaos(graph, data).to_the_end()

    for id in run.plan.ids:
        assert [e.state_before for e in run.told(id)].count(StepState.IDLE) == 1


@ALL
@given(graphs(), st.data())
def test_a_cancel_at_any_time_ends_the_run_within_10_seconds(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Chaos(graph, data)
    for _ in range(data.draw(st.integers(0, 12))):
        run.act()
    if run.over or run.run.run.stopping is not None:
        return

    run.now = max(run.now, run.run.run.updated_at)
    run.tell(Cancel())
    run.later(10).due()

    assert (run.state, run.reason) == ("cancelled", "operator")
    assert all(state in ("succeeded", "failed", "skipped") for state in run.states.values())
    run.check()


@ALL
@given(graphs(), st.data())
def test_a_retry_of_what_has_ended_can_always_be_driven_to_its_end(graph: dict[str, Any], data: st.DataObject) -> None:
    run = Chaos(graph, data).to_the_end()
    kept = {id for id, state in run.states.items() if state == "succeeded"}
    if run.state == "completed":
        with pytest.raises(IllegalTransition):
            run.tell(RetryRun())
        return
    try:
        run.tell(RetryRun())
    except IllegalTransition:
        rows = run.run.steps.values()
        assert not [row for row in rows if row.reason in ("run_failed", "run_cancelled", "interrupted")]
        assert not [row for row in rows if row.state is StepState.FAILED and row.fault is not None]
        return

    run.to_the_end(by_step())

    assert run.state == "completed" or run.error in ("expression_error", "timeout", "run_timeout")
    assert {id for id in kept if run.row(id).generation == 1} == kept
    run.check()


def test_a_run_with_a_retry_a_delay_and_an_approval_completes() -> None:
    """What the random tests rest on, once without chance."""
    steps = {
        "a": {"retry": {"max_attempts": 2}}, "d": {"kind": "Delay", "config": {"for": "5s"}},
        "r": {"kind": "HumanApproval", "config": {"title": "t"}},
    }  # fmt: skip
    run = Simulation(definition(steps, "a d", "d r")).drive(by_step(a=[failed("network", retryable=True), done()]))

    run.tell(ManualTransition("r", "approve", "me"))

    assert (run.state, run.row("a").attempt) == ("completed", 2)
    run.check()
