"""Handled and unhandled failures, what a stop lets go on, and how a run ends (SEMANTICS 3)."""

from typing import Any

import pytest

from runs.tests.machine.simulation import Simulation, by_step, definition, done, failed, flaky

NO = {"when": "input.n == 3"}
ALWAYS = {"on": "always"}


@pytest.mark.parametrize(
    ("edge", "handled"),
    [
        ({"on": "failure"}, True),
        ({"on": "failure", "errors": ["boom"]}, True),
        ({"on": "always"}, True),
        ({}, False),
        ({"default": True}, False),
        ({"on": "failure", "errors": ["other"]}, False),
        ({"on": "failure", **NO}, False),
        ({"on": "always", **NO}, False),
    ],
)
@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_a_failure_is_handled_if_a_failure_or_always_transition_was_taken(
    edge: dict[str, Any], handled: bool, on_failure: str
) -> None:
    run = Simulation(definition("a b", ("a", "b", edge), on_failure=on_failure), '{"n": 2}').drive(by_step(a=failed()))

    assert run.state == ("completed" if handled else "failed")
    assert run.error == (None if handled else "boom")
    assert run.states["b"] == ("succeeded" if handled else "skipped")
    run.check()


def test_a_run_fails_with_the_first_unhandled_failure() -> None:
    run = Simulation(definition("a b", on_failure="continue")).start()

    run.finish("b", failed("second")).finish("a", failed("first"))

    assert run.run.run.error == {"code": "second", "message": "second", "step_id": "b"}
    assert (run.state, run.reason) == ("failed", "step_failed")


def test_a_handled_failure_before_an_unhandled_one_is_not_what_the_run_fails_with() -> None:
    run = Simulation(definition("a b c", ("a", "c", {"on": "failure"}), on_failure="continue")).start()

    run.finish("a", failed("handled")).finish("b", failed("boom")).drive()

    assert run.error == "boom"


# stop


def stopped(document: dict[str, Any]) -> Simulation:
    """A run of which `f` has just failed; every other start step executes."""
    run = Simulation(document).start()
    run.finish("f", failed())
    return run


def test_stop_lets_running_attempts_end_and_records_them() -> None:
    run = stopped(definition("f a b", "a b"))

    at_once = run.state
    run.finish("a", done({"v": 1}))

    assert at_once == "running"
    assert (run.row("a").state, run.row("a").output) == ("succeeded", '{"v":1}')
    assert run.states["b"] == "skipped"
    assert run.reasons["b"] == "run_failed"
    assert (run.state, run.error) == ("failed", "boom")


def test_stop_skips_what_is_queued_at_once() -> None:
    run = Simulation(definition("f a b", "a b"), room=1).start()

    run.finish("f", failed())

    assert (run.states, run.state) == ({"f": "failed", "a": "skipped", "b": "skipped"}, "failed")
    assert run.reasons == {"f": "error", "a": "run_failed", "b": "dead_path"}


def test_stop_skips_a_backoff_at_once() -> None:
    run = Simulation(definition({"f": {}, "a": {"retry": {"max_attempts": 3}}})).start()
    run.finish("a", flaky())

    run.finish("f", failed())

    assert run.log("a")[-1] == ("queued", "skipped", "run_failed")
    assert run.state == "failed"


def test_stop_skips_an_idle_step_only_when_it_would_have_run() -> None:
    run = stopped(definition("f a b", "a b"))

    assert run.states["b"] == "idle"
    run.finish("a")
    assert run.reasons["b"] == "run_failed"


def test_stop_leaves_a_step_that_would_not_have_run_its_own_reason() -> None:
    run = Simulation(definition("f a b c", ("a", "b", NO), "b c"), '{"n": 2}').start()
    run.finish("f", failed())

    run.finish("a")

    assert run.reasons == {"f": "error", "a": None, "b": "condition", "c": "dead_path"}


def test_stop_retries_nothing() -> None:
    run = stopped(definition({"f": {}, "a": {"retry": {"max_attempts": 3}}}))

    run.finish("a", flaky())

    assert (run.row("a").state, run.row("a").attempt, run.state) == ("failed", 1, "failed")


def test_stop_lets_go_on_what_a_taken_always_leads_to() -> None:
    document = definition({"f": {}, "a": {}, "clean": {"retry": {"max_attempts": 2}}}, ("a", "clean", ALWAYS))
    run = stopped(document)

    run.drive(by_step(clean=[flaky(), done()]))

    assert (run.states["clean"], run.row("clean").attempt) == ("succeeded", 2)
    assert (run.state, run.error) == ("failed", "boom")
    run.check()


def test_stop_spares_a_queued_step_that_always_led_to() -> None:
    run = Simulation(definition("f a clean", ("a", "clean", ALWAYS)), room=2).start()
    run.finish("a")

    run.finish("f", failed())

    assert run.states["clean"] == "queued"
    assert run.drive().states["clean"] == "succeeded"


def test_an_always_behind_a_skip_of_the_stop_runs() -> None:
    run = stopped(definition("f a b clean", "a b", ("b", "clean", ALWAYS)))

    run.finish("a").drive()

    assert (run.reasons["b"], run.states["clean"], run.state) == ("run_failed", "succeeded", "failed")


def test_a_failure_in_a_stopped_run_may_still_be_handled_but_its_handler_does_not_start() -> None:
    run = stopped(definition("f a h", ("a", "h", {"on": "failure"})))

    run.finish("a", failed("other"))

    assert (run.resolved("a"), run.reasons["h"]) == ({"a:h": "+failure"}, "run_failed")
    assert run.error == "boom"


def test_a_row_that_waits_goes_on_in_a_stopped_run() -> None:
    run = Simulation(definition({"f": {}, "d": {"kind": "Delay", "config": {"for": "5s"}}})).start()
    run.finish("f", failed())

    assert (run.state, run.states["d"]) == ("running", "running")
    assert run.drive().states["d"] == "succeeded"


@pytest.mark.parametrize("first", [True, False])
def test_a_failure_that_a_skip_brings_about_stops_the_run_too(first: bool) -> None:
    queued, skipped = ("a", "q"), ("a", "b", NO)
    broken = ("b", "c", {"on": "always", "when": "input.no.field"})
    document = definition("a b c q", *([queued, skipped] if first else [skipped, queued]), broken)
    run = Simulation(document, '{"n": 2}').start()

    run.finish("a")

    assert (run.state, run.error, run.reasons["q"]) == ("failed", "expression_error", "run_failed")
    run.check()


# continue


def test_continue_lets_every_branch_that_can_run_do_so_first() -> None:
    document = definition(
        {"f": {}, "a": {"retry": {"max_attempts": 2}}, "b": {}, "g": {}, "j": {}, "k": {"join": "strict_all"}},
        "a b", "f g", "f j", "b j", "f k", "b k", on_failure="continue",
    )  # fmt: skip
    run = Simulation(document, room=1)

    run.drive(by_step(f=failed(), a=[flaky(), done()]))

    assert run.states == {
        "f": "failed", "a": "succeeded", "b": "succeeded", "g": "skipped", "j": "succeeded", "k": "skipped",
    }  # fmt: skip
    assert (run.reasons["g"], run.reasons["k"]) == ("condition", "condition")
    assert (run.state, run.error) == ("failed", "boom")
    run.check()


# The end


def test_a_run_ends_when_no_step_is_open() -> None:
    run = Simulation(definition("a b")).start()

    run.finish("a")
    between = run.state
    run.finish("b")

    assert (between, run.state, run.reason, run.run.run.error) == ("running", "completed", None, None)
    assert run.run.run.completed_at == run.now


def test_the_output_is_evaluated_once_at_the_end() -> None:
    document = definition("a b", "a b", output={"sum": "${steps.a.output.v + 1}", "b": "${steps.b.state}", "n": None})

    run = Simulation(document).drive(by_step(a=done({"v": 41})))

    assert run.run.run.output == '{"sum":42,"b":"succeeded","n":null}'


def test_a_run_without_an_output_has_none() -> None:
    assert Simulation(definition("a")).drive().run.run.output is None


def test_the_output_of_a_run_that_fails_is_not_evaluated() -> None:
    run = Simulation(definition("a", output="${steps.a.output.v}")).drive(by_step(a=failed()))

    assert (run.reason, run.error, run.run.run.output) == ("step_failed", "boom", None)


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("${steps.a.output.no.v}", {}),
        ("${steps.a.output}" * 3, "x" * 400_000),
        (["${steps.a.output}"] * 3, "x" * 400_000),
    ],
    ids=["fails", "too large a text", "too large"],
)
def test_a_failing_output_fails_the_run(output: Any, value: Any) -> None:
    run = Simulation(definition("a", output=output)).drive(by_step(a=done(value)))

    assert (run.state, run.reason, run.error, run.run.run.output) == (
        "failed",
        "expression_error",
        "expression_error",
        None,
    )
    assert "step_id" not in (run.run.run.error or {})
    run.check()
