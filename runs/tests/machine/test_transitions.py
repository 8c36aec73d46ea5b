"""How each transition comes out at the end of its source (SEMANTICS 3)."""

from typing import Any

import pytest

from runs.machine.stimuli import ManualTransition
from runs.tests.machine.simulation import Simulation, by_step, definition, done, failed

TRUE, FALSE, BROKEN = "input.n == 2", "input.n == 3", "input.no.field == 1"


def ended(source: Any, *edges: dict[str, Any], **rest: Any) -> Simulation:
    """A run of `s`, which ends as told, and one target t0, t1 … for each edge."""
    targets = {f"t{n}": {} for n in range(len(edges))}
    transitions = [("s", f"t{n}", {"id": f"e{n}", **edge}) for n, edge in enumerate(edges)]
    run = Simulation(definition({"s": {}, **targets}, *transitions, **rest), '{"n": 2}')
    run.drive(by_step(s=source))
    run.check()
    return run


def came_out(source: Any, *edges: dict[str, Any]) -> list[str]:
    return list(ended(source, *edges).resolved("s").values())


@pytest.mark.parametrize(
    ("edge", "success", "failure"),
    [
        ({}, "+success", "-other_outcome"),
        ({"on": "success"}, "+success", "-other_outcome"),
        ({"when": TRUE}, "+success", "-other_outcome"),
        ({"when": FALSE}, "-condition_false", "-other_outcome"),
        ({"default": True}, "+default", "-other_outcome"),
        ({"on": "failure"}, "-other_outcome", "+failure"),
        ({"on": "failure", "when": TRUE}, "-other_outcome", "+failure"),
        ({"on": "failure", "when": FALSE}, "-other_outcome", "-condition_false"),
        ({"on": "failure", "errors": ["boom"]}, "-other_outcome", "+failure"),
        ({"on": "failure", "errors": ["bang", "boom"]}, "-other_outcome", "+failure"),
        ({"on": "failure", "errors": ["bang"]}, "-other_outcome", "-code_not_listed"),
        ({"on": "failure", "errors": ["bang"], "when": BROKEN}, "-other_outcome", "-code_not_listed"),
        ({"on": "failure", "when": BROKEN}, "-other_outcome", "-expression_error"),
        ({"on": "always"}, "+always", "+always"),
        ({"on": "always", "when": TRUE}, "+always", "+always"),
        ({"on": "always", "when": FALSE}, "-condition_false", "-condition_false"),
        ({"on": "always", "when": BROKEN}, "-expression_error", "-expression_error"),
        ({"when": BROKEN}, "-expression_error", "-other_outcome"),
    ],
)
def test_each_transition_resolves_by_its_source_s_end(edge: dict[str, Any], success: str, failure: str) -> None:
    assert came_out(done(), edge) == [success]
    assert came_out(failed("boom"), edge) == [failure]


@pytest.mark.parametrize(
    ("others", "taken"),
    [
        ([], "+default"),
        ([{"when": FALSE}], "+default"),
        ([{"when": TRUE}], "-other_outcome"),
        ([{}], "-other_outcome"),
        ([{"when": FALSE}, {"when": TRUE}], "-other_outcome"),
        ([{"on": "always"}], "+default"),  # only another success transition stands in its way
        ([{"on": "failure"}], "+default"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_default_is_taken_when_no_other_success_transition_was(others: list[Any], taken: str, first: bool) -> None:
    default = {"default": True}
    edges = [default, *others] if first else [*others, default]

    assert came_out(done(), *edges)[0 if first else -1] == taken


@pytest.mark.parametrize(
    ("errors", "code", "taken"),
    [
        (["http_5xx"], "http_503", True),
        (["http_5xx"], "http_500", True),
        (["http_5xx"], "http_404", False),
        (["http_4xx"], "http_404", True),
        (["http_4xx"], "http_503", False),
        (["http_503"], "http_503", True),
        (["http_503"], "http_500", False),
        (["http_5xx"], "http_5", False),
        (["http_5xx"], "http_5abc", False),
        (["http_4xx", "timeout"], "timeout", True),
    ],
)
def test_errors_match_a_code_or_its_class(errors: list[str], code: str, taken: bool) -> None:
    assert came_out(failed(code), {"on": "failure", "errors": errors}) == ["+failure" if taken else "-code_not_listed"]


def test_each_transition_resolves_exactly_once() -> None:
    run = Simulation(definition("a b c d", "a b", "a c", "b d", "c d", ("a", "d", {"on": "always"})))

    run.drive()

    told = [entry["transition"] for e in run.events for entry in e.payload.get("resolved", [])]
    assert sorted(told) == sorted(edge.id for edge in run.plan.edges)


@pytest.mark.parametrize("edge", [{}, {"default": True}, {"when": TRUE}, {"on": "failure"}])
def test_no_transition_but_always_leaves_a_skipped_step(edge: dict[str, Any]) -> None:
    document = definition("a s t u", ("a", "s", {"when": FALSE}), ("s", "t", edge), ("s", "u", {"on": "always"}))
    run = Simulation(document, '{"n": 2}')

    run.drive()

    assert list(run.resolved("s").values()) == ["-source_skipped", "+always"]
    assert run.states == {"a": "succeeded", "s": "skipped", "t": "skipped", "u": "succeeded"}


def test_resolved_tells_the_condition_and_the_values_that_it_read() -> None:
    run = ended(done({"v": 7}), {"when": "steps.s.output.v > input.n && input.gone == null"}, {"when": TRUE}, {})

    entries = run.told("s", "step_failed")[0].payload["resolved"]

    operands = {"steps.s.output.v": 7, "input.n": 2, "input.gone": None}
    when = "steps.s.output.v > input.n && input.gone == null"
    assert entries[0] == {
        "transition": "e0", "taken": False, "reason": "expression_error", "when": when, "operands": operands,
    }  # fmt: skip
    assert entries[1] == {
        "transition": "e1", "taken": False, "reason": "other_outcome", "when": TRUE, "operands": None,
    }  # fmt: skip
    assert entries[2] == {"transition": "e2", "taken": False, "reason": "other_outcome", "when": None, "operands": None}


def test_resolved_tells_what_a_condition_that_held_or_not_has_read() -> None:
    entries = ended(done(), {"when": TRUE}, {"when": FALSE}).told("s", "step_completed")[0].payload["resolved"]

    assert [(e["taken"], e["when"], e["operands"]) for e in entries] == [
        (True, TRUE, {"input.n": 2}),
        (False, FALSE, {"input.n": 2}),
    ]


# A condition that fails


@pytest.mark.parametrize("when", [BROKEN, "input.n", "input.text", "input"])
def test_an_expression_that_fails_is_never_false(when: str) -> None:
    run = ended(done({"v": 1}), {"when": when}, {"default": True})

    assert run.states == {"s": "failed", "t0": "skipped", "t1": "skipped"}
    assert (run.reasons["s"], run.row("s").output) == ("expression_error", None)
    assert (run.state, run.error) == ("failed", "expression_error")
    assert run.row("s").attempt == 1


def test_a_failing_when_is_not_retried() -> None:
    document = definition({"s": {"retry": {"max_attempts": 5}}, "t": {}}, ("s", "t", {"when": BROKEN}))

    run = Simulation(document).drive()

    assert run.row("s").attempt == 1
    assert run.row("s").error is not None
    assert run.row("s").error["retryable"] is False


def test_a_failing_when_makes_its_source_fail_and_the_transitions_resolve_for_that() -> None:
    run = ended(
        done(), {}, {"when": BROKEN}, {"on": "failure", "errors": ["expression_error"]},
        {"on": "failure", "errors": ["x"]},
        {"on": "always", "when": "steps.s.state == 'failed' && steps.s.error.code == 'expression_error'"},
    )  # fmt: skip

    assert list(run.resolved("s").values()) == [
        "-other_outcome", "-expression_error", "+failure", "-code_not_listed", "+always",
    ]  # fmt: skip
    assert run.state == "completed"


def test_an_always_whose_when_made_its_source_fail_is_judged_anew_by_that_failure() -> None:
    run = ended(done({}), {"on": "always", "when": "steps.s.state == 'failed' || steps.s.output.gone"})

    assert (run.resolved("s"), run.reasons["s"]) == ({"e0": "+always"}, "expression_error")
    assert (run.states["t0"], run.state) == ("succeeded", "completed")


def test_a_failing_when_of_a_source_that_failed_leaves_it_and_fails_the_run() -> None:
    run = ended(failed("boom"), {"on": "failure", "when": BROKEN}, {"on": "failure"})

    assert run.row("s").error == {"code": "boom", "message": "boom", "retryable": False}
    assert list(run.resolved("s").values()) == ["-expression_error", "+failure"]
    assert (run.state, run.error) == ("failed", "expression_error")
    assert run.states["t1"] == "skipped"
    assert run.reasons["t1"] == "run_failed"


def test_a_failing_when_of_a_skipped_source_leaves_it_skipped_and_fails_the_run() -> None:
    document = definition("a s t", ("a", "s", {"when": FALSE}), ("s", "t", {"on": "always", "when": BROKEN}))

    run = Simulation(document, '{"n": 2}').drive()

    assert run.states == {"a": "succeeded", "s": "skipped", "t": "skipped"}
    assert run.reasons["s"] == "condition"
    assert (run.state, run.error, (run.run.run.error or {})["step_id"]) == ("failed", "expression_error", "s")


def test_a_when_reads_its_source_as_it_has_just_ended() -> None:
    assert came_out(
        done({"v": 1}),
        {"when": "steps.s.state == 'succeeded' && steps.s.output.v == 1 && steps.s.error == null"},
        {"when": "steps.s.attempt == 1"},
    ) == ["+success", "+success"]
    reads = "steps.s.state == 'failed' && steps.s.error.code == 'boom' && steps.s.output == null"
    assert came_out(failed("boom"), {"on": "failure", "when": reads}) == ["+failure"]


def test_state_and_attempt_of_a_step_that_has_not_run_can_be_read() -> None:
    edge = {"when": "steps.t0.state == 'idle' && steps.t0.attempt == 0 && steps.t0.output == null"}

    assert came_out(done(), edge) == ["+success"]


def test_an_approval_whose_condition_fails_keeps_who_decided() -> None:
    approval = {"kind": "HumanApproval", "config": {"title": "t"}}
    run = Simulation(definition({"r": approval, "t": {}}, ("r", "t", {"when": BROKEN}))).start()

    run.tell(ManualTransition("r", "approve", "ada", "fine"))

    assert run.row("r").state == "failed"
    assert run.row("r").error is not None
    details = run.row("r").error["details"]
    assert (details["action"], details["actor"], details["comment"]) == ("approve", "ada", "fine")
