"""retryRun and retryStep (SEMANTICS 5)."""

from typing import Any

import pytest

from runs.machine.stimuli import Cancel, EngineError, RetryRun, RetryStep
from runs.tests.machine.simulation import Simulation, by_step, definition, done, failed, flaky
from staterail.core.errors import IllegalTransition, NotFound

ALWAYS, FAILURE, NO = {"on": "always"}, {"on": "failure"}, {"when": "input.n == 3"}
APPROVAL: dict[str, Any] = {"kind": "HumanApproval", "config": {"title": "t"}}


def refused(run: Simulation, command: Any, error: type[Exception] = IllegalTransition, match: str = "") -> None:
    before = (run.run.run.seq, run.run.run.revision, run.states)
    with pytest.raises(error, match=match):
        run.tell(command)
    assert (run.run.run.seq, run.run.run.revision, run.states) == before


# retryRun


def test_retry_run_queues_what_failed_unhandled_and_lets_what_succeeded_stay() -> None:
    run = Simulation(definition("a b z", "a b", "b z")).drive(by_step(b=failed()))

    run.tell(RetryRun("corr-of-retry", "ada"))

    assert run.states == {"a": "succeeded", "b": "queued", "z": "idle"}
    assert (run.state, run.run.run.generation, run.run.run.error, run.run.run.completed_at) == (
        "pending",
        2,
        None,
        None,
    )
    assert run.drive().state == "completed"
    assert [run.row(id).attempt for id in "abz"] == [1, 2, 1]
    assert [run.row(id).generation for id in "abz"] == [1, 2, 2]
    run.check()


def test_retry_run_tells_the_run_first_and_carries_its_correlation_id() -> None:
    run = Simulation(definition("a b", "a b")).drive(by_step(a=failed()))
    before = len(run.events)

    run.tell(RetryRun("corr-of-retry", "ada"))

    told = [(e.step_id, e.state_before, e.state_after, e.generation, e.corr_id) for e in run.events[before:]]
    assert told == [
        (None, "failed", "pending", 2, "corr-of-retry"),
        ("a", "failed", "queued", 2, "corr-of-retry"),
        ("b", "skipped", "idle", 2, "corr-of-retry"),
    ]
    assert run.events[before].payload == {"reason": None, "by": "ada"}
    run.drive()
    assert {e.corr_id for e in run.events[before + 3 :]} == {"corr"}


def test_each_generation_has_its_run_started() -> None:
    run = Simulation(definition("a")).drive(by_step(a=failed()))

    run.tell(RetryRun())
    run.drive()

    assert [e.generation for e in run.told(None, "run_started")] == [1, 2]


def test_retry_run_takes_up_what_the_failure_stopped() -> None:
    run = Simulation(definition("f a b q", "a b"), room=2).start()
    run.finish("f", failed()).finish("a")

    run.tell(RetryRun())

    assert run.states == {"f": "queued", "a": "succeeded", "b": "queued", "q": "queued"}
    assert run.log("b")[-2:] == [("skipped", "idle", None), ("idle", "queued", "ready")]
    assert run.drive().state == "completed"
    assert run.row("a").attempt == 1
    run.check()


def test_retry_run_takes_up_a_cancelled_run() -> None:
    run = Simulation(definition({"a": {}, "w": APPROVAL, "b": {}, "z": {}}, "w b", "b z")).start()
    run.finish("a")
    run.tell(Cancel())

    run.tell(RetryRun())

    assert run.states == {"a": "succeeded", "w": "queued", "b": "idle", "z": "idle"}
    assert run.run.run.stopping is None
    run.check()


def test_retry_run_makes_skipped_steps_behind_idle_also_those_of_a_dead_path() -> None:
    run = Simulation(definition("a b c h", "a b", "b c", ("a", "h", NO)), '{"n": 2}').drive(by_step(a=failed()))
    assert run.reasons == {"a": "error", "b": "condition", "c": "dead_path", "h": "condition"}

    run.tell(RetryRun())

    assert run.states == {"a": "queued", "b": "idle", "c": "idle", "h": "idle"}
    run.drive()
    assert run.states == {"a": "succeeded", "b": "succeeded", "c": "succeeded", "h": "skipped"}
    run.check()


def test_a_handled_failure_stays_with_what_it_led_to() -> None:
    document = definition("a h f x", ("a", "h", FAILURE), ("a", "x"), on_failure="continue")
    run = Simulation(document).drive(by_step(a=failed(), f=failed()))

    run.tell(RetryRun())

    assert run.states == {"a": "failed", "h": "succeeded", "f": "queued", "x": "skipped"}
    assert run.drive().state == "completed"
    run.check()


def test_an_always_step_that_ran_stays() -> None:
    document = definition("a b clean z", "a b", "b z", ("b", "clean", ALWAYS))
    run = Simulation(document).drive(by_step(a=failed()))
    assert run.states == {"a": "failed", "b": "skipped", "clean": "succeeded", "z": "skipped"}

    run.tell(RetryRun())

    assert run.states == {"a": "queued", "b": "idle", "clean": "succeeded", "z": "idle"}
    assert run.drive().states == {"a": "succeeded", "b": "succeeded", "clean": "succeeded", "z": "succeeded"}
    assert run.row("clean").attempt == 1
    run.check()


def test_an_any_join_that_had_run_is_not_run_again_by_the_retry_of_another_source() -> None:
    document = definition({"a": {}, "b": {}, "j": {"join": "any"}}, "a j", "b j", on_failure="continue")
    run = Simulation(document).drive(by_step(a=failed()))

    run.tell(RetryRun())
    run.drive()

    assert (run.state, run.row("j").attempt) == ("completed", 1)
    run.check()


def test_retry_run_is_refused_for_a_run_that_completed_or_is_under_way() -> None:
    run = Simulation(definition("a"))
    refused(run, RetryRun(), match="pending")
    run.start()
    refused(run, RetryRun(), match="running")
    run.finish("a")
    refused(run, RetryRun(), match="completed")


def test_retry_run_without_a_step_to_retry_is_refused() -> None:
    run = Simulation(definition("a", output="${steps.a.output.no.v}")).drive()
    assert (run.state, run.reason) == ("failed", "expression_error")

    refused(run, RetryRun(), match="nothing to retry")


def test_a_step_that_fails_for_its_config_again_leaves_a_run_that_can_be_retried_again() -> None:
    run = Simulation(definition({"a": {"config": {"name": "core.echo", "args": "${input.no.v}"}}, "b": {}}, "a b"))
    run.drive()

    for generation in (2, 3):
        run.tell(RetryRun("same"))
        run.drive()
        assert (run.state, run.run.run.generation) == ("failed", generation)
    run.check()


# retryStep


def test_retry_step_of_a_handled_failure_is_refused_once_the_run_has_completed() -> None:
    run = Simulation(definition("f h", ("f", "h", FAILURE))).drive(by_step(f=failed()))
    assert (run.state, run.states) == ("completed", {"f": "failed", "h": "succeeded"})

    refused(run, RetryStep("f"), match="completed")


def test_retry_step_of_a_failed_run_opens_it_again() -> None:
    run = Simulation(definition("a f b", "a f", "f b")).drive(by_step(f=failed()))

    run.tell(RetryStep("f", None, "corr-of-retry", "ada"))

    assert (run.state, run.run.run.generation) == ("pending", 2)
    assert run.states == {"a": "succeeded", "f": "queued", "b": "idle"}
    opened = run.told()[-1]
    assert opened.payload == {"reason": None, "by": "ada", "step_id": "f"}
    assert {e.corr_id for e in run.events if e.generation == 2} == {"corr-of-retry"}
    assert run.drive().state == "completed"
    run.check()


def test_retry_step_of_a_running_run_opens_what_follows_anew() -> None:
    run = Simulation(definition({"f": {}, "h": {}, "z": {}, "w": APPROVAL}, ("f", "h", FAILURE), "h z")).start()
    run.finish("f", failed()).drive()
    assert run.states == {"f": "failed", "h": "succeeded", "z": "succeeded", "w": "running"}
    before = len(run.events)

    run.tell(RetryStep("f", None, "corr-of-retry"))

    assert run.states == {"f": "queued", "h": "idle", "z": "idle", "w": "running"}
    assert (run.state, run.run.run.generation, run.row("w").generation) == ("running", 2, 1)
    assert [(e.step_id, e.generation) for e in run.events[before:]] == [("f", 2), ("h", 2), ("z", 2)]
    run.drive()
    assert run.states == {"f": "succeeded", "h": "skipped", "z": "skipped", "w": "running"}
    assert (run.row("h").output, run.row("h").attempt) == (None, 1)
    run.check()


def test_retry_step_takes_up_what_the_failure_stopped() -> None:
    run = Simulation(definition({"f": {}, "a": {}, "b": {}, "q": {}, "w": APPROVAL}, "a b"), room=2).start()
    run.finish("f", failed()).finish("a")
    assert run.state == "running"

    run.tell(RetryStep("f"))

    assert run.states == {"f": "queued", "a": "succeeded", "b": "queued", "q": "queued", "w": "running"}
    run.check()


def test_retry_step_beside_another_unhandled_failure_goes_on_and_the_run_fails_with_that() -> None:
    document = definition({"f": {"retry": {"max_attempts": 2}}, "g": {}, "b": {}, "c": {}}, "f b", "g c")
    run = Simulation(document).start()
    run.finish("f", failed()).finish("g", failed("other"))
    assert (run.state, run.error) == ("failed", "boom")

    run.tell(RetryStep("f"))
    run.drive(by_step(f=[flaky(), done()]))

    assert run.states == {"f": "succeeded", "g": "failed", "b": "succeeded", "c": "skipped"}
    assert (run.row("f").attempt, run.state, run.error) == (3, "failed", "other")
    run.tell(RetryStep("g"))
    assert run.drive().state == "completed"
    run.check()


def test_retry_step_beside_an_interrupted_step_goes_on_and_the_run_fails_with_that() -> None:
    run = Simulation(definition("a b"))
    run.start_ready()
    run.tell(EngineError("no"))

    run.tell(RetryStep("a", None, "c", "me"))
    run.drive()

    assert (run.state, run.states) == ("failed", {"a": "succeeded", "b": "failed"})
    assert run.run.run.error["code"] == "interrupted"
    run.check()


def test_a_failure_behind_a_retried_step_is_forgotten_with_what_led_there() -> None:
    run = Simulation(definition("f h", ("f", "h", FAILURE))).drive(by_step(f=failed(), h=failed("worse")))
    assert (run.state, run.error) == ("failed", "worse")

    run.tell(RetryStep("f"))
    run.drive()

    assert (run.state, run.states) == ("completed", {"f": "succeeded", "h": "skipped"})
    run.check()


def test_a_new_failure_stops_the_generation_that_a_retry_began() -> None:
    run = Simulation(definition("f g q", "f q")).start()
    run.finish("f", failed()).finish("g", failed("other"))
    run.tell(RetryStep("f"))

    run.drive(by_step(f=failed("again")))

    assert (run.states, run.error) == ({"f": "failed", "g": "failed", "q": "skipped"}, "other")
    run.check()


def test_a_new_input_stands_in_place_of_the_config_for_all_attempts_of_this_generation() -> None:
    run = Simulation(definition({"a": {"retry": {"max_attempts": 2}}})).drive(by_step(a=flaky()))
    given = '{"name":"core.echo","args":{"fixed":"${input.n}"}}'

    run.tell(RetryStep("a", given))
    configs = []
    run.drive(lambda id, n, config: configs.append(config) or flaky())  # type: ignore[func-returns-value]

    assert configs == [{"name": "core.echo", "args": {"fixed": "${input.n}"}}] * 2
    assert (run.row("a").input, run.row("a").override) == (given, True)
    run.tell(RetryRun())
    run.start()
    (command,) = run.executing.values()
    assert command.config == {"name": "core.echo", "args": {}}
    assert run.row("a").override is False


def test_a_new_input_needs_no_secret_of_the_config_that_it_replaces() -> None:
    step = {"config": {"name": "core.echo", "args": "${secrets.GONE}"}}
    run = Simulation(definition({"a": step})).drive()

    run.tell(RetryStep("a", '{"name": "core.noop"}'))
    run.start()

    (command,) = run.executing.values()
    assert (command.config, command.template) == ({"name": "core.noop"}, None)


def test_retry_step_of_a_rejected_approval_asks_again() -> None:
    run = Simulation(definition({"r": {**APPROVAL, "timeout": "1m"}})).drive()
    assert run.reasons["r"] == "timeout"

    run.tell(RetryStep("r"))
    run.start()

    assert (run.reasons["r"], run.row("r").attempt) == ("waiting_approval", 2)


def test_an_any_join_behind_a_retried_step_starts_at_once_for_another_source() -> None:
    document = definition({"a": {}, "f": {}, "j": {"join": "any"}, "g": {}}, "a j", "f j", on_failure="continue")
    run = Simulation(document).drive(by_step(f=failed(), g=failed()))

    run.tell(RetryStep("f"))

    assert run.states == {"a": "succeeded", "f": "queued", "j": "queued", "g": "failed"}
    run.check()


def test_retry_step_is_refused_while_what_follows_is_open() -> None:
    run = Simulation(definition("f h z", ("f", "h", ALWAYS), "h z"), room=1).start()
    run.finish("f", failed())
    refused(run, RetryStep("f"), match="h follows this step and is queued")
    run.start()
    refused(run, RetryStep("f"), match="h follows this step and is running")
    run.finish("h").start()
    refused(run, RetryStep("f"), match="z follows this step and is running")


@pytest.mark.parametrize(("id", "state"), [("a", "succeeded"), ("d", "running"), ("q", "queued"), ("z", "idle")])
def test_retry_step_is_refused_for_a_step_that_has_not_failed(id: str, state: str) -> None:
    run = Simulation(definition("a d q z", "q z"), room=1).start()
    run.finish("a").start()
    assert run.states[id] == state

    refused(run, RetryStep(id), match=state)


def test_retry_step_of_an_unknown_step_is_not_found() -> None:
    refused(Simulation(definition("a")).start(), RetryStep("nobody"), NotFound, "nobody")


def test_retry_step_is_refused_in_a_pending_and_a_cancelled_run() -> None:
    run = Simulation(definition("a b")).start()
    run.tell(Cancel())
    run.later(10).due()
    refused(run, RetryStep("a"), match="cancelled")
    run.tell(RetryRun())
    refused(run, RetryStep("a"), match="pending")
