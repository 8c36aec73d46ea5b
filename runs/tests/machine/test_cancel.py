"""Cancel, the run's timeout, and the end that the engine makes (SEMANTICS 2, 4 and 5)."""

from datetime import timedelta
from typing import Any

import pytest

from runs.machine.decision import Interrupt
from runs.machine.stimuli import (
    Cancel,
    Due,
    EngineError,
    Failed,
    Lost,
    ManualTransition,
    PutBack,
    RetryRun,
    RetryStep,
    StartReady,
    Stimulus,
    Succeeded,
)
from runs.tests.machine.simulation import NOON, Simulation, by_step, definition, failed, flaky
from staterail.core.errors import IllegalTransition

SECOND = timedelta(seconds=1)
CANCEL = Cancel("corr-of-cancel", "enough", "ada")
DELAY: dict[str, Any] = {"kind": "Delay", "config": {"for": "1h"}}
APPROVAL: dict[str, Any] = {"kind": "HumanApproval", "config": {"title": "t"}}


def test_a_pending_run_is_cancelled_at_once() -> None:
    run = Simulation(definition("a b", "a b"))

    run.tell(CANCEL)

    assert (run.state, run.reason, run.run.run.error) == ("cancelled", "operator", None)
    assert run.reasons == {"a": "run_cancelled", "b": "run_cancelled"}
    assert [after for _, after, _ in run.log()] == ["created", "pending", "cancelled"]
    run.check()


@pytest.mark.parametrize("kind", [DELAY, APPROVAL])
def test_a_running_delay_or_approval_ends_in_the_commit_of_the_cancel(kind: dict[str, Any]) -> None:
    run = Simulation(definition({"a": {}, "w": kind, "z": {}}, "a w", "w z")).start()
    run.finish("a").start()

    run.tell(CANCEL)

    assert run.states == {"a": "succeeded", "w": "failed", "z": "skipped"}
    assert run.reasons == {"a": None, "w": "interrupted", "z": "run_cancelled"}
    assert (run.state, run.row("w").wake_at) == ("cancelled", None)
    assert [after for _, after, _ in run.log()] == ["created", "pending", "running", "cancelled"]
    run.check()


def test_queued_steps_and_backoffs_are_skipped_in_the_commit_of_the_cancel() -> None:
    run = Simulation(definition({"a": {"retry": {"max_attempts": 2}}, "b": {}, "c": {}}, "b c"), room=1).start()
    run.finish("a", flaky())

    run.tell(CANCEL)

    assert run.reasons == {"a": "run_cancelled", "b": "run_cancelled", "c": "run_cancelled"}
    assert run.state == "cancelled"
    run.check()


def cancelling() -> Simulation:
    """A run that is being cancelled while `a` executes."""
    run = Simulation(
        definition({"a": {"retry": {"max_attempts": 3}, "timeout": "5s"}, "b": {}, "z": {}}, "a z"), room=1
    )
    run.start().tell(CANCEL)
    return run


def test_executing_attempts_are_told_and_waited_for() -> None:
    run = Simulation(definition({"a": {}, "d": DELAY, "z": {}}, "a z")).start()

    decision = run.tell(CANCEL)

    assert decision.commands == [Interrupt(0, 1)]
    assert (run.state, run.states) == ("running", {"a": "running", "d": "failed", "z": "skipped"})
    assert run.log()[-1] == ("running", "running", "cancelling")
    announced = run.told()[-1]
    assert (announced.payload["by"], announced.payload["why"]) == ("ada", "enough")
    run.check()


@pytest.mark.parametrize(
    "result",
    [
        Succeeded(0, 1, '"too late"'), Failed(0, 1, {"code": "boom", "message": "", "retryable": True}), Lost(0, 1),
        Lost(0, 1, alone=True), PutBack(0, 1),
    ],
    ids=["succeeded", "failed", "lost", "child lost", "put back"],
)  # fmt: skip
def test_an_attempt_that_ends_while_the_run_is_cancelled_was_interrupted(result: Stimulus) -> None:
    run = cancelling().later(1)

    run.tell(result)

    assert (run.row("a").state, run.reasons["a"], run.row("a").output) == ("failed", "interrupted", None)
    assert run.row("a").error == {"code": "interrupted", "message": "The run was cancelled.", "retryable": False}
    assert (run.state, run.reason, run.run.run.error) == ("cancelled", "operator", None)
    assert run.told()[-1].payload == {"reason": "operator", "by": "ada", "why": "enough"}
    run.check()


def test_at_the_latest_after_10_seconds_the_attempts_are_interrupted() -> None:
    run = cancelling()

    run.later(9.999)
    early = run.due().changes
    run.later(0.001).due()

    assert not early
    assert (run.state, run.reasons["a"]) == ("cancelled", "interrupted")
    assert not run.tell(Succeeded(0, 1, '"late"')).changes
    run.check()


def test_the_cancel_waits_for_all_attempts_but_not_longer() -> None:
    run = Simulation(definition("a b c")).start()
    run.tell(CANCEL)

    run.finish("b")
    between = run.state
    run.later(10).due()

    assert between == "running"
    assert run.reasons == {"a": "interrupted", "b": "interrupted", "c": "interrupted"}
    assert run.state == "cancelled"
    run.check()


@pytest.mark.parametrize(
    "stimulus", [CANCEL, Cancel(), StartReady(5, "w"), Due(0), Due(None)], ids=lambda s: type(s).__name__
)
def test_nothing_else_happens_while_a_cancel_is_under_way(stimulus: Stimulus) -> None:
    run = cancelling().later(5)  # past the timeout of `a`

    assert not run.tell(stimulus).changes


@pytest.mark.parametrize("command", [RetryRun(), RetryStep("a"), ManualTransition("a", "approve", "ada")])
def test_other_commands_are_refused_while_a_cancel_is_under_way(command: Stimulus) -> None:
    run = cancelling()
    seq = run.run.run.seq

    with pytest.raises(IllegalTransition):
        run.tell(command)

    assert run.run.run.seq == seq


def test_a_cancel_of_a_cancelled_run_is_no_error_and_changes_nothing() -> None:
    run = Simulation(definition("a"))
    run.tell(CANCEL)

    assert not run.tell(CANCEL).changes


@pytest.mark.parametrize("outcome", [failed(), None])
def test_a_cancel_of_a_run_that_has_ended_is_refused(outcome: Any) -> None:
    run = Simulation(definition("a")).drive(by_step(a=outcome) if outcome else by_step())

    with pytest.raises(IllegalTransition, match=run.state):
        run.tell(CANCEL)


def test_no_transition_is_taken_by_a_cancel_always_neither() -> None:
    edges = [("a", "z", {"on": on, "id": f"a_{on}"}) for on in ("success", "failure", "always")]
    edges += [("q", "z", {"on": on, "id": f"q_{on}"}) for on in ("success", "failure", "always")]
    run = Simulation(definition("a q z", *edges), room=1).start()

    run.tell(CANCEL)
    run.finish("a")

    assert run.resolved("a") == {
        "a_success": "-other_outcome", "a_failure": "-other_outcome", "a_always": "-other_outcome",
    }  # fmt: skip
    assert run.resolved("q") == {
        "q_success": "-source_skipped", "q_failure": "-source_skipped", "q_always": "-other_outcome",
    }  # fmt: skip
    assert (run.states["z"], run.row("z").attempt) == ("skipped", 0)
    run.check()


def test_a_cancel_of_a_run_that_a_failure_has_stopped_cancels_it() -> None:
    run = Simulation(definition("f a")).start()
    run.finish("f", failed())

    run.tell(CANCEL)
    run.finish("a")

    assert (run.state, run.reason, run.run.run.error) == ("cancelled", "operator", None)
    run.check()


def test_every_event_of_a_cancel_carries_its_correlation_id() -> None:
    run = Simulation(definition({"a": {}, "b": {}, "d": DELAY}, "a b")).start()
    before = len(run.events)

    run.tell(CANCEL)
    run.later(10).due()

    assert {e.corr_id for e in run.events[before:]} == {"corr-of-cancel"}
    assert {e.corr_id for e in run.events[:before]} == {"corr"}


# The run's timeout


def timed(**rest: Any) -> Simulation:
    return Simulation(definition({"a": {}, "d": DELAY, "z": {}}, "a z", timeout="30s", **rest))


def test_the_run_s_timeout_counts_from_run_started() -> None:
    run = timed().later(100)

    pending = run.due().changes
    run.start()

    assert not pending
    assert run.run.run.deadline_at == NOON + 130 * SECOND


def test_a_run_that_takes_longer_than_its_timeout_fails() -> None:
    run = timed().start().later(30)

    decision = run.due()
    under_way = (run.state, run.states)
    run.finish("a")

    assert decision.commands == [Interrupt(0, 1)]
    assert under_way == ("running", {"a": "running", "d": "failed", "z": "skipped"})
    assert (run.state, run.reason, run.error) == ("failed", "run_timeout", "run_timeout")
    assert run.reasons == {"a": "interrupted", "d": "interrupted", "z": "run_failed"}
    assert run.resolved("a") == {"a:z": "-other_outcome"}
    assert {e.corr_id for e in run.events} == {"corr"}
    run.check()


def test_a_run_within_its_timeout_goes_on() -> None:
    run = timed().start().later(29.999)

    assert not run.due().changes


def test_a_run_past_its_timeout_ends_10_seconds_later_whatever_its_attempts_do() -> None:
    run = timed().start().later(30)
    run.due()

    run.later(10).due()

    assert (run.state, run.reason) == ("failed", "run_timeout")
    run.check()


def test_the_timeout_bounds_each_generation_anew() -> None:
    run = timed().start().later(30)
    run.due()
    run.finish("a")

    run.later(500).tell(RetryRun())
    pending = run.due().changes
    run.start()

    assert not pending
    assert run.run.run.deadline_at == run.now + 30 * SECOND
    assert run.states == {"a": "running", "d": "running", "z": "idle"}
    run.check()


def test_a_cancel_while_the_run_times_out_is_no_error_and_changes_nothing() -> None:
    run = timed().start().later(30)
    run.due()

    assert not run.tell(CANCEL).changes
    run.finish("a")
    assert (run.state, run.reason) == ("failed", "run_timeout")


# Engine errors


def test_engine_error_ends_a_run_at_once_with_its_message() -> None:
    run = Simulation(definition({"a": {}, "d": DELAY, "q": {}, "z": {}}, "a z"), room=1).start()

    decision = run.tell(EngineError("This release has no step kind 'Teleport'."))

    assert decision.commands == [Interrupt(0, 1)]
    assert (run.state, run.reason) == ("failed", "engine_error")
    assert run.run.run.error == {"code": "engine_error", "message": "This release has no step kind 'Teleport'."}
    assert run.reasons == {"a": "interrupted", "d": "interrupted", "q": "run_failed", "z": "run_failed"}
    assert run.log()[-1] == ("running", "failed", "engine_error")  # and no word of a cancel that must wait
    assert (run.row("a").error or {})["message"] == "The engine cannot go on with the run."
    run.check()


def test_engine_error_ends_a_pending_run() -> None:
    run = Simulation(definition("a b", "a b"))

    run.tell(EngineError("no"))

    assert (run.state, run.reasons) == ("failed", {"a": "run_failed", "b": "run_failed"})
    run.check()


def test_engine_error_ends_a_run_that_is_being_cancelled() -> None:
    run = cancelling()

    run.tell(EngineError("no"))

    assert (run.state, run.reason, run.run.run.stopping) == ("failed", "engine_error", None)
    assert [reason for _, _, reason in run.log()].count("cancelling") == 1
    run.check()


def test_engine_error_of_a_run_that_has_ended_changes_nothing() -> None:
    run = Simulation(definition("a")).drive()

    assert not run.tell(EngineError("no")).changes


def test_a_run_that_the_engine_gave_up_can_be_retried() -> None:
    run = Simulation(definition("a b", "a b")).start()
    run.tell(EngineError("no"))

    run.tell(RetryRun())

    assert run.drive().state == "completed"
    run.check()
