"""Approvals: decided once, by one person (SEMANTICS 5)."""

import json
from typing import Any

import pytest

from runs.machine.stimuli import Cancel, Due, ManualTransition, RetryStep
from runs.tests.machine.simulation import NOON, Simulation, definition
from staterail.core.errors import IllegalTransition, NotFound

APPROVE = ManualTransition("r", "approve", "ada", "fine", {"amount": 5}, "corr-of-ada")
REJECT = ManualTransition("r", "reject", "bob", None, None, "corr-of-bob")


def waiting() -> Simulation:
    approval = {"kind": "HumanApproval", "config": {"title": "t"}, "timeout": "1m", "retry": {"max_attempts": 3}}
    return Simulation(definition({"r": approval, "z": {}, "h": {}}, "r z", ("r", "h", {"on": "failure"}))).start()


def refused(run: Simulation, command: ManualTransition, match: str) -> None:
    before = (run.run.run.seq, run.states)
    with pytest.raises(IllegalTransition, match=match):
        run.tell(command)
    assert (run.run.run.seq, run.states) == before


def test_approve_succeeds_with_who_decided_what_and_when() -> None:
    run = waiting().later(3)

    run.tell(APPROVE)

    assert run.states == {"r": "succeeded", "z": "queued", "h": "skipped"}
    assert json.loads(run.row("r").output or "") == {
        "action": "approve", "actor": "ada", "comment": "fine", "data": {"amount": 5}, "at": run.now.isoformat(),
    }  # fmt: skip
    assert {e.corr_id for e in run.events[-3:]} == {"corr-of-ada"}
    run.check()


def test_reject_fails_with_rejected_and_is_never_retried() -> None:
    run = waiting()

    run.tell(REJECT)

    assert run.states == {"r": "failed", "z": "skipped", "h": "queued"}
    assert (run.reasons["r"], run.row("r").attempt) == ("rejected", 1)
    assert run.row("r").error == {
        "code": "rejected", "message": "Rejected by bob.", "retryable": False,
        "details": {"action": "reject", "actor": "bob", "comment": None, "data": None, "at": NOON.isoformat()},
    }  # fmt: skip
    run.check()


@pytest.mark.parametrize("second", [APPROVE, REJECT])
def test_it_counts_once_and_the_refusal_says_who_decided_what_and_when(second: ManualTransition) -> None:
    approved, rejected = waiting(), waiting()
    approved.tell(APPROVE)
    rejected.tell(REJECT)

    refused(approved, second, f"ada approved this at {NOON.isoformat()[:19]}")
    refused(rejected, second, f"bob rejected this at {NOON.isoformat()[:19]}")


def test_an_approval_after_its_timeout_is_refused() -> None:
    run = waiting().later(60)
    run.tell(Due(0))

    refused(run, APPROVE, "failed .timeout.")


def test_an_approval_after_a_cancel_is_refused() -> None:
    run = waiting()
    run.tell(Cancel())

    refused(run, APPROVE, "interrupted")


def test_an_approval_that_has_not_been_reached_is_refused() -> None:
    run = Simulation(definition({"a": {}, "r": {"kind": "HumanApproval", "config": {"title": "t"}}}, "a r"))

    refused(run, APPROVE, "not been reached")
    run.start().finish("a")
    refused(run, APPROVE, "not been reached")


def test_an_approval_that_was_retried_may_be_decided_anew() -> None:
    run = Simulation(definition({"r": {"kind": "HumanApproval", "config": {"title": "t"}}})).start()
    run.tell(REJECT)
    run.tell(RetryStep("r"))
    refused(run, APPROVE, "not been reached")

    run.start().tell(APPROVE)

    assert (run.state, run.row("r").attempt, run.row("r").error) == ("completed", 2, None)


def test_a_step_of_another_kind_is_no_approval() -> None:
    run = Simulation(definition({"r": {}})).start()

    refused(run, APPROVE, "no approval")


def test_an_unknown_step_is_not_found() -> None:
    with pytest.raises(NotFound):
        waiting().tell(ManualTransition("nobody", "approve", "ada"))


# What expressions make of its config


@pytest.mark.parametrize(
    ("key", "value", "path", "says"),
    [
        ("title", 5, "/title", "text, not a number"),
        ("title", "a\x1bb", "/title", "cannot be shown"),
        ("instructions", ["x"], "/instructions", "text, not a list"),
        ("assignees", "role:admin", "/assignees", "a list, not text"),
        ("assignees", None, "/assignees", "a list, not null"),
        ("assignees", ["role:admin", "role:root"], "/assignees/1", "does not match"),
        ("form_schema", [], "/form_schema", "an object, not a list"),
        ("form_schema", {"properties": {"n": {"type": 1}}}, "/form_schema/properties/n/type", "no JSON Schema"),
        ("form_schema", {"$ref": "file:///etc/hostname"}, "/form_schema/$ref", "into this schema only"),
        ("form_schema", {"enum": ["x" * 70_000]}, "/form_schema", "65536 characters at most"),
        ("forbid_starter", "no", "/forbid_starter", "true or false, not text"),
    ],
    ids=str,
)
def test_a_config_that_expressions_make_wrong_fails_the_step_where_it_is_wrong(
    key: str, value: Any, path: str, says: str
) -> None:
    asks = {"kind": "HumanApproval", "config": {"title": "t", key: "${input.it}"}}

    run = Simulation(definition({"r": asks}), json.dumps({"it": value})).start()

    error = run.row("r").error or {}
    assert run.log("r")[-1] == ("queued", "failed", "expression_error")
    assert (error["code"], run.row("r").attempt) == ("expression_error", 0)
    assert error["message"].startswith(f"config: {path}: ")
    assert says in error["message"]
    run.check()


def test_an_entry_that_is_an_expression_is_judged_too() -> None:
    asks = {"kind": "HumanApproval", "config": {"title": "t", "assignees": ["role:admin", "${input.who}"]}}

    runs = [Simulation(definition({"r": asks}), json.dumps({"who": who})).start() for who in ("user:ada", "ada")]

    assert [run.states["r"] for run in runs] == ["running", "failed"]


RULES = {"assignees": ["user:${input.who}"], "form_schema": {"type": "object"}, "forbid_starter": True}


def retried_with(given: Any) -> Simulation:
    asks = {"kind": "HumanApproval", "config": {"title": "t", "instructions": "i", **RULES}}
    run = Simulation(definition({"r": asks}), '{"who": "ada"}').start()
    run.tell(REJECT)
    run.tell(RetryStep("r", json.dumps(given)))
    return run.start()


@pytest.mark.parametrize("lifting", [{}, {"assignees": [], "form_schema": {}, "forbid_starter": False}])
def test_a_retry_with_another_input_keeps_who_may_decide_and_the_form(lifting: dict[str, Any]) -> None:
    run = retried_with({"title": "again", **lifting})

    assert json.loads(run.row("r").input or "") == {"title": "again", **RULES, "assignees": ["user:ada"]}
    assert run.reasons["r"] == "waiting_approval"


@pytest.mark.parametrize("given", [None, 5, [], {}, {"title": 5}, {"title": "t", "colour": "red"}], ids=str)
def test_a_retry_with_an_input_that_asks_nothing_fails_the_step(given: Any) -> None:
    assert retried_with(given).reasons["r"] == "expression_error"
