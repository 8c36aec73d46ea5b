"""Warnings: what may not have run by then, ways that may end, ways never taken."""

import pytest

from workflows.definition.validation import validate
from workflows.tests.factories import TASKS, definition, echo, edge, step

A, B, C = step("a"), step("b"), step("c")
MAYBE = edge("a", "b", when="input.x")


def _warned(document, code="maybe_not_run"):
    problems = validate(document, tasks=TASKS)
    assert [problem for problem in problems if problem["severity"] == "error"] == []
    return [problem["path"] for problem in problems if problem["code"] == code]


def _reader(read, *, join="all"):
    return {**echo("r", x="${" + read + "}"), "join": join}


R = "/steps/3/config/args/x"


@pytest.mark.parametrize(
    ("transitions", "read", "join", "warned"),
    [
        ([MAYBE, edge("b", "r")], "steps.b.output", "all", False),  # on every way
        ([MAYBE, edge("b", "r")], "steps.a.output", "all", False),
        ([MAYBE, edge("a", "r"), edge("b", "r")], "steps.b.output", "all", True),
        ([MAYBE, edge("a", "r"), edge("b", "r")], "steps.b.error", "all", True),
        ([MAYBE, edge("a", "r"), edge("b", "r")], "steps.b.state", "all", False),
        ([MAYBE, edge("a", "r"), edge("b", "r")], "steps.b.attempt", "all", False),
        ([MAYBE, edge("a", "r"), edge("b", "r")], "steps.b.state == 'succeeded' ? steps.b.output : 0", "all", False),
        ([MAYBE, edge("a", "r"), edge("b", "r")], "'steps.b.state' == '' ? 0 : steps.b.output", "all", True),
        ([edge("a", "b"), edge("a", "r"), edge("b", "r")], "steps.b.output", "all", False),  # reached, and awaited
        ([edge("a", "b"), edge("a", "r"), edge("b", "r")], "steps.b.output", "any", True),  # not awaited
        ([edge("a", "b"), edge("a", "r"), edge("b", "r")], "steps.a.output", "any", False),
        ([edge("a", "b", on="failure"), edge("a", "r"), edge("b", "r")], "steps.b.output", "all", True),
        ([edge("a", "b", on="always"), edge("a", "r"), edge("b", "r")], "steps.b.output", "all", True),
        ([edge("a", "b", default=True), edge("a", "r"), edge("b", "r")], "steps.b.output", "all", True),
        ([edge("a", "r"), edge("b", "r"), edge("c", "r")], "steps.c.output", "all", False),  # start steps
        ([edge("a", "r"), edge("b", "r")], "steps.c.output", "all", True),  # nothing waits for it
        ([edge("r", "b")], "steps.b.output", "all", True),  # comes later
        ([], "steps.r.output", "all", True),  # itself
    ],
)
def test_a_config_is_warned_of_a_step_that_may_not_have_run(transitions, read, join, warned):
    document = definition(A, B, C, _reader(read, join=join), transitions=transitions)
    assert _warned(document) == ([R] if warned else [])


def test_the_warning_says_how_to_guard():
    (problem,) = validate(definition(A, echo("r", x="${steps.a.output}")), tasks=TASKS)
    assert problem == {
        "severity": "warning", "code": "maybe_not_run", "path": "/steps/1/config/args/x", "step_id": "r",
        "transition_id": None,
        "message": "Step a may not have run by then: guard it with steps.a.state == 'succeeded' ? … : …",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("when", "warned"),
    [
        ("steps.a.output.x", False),
        ("steps.b.output.x", True),
        ("steps.c.output.x", True),
        ("steps.c.attempt > 0", False),
    ],
)
def test_a_condition_reads_its_source_as_it_has_just_ended(when, warned):
    document = definition(A, B, C, transitions=[edge("a", "b", when=when), edge("a", "c", default=True)])
    assert _warned(document) == (["/transitions/0/when"] if warned else [])


@pytest.mark.parametrize(
    ("transitions", "joins", "sure"),
    [
        ([], {}, "abc"),
        ([edge("a", "b"), edge("b", "c")], {}, "abc"),
        ([MAYBE, edge("b", "c")], {}, "a"),  # the way may end at a
        ([MAYBE, edge("a", "c", default=True)], {}, "a"),
        ([MAYBE, edge("a", "c", default=True), edge("b", "c")], {}, "ac"),  # all ways lead to c
        ([MAYBE, edge("a", "c"), edge("b", "c")], {}, "ac"),
        ([edge("a", "b", on="failure"), edge("b", "c")], {}, "a"),
        ([edge("a", "b", on="failure"), edge("a", "c"), edge("b", "c")], {}, "ac"),
        ([edge("a", "b", on="always"), edge("b", "c")], {}, "abc"),
        ([MAYBE, edge("a", "c"), edge("b", "c")], {"c": "strict_all"}, "a"),  # c is skipped with b
    ],
)
def test_the_output_is_warned_of_a_step_that_may_not_have_run_by_the_end(transitions, joins, sure):
    steps = [step(id, join=joins.get(id, "all")) for id in "abc"]
    output = {id: f"${{steps.{id}.output}}" for id in "abc"}
    document = definition(*steps, transitions=transitions, output=output)
    assert _warned(document) == [f"/output/{id}" for id in "abc" if id not in sure]


@pytest.mark.parametrize(
    ("transitions", "warned"),
    [
        ([MAYBE], True),
        ([MAYBE, edge("a", "c", when="true")], True),
        ([MAYBE, edge("a", "c", default=True)], False),
        ([MAYBE, edge("a", "c")], False),
        ([MAYBE, edge("a", "c", on="failure")], True),
        ([edge("a", "b", when="input.x", on="failure")], False),
    ],
)
def test_a_way_that_may_end_at_a_step_is_told(transitions, warned):
    assert _warned(definition(A, B, C, transitions=transitions), "no_default") == (["/steps/0"] if warned else [])


@pytest.mark.parametrize(
    ("when", "warned"),
    [
        ("false", True), ("1 > 2", True), ("false && input.x", True), ("input.x && false", True), ("true", False),
        ("input.x", False), ("has(input.x)", False), ("steps.a.state == 'x'", False), ("1 / 0 == 1", False),
    ],
)  # fmt: skip
def test_a_condition_that_is_constantly_false_is_told(when, warned):
    document = definition(A, B, transitions=[edge("a", "b", when=when)])
    assert _warned(document, "never_taken") == (["/transitions/0/when"] if warned else [])


def test_warnings_do_not_hide_behind_a_cycle_but_certainty_needs_an_order():
    document = definition(
        A, B, echo("c", x="${steps.a.output}"), transitions=[edge("a", "b"), edge("b", "a", when="false")]
    )
    found = [(problem["severity"], problem["code"]) for problem in validate(document, tasks=TASKS)]
    assert found == [("error", "cycle"), ("warning", "never_taken"), ("warning", "no_default")]
