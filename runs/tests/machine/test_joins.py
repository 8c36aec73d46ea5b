"""Joins, skips and how they cascade (SEMANTICS 3)."""

from typing import Any

import pytest

from runs.tests.machine.simulation import Simulation, by_step, definition, done, failed

FALSE = "input.n == 3"
YES, NO = {}, {"when": FALSE}


def joined(join: str, *edges: dict[str, Any]) -> Simulation:
    """A run whose start steps s0, s1 … lead to `j` by these edges; none has ended yet."""
    sources = {f"s{n}": {} for n in range(len(edges))}
    transitions = [(f"s{n}", "j", edge) for n, edge in enumerate(edges)]
    return Simulation(definition({**sources, "j": {"join": join}}, *transitions), '{"n": 2}').start()


@pytest.mark.parametrize(
    ("join", "edges", "state"),
    [
        ("all", [YES, YES], "queued"),
        ("all", [YES, NO], "queued"),
        ("all", [NO, YES], "queued"),
        ("all", [NO, NO], "skipped"),
        ("strict_all", [YES, YES], "queued"),
        ("strict_all", [YES, NO], "skipped"),
        ("strict_all", [NO, YES], "skipped"),
        ("strict_all", [NO, NO], "skipped"),
        ("any", [YES, YES], "queued"),
        ("any", [YES, NO], "queued"),
        ("any", [NO, YES], "queued"),
        ("any", [NO, NO], "skipped"),
    ],
)
def test_join(join: str, edges: list[dict[str, Any]], state: str) -> None:
    run = joined(join, *edges)

    run.finish("s0")
    at_the_first = run.states["j"]
    run.finish("s1")

    assert at_the_first == ("queued" if join == "any" and edges[0] == YES else "idle")
    assert run.states["j"] == state


def test_join_is_all_unless_told_otherwise() -> None:
    run = Simulation(definition("a b j", "a j", "b j")).start()

    run.finish("a")

    assert run.states["j"] == "idle"


def test_an_any_join_runs_once_and_ignores_what_comes_later() -> None:
    run = joined("any", YES, YES, NO)

    run.finish("s1").start().finish("j").finish("s0").finish("s2")

    assert run.log("j") == [
        ("idle", "queued", "ready"),
        ("queued", "running", "executing"),
        ("running", "succeeded", None),
    ]
    assert run.state == "completed"
    run.check()


def test_an_any_join_waits_while_one_may_still_be_taken() -> None:
    run = joined("any", NO, NO)

    run.finish("s0")

    assert run.states["j"] == "idle"


def test_two_transitions_between_the_same_steps_are_two() -> None:
    document = definition({"a": {}, "j": {"join": "strict_all"}}, ("a", "j", YES), ("a", "j", NO))

    run = Simulation(document, '{"n": 2}').drive()

    assert run.resolved("a") == {"a:j": "+success", "a:j:2": "-condition_false"}
    assert run.reasons["j"] == "condition"


def test_skips_cascade_in_the_same_commit() -> None:
    document = definition("a b c d e", ("a", "b", NO), "b c", "c d", ("d", "e", {"on": "always"}))
    run = Simulation(document, '{"n": 2}').start()
    revision = run.run.run.revision

    run.finish("a")

    assert run.run.run.revision == revision + 1
    assert run.states == {"a": "succeeded", "b": "skipped", "c": "skipped", "d": "skipped", "e": "queued"}
    assert run.reasons == {"a": None, "b": "condition", "c": "dead_path", "d": "dead_path", "e": "ready"}


def test_a_long_chain_is_skipped_without_recursion() -> None:
    ids = [f"s{n}" for n in range(3000)]
    chain = [
        (source, target, NO if n == 0 else YES) for n, (source, target) in enumerate(zip(ids, ids[1:], strict=False))
    ]

    run = Simulation(definition(" ".join(ids), *chain), '{"n": 2}').drive()

    assert run.state == "completed"
    assert run.reasons["s2999"] == "dead_path"


@pytest.mark.parametrize(
    ("join", "first", "second", "reason"),
    [
        ("all", NO, NO, "condition"),
        ("strict_all", NO, YES, "condition"),
        ("any", NO, NO, "condition"),
        ("all", {"on": "failure"}, NO, "condition"),
    ],
)
def test_a_step_skipped_since_a_step_that_ran_went_elsewhere_says_condition(
    join: str, first: dict[str, Any], second: dict[str, Any], reason: str
) -> None:
    run = joined(join, first, second).drive()

    assert run.reasons["j"] == reason


@pytest.mark.parametrize(
    ("join", "into", "reason"),
    [
        ("all", "b c", "dead_path"),
        ("any", "b c", "dead_path"),
        ("strict_all", "a b", "dead_path"),  # the one not taken came from a skipped step
        ("strict_all", "b c", "dead_path"),
    ],
)
def test_a_step_skipped_since_all_that_lead_there_were_says_dead_path(join: str, into: str, reason: str) -> None:
    edges = [("a", "b", NO), ("a", "c", NO), *((source, "j") for source in into.split())]
    run = Simulation(definition({"a": {}, "b": {}, "c": {}, "j": {"join": join}}, *edges), '{"n": 2}').drive()

    assert run.reasons["j"] == reason


def test_a_step_skipped_behind_a_failure_says_condition() -> None:
    run = Simulation(definition("a b c", "a b", ("a", "c", {"on": "failure"}))).drive(by_step(a=failed()))

    assert run.reasons == {"a": "error", "b": "condition", "c": None}


def test_a_skipped_step_has_no_attempt_and_no_output() -> None:
    run = Simulation(definition("a b", ("a", "b", NO)), '{"n": 2}').drive(by_step(a=done(1)))

    row = run.row("b")
    assert (row.attempt, row.output, row.error, row.queued_at, row.started_at) == (0, None, None, None, None)
    assert row.completed_at == run.row("a").completed_at
