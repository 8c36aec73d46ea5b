"""The two tables of SEMANTICS 2, and that nothing else can happen."""

import itertools
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from runs.machine.draft import Draft
from runs.machine.snapshot import Snapshot, StepRow
from runs.machine.states import RUN_CHANGES, STEP_CHANGES, RunState, StepState
from runs.tests.machine.simulation import NOON, Simulation, definition
from staterail.core.errors import IllegalTransition

R, S = RunState, StepState

RUN = {
    (None, R.CREATED), (R.CREATED, R.PENDING), (R.CREATED, R.FAILED), (R.CREATED, R.CANCELLED),
    (R.PENDING, R.RUNNING), (R.PENDING, R.FAILED), (R.PENDING, R.CANCELLED),
    (R.RUNNING, R.COMPLETED), (R.RUNNING, R.FAILED), (R.RUNNING, R.CANCELLED), (R.RUNNING, R.RUNNING),
    (R.FAILED, R.PENDING), (R.CANCELLED, R.PENDING),
}  # fmt: skip
STEP = {
    (S.IDLE, S.QUEUED), (S.IDLE, S.SKIPPED),
    (S.QUEUED, S.RUNNING), (S.QUEUED, S.SKIPPED), (S.QUEUED, S.FAILED), (S.QUEUED, S.QUEUED),
    (S.RUNNING, S.SUCCEEDED), (S.RUNNING, S.FAILED), (S.RUNNING, S.QUEUED),
    (S.FAILED, S.IDLE), (S.FAILED, S.QUEUED), (S.SKIPPED, S.IDLE), (S.SKIPPED, S.QUEUED),
    (S.SUCCEEDED, S.IDLE), (S.SUCCEEDED, S.QUEUED),
}  # fmt: skip


def draft_of(run_state: RunState | None, step_state: StepState = S.IDLE) -> Draft:
    known = Simulation(definition("a b", "a b")).run
    row, step = known.run.clone(), StepRow()
    row.state, step.state = run_state, step_state
    return Draft(Snapshot(known.head, known.plan, row, {0: step}), NOON)


def all_of(draft: Draft) -> tuple[Any, ...]:
    run = draft.run
    rows = {i: [getattr(row, name) for name in StepRow.__slots__] for i, row in draft.decision.steps.items()}
    counted = (draft.queued, draft.running, draft.known_faults())
    return (
        run.state,
        run.reason,
        run.seq,
        run.updated_at,
        run.completed_at,
        list(draft.decision.events),
        rows,
        counted,
    )


def pairs(states: Any, changes: Any) -> list[tuple[Any, Any]]:
    before = list(states) if states is S else [None, *states]
    return [pair for pair in itertools.product(before, states) if pair not in changes]


def test_the_tables_are_those_of_the_design() -> None:
    assert {(before, to) for before, after in RUN_CHANGES.items() for to in after} == RUN
    assert {(before, to) for before, after in STEP_CHANGES.items() for to in after} == STEP


@pytest.mark.parametrize(("before", "to"), sorted(RUN, key=str))
def test_a_change_of_a_run_in_the_table_is_made_and_told(before: RunState | None, to: RunState) -> None:
    draft = draft_of(before)

    draft.change_run(to, {})

    (event,) = draft.decision.events
    assert draft.run.state is to
    assert (event.state_before, event.state_after) == (before, to)
    assert event.event_type == ("run_started" if (before, to) == (R.PENDING, R.RUNNING) else "state_changed")


@pytest.mark.parametrize(("before", "to"), pairs(R, RUN))
def test_any_other_change_of_a_run_is_refused_and_changes_nothing(before: RunState | None, to: RunState) -> None:
    draft = draft_of(before)
    known = all_of(draft)

    with pytest.raises(IllegalTransition):
        draft.change_run(to, {})

    assert all_of(draft) == known


@pytest.mark.parametrize(("before", "to"), sorted(STEP, key=str))
def test_a_change_of_a_step_in_the_table_is_made_and_told(before: StepState, to: StepState) -> None:
    draft = draft_of(R.RUNNING, before)

    draft.change_step(0, to, None, {})

    told = {
        (S.QUEUED, S.RUNNING): "step_started", (S.RUNNING, S.SUCCEEDED): "step_completed",
        (S.RUNNING, S.FAILED): "step_failed", (S.QUEUED, S.FAILED): "step_failed", (S.RUNNING, S.QUEUED): "step_failed",
    }  # fmt: skip
    (event,) = draft.decision.events
    assert draft.state(0) is to
    assert (event.state_before, event.state_after, event.step_id) == (before, to, "a")
    assert event.event_type == told.get((before, to), "state_changed")


@pytest.mark.parametrize(("before", "to"), pairs(S, STEP))
def test_any_other_change_of_a_step_is_refused_and_changes_nothing(before: StepState, to: StepState) -> None:
    draft = draft_of(R.RUNNING, before)
    known = all_of(draft)

    with pytest.raises(IllegalTransition):
        draft.change_step(0, to, None, {})

    assert all_of(draft) == known


def test_the_diagram_command_prints_every_change_of_the_tables() -> None:
    out = StringIO()

    call_command("state_diagram", stdout=out)

    arrows = [line.strip() for line in out.getvalue().splitlines() if "-->" in line]
    runs, steps = arrows[: len(RUN)], arrows[len(RUN) :]
    assert sorted(runs) == sorted(f"{before.value if before else '[*]'} --> {to.value}" for before, to in RUN)
    assert sorted(steps) == sorted(f"{before.value} --> {to.value}" for before, to in STEP)
    assert out.getvalue().count("```mermaid") == 2
