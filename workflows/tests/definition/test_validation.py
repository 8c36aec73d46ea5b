"""Every code with its place and what it says; all problems, in a stable order, a hundred at most."""

import pytest

from staterail.core.strict_json import dumps
from workflows.definition.validation import validate
from workflows.tests.factories import TASKS, definition, echo, edge, step

AB = (step("a"), step("b"))
NONE = {"step_id": None, "transition_id": None}


def _problems(document):
    return validate(document, tasks=TASKS)


def _places(document):
    return [(problem["code"], problem["path"]) for problem in _problems(document)]


def _only(document):
    problems = _problems(document)
    assert len(problems) == 1, problems
    return problems[0]


def test_a_definition_without_problems_has_none():
    assert _problems(definition(step("a"), step("b"), transitions=[edge("a", "b")])) == []


@pytest.mark.parametrize("root", [None, [], [1, 2], "x", 5, True])
def test_a_root_that_is_no_object(root):
    assert _only(root) == {
        "severity": "error", "code": "not_an_object", "path": "", "message": "A definition is a JSON object", **NONE,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("document", "code", "path", "says"),
    [
        (definition(schema="other/v9"), "bad_schema_version", "/schema", "staterail.workflow/v1"),
        (definition(schema=None), "bad_schema_version", "/schema", "staterail.workflow/v1"),
        ({"steps": [step()]}, "bad_schema_version", "", "`schema` is missing"),
        ({"schema": "staterail.workflow/v1"}, "missing_key", "/steps", "`steps` is missing"),
        ({**definition(), "steps": []}, "no_steps", "/steps", "at least one step"),
        ({**definition(), "steps": {}}, "bad_value", "/steps", "is a list"),
        ({**definition(), "transitions": None}, "bad_value", "/transitions", "is a list"),
        (definition(x=1), "unknown_key", "/x", "'x' is not known here; there are schema, input_schema"),
        (definition(**{"a/b~c": 1}), "unknown_key", "/a~1b~0c", "is not known here"),
        (definition(timeout="9ms"), "bad_value", "/timeout", "shorter than 10ms"),
        (definition(timeout=-1), "bad_value", "/timeout", "not negative"),
        (definition(timeout="366d"), "bad_value", "/timeout", "365 days at most"),
        (definition(sla=True), "bad_value", "/sla", "a duration is text"),
        (definition(on_failure="go"), "bad_value", "/on_failure", "one of stop, continue"),
        (definition(max_concurrent_runs=0), "bad_value", "/max_concurrent_runs", "between 1 and"),
        (definition(max_concurrent_runs="5"), "bad_value", "/max_concurrent_runs", "a whole number, not text"),
        (definition(max_concurrent_runs=True), "bad_value", "/max_concurrent_runs", "not true or false"),
        (definition(input_schema=[]), "bad_value", "/input_schema", "an object, not a list"),
        (definition(5), "bad_value", "/steps/0", "a step is an object"),
        (definition(step(), step()), "duplicate_id", "/steps/1/id", "another step 'a'"),
        (definition(step(), transitions=[5]), "bad_value", "/transitions/0", "a transition is an object"),
        (definition(output="${imput.x}"), "undeclared_name", "/output", "'imput.x' is not known"),
        (definition(output={"x": ["${1 +}"]}), "bad_expression", "/output/x/0", "(column 4)"),
        (definition(output="${secrets.X}"), "secret_not_allowed", "/output", "HttpCall and Task"),
    ],
)  # fmt: skip
def test_a_problem_has_a_code_a_place_and_says_what_to_do(document, code, path, says):
    problem = _only(document)
    assert says.lower() in problem["message"].lower()
    step_id = "a" if path.startswith("/steps/1") else None
    assert {**problem, "message": ""} == {
        "severity": "error", "code": code, "path": path, "message": "", "step_id": step_id, "transition_id": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "code", "path", "says"),
    [
        (step("a" * 64), "bad_id", "/id", "63 at most"),
        (echo("a", x="${steps.ghost.output}"), "unknown_reference", "/config/args/x", "no step 'ghost'"),
        (step("A"), "bad_id", "/id", "begins with a small letter"),
        (step("é"), "bad_id", "/id", "letters a to z"),
        (step("a\n"), "bad_id", "/id", "letters a to z"),
        (step(""), "bad_id", "/id", "small letter"),
        (step(5), "bad_value", "/id", "text, not a number"),
        ({"kind": "Task", "config": {"name": "core.noop"}}, "missing_key", "/id", "missing"),
        ({"id": "a", "config": {}}, "missing_key", "/kind", "`kind` is missing"),
        ({"id": "a", "kind": "Task"}, "missing_key", "/config", "`config` is missing"),
        (step(kind="Teleport"), "unknown_kind", "/kind", "HttpCall, Task, Delay"),
        (step(kind=[]), "unknown_kind", "/kind", "there is no such kind"),
        (step(kind={"a": 1}), "unknown_kind", "/kind", "there is no such kind"),
        (step(config=[]), "bad_value", "/config", "an object, not a list"),
        (step(config={}), "missing_key", "/config/name", "`name` is missing"),
        (step(config={"name": "no.such"}), "unknown_task", "/config/name", "core.echo, core.noop"),
        (step(retires={}), "unknown_key", "/retires", "there are id, kind, name, config"),
        ({**step(), "__proto__": {}}, "unknown_key", "/__proto__", "is not known"),
        (step(join="most"), "bad_value", "/join", "one of all, any, strict_all"),
        (step(name=""), "bad_value", "/name", "may not be empty"),
        (step(name="x" * 201), "bad_value", "/name", "201 characters; 200 is the most"),
        (step(name="a\u202eb"), "bad_value", "/name", "cannot be shown"),
        (step(name="a\x07b"), "bad_value", "/name", "cannot be shown"),
        (step(timeout="30s\n"), "bad_value", "/timeout", "is no duration"),
        (step(retry=5), "bad_value", "/retry", "an object, not a number"),
        (step(retry={"times": 3}), "unknown_key", "/retry/times", "there are max_attempts"),
        (step(retry={"max_attempts": 101}), "bad_value", "/retry/max_attempts", "1 and 100"),
        (step(retry={"max_attempts": 1e9}), "bad_value", "/retry/max_attempts", "whole number"),
        (step(retry={"max_interval": "2d"}), "bad_value", "/retry/max_interval", "than 1d"),
        (step(retry={"backoff_coefficient": 0.5}), "bad_value", "/retry/backoff_coefficient", "1"),
        (step(retry={"errors": ["timeout", "rejected"]}), "bad_value", "/retry/errors/1", "never retried"),
        (step(retry={"errors": ["http_404"]}), "bad_value", "/retry/errors/0", "never retried"),
        (step(retry={"errors": ["x", "a b"]}), "bad_value", "/retry/errors/1", "does not match"),
        (step(circuit_breaker={}), "missing_key", "/circuit_breaker/key", "missing"),
        (step(position={"x": 1}), "missing_key", "/position/y", "missing"),
        (echo("a", x="${"), "bad_expression", "/config/args/x", "not closed"),
    ],
)  # fmt: skip
def test_a_problem_of_a_step_names_the_step(one, code, path, says):
    problem = _only(definition(one))
    assert says.lower() in problem["message"].lower()
    id = one.get("id")
    assert {**problem, "message": ""} == {
        "severity": "error", "code": code, "path": f"/steps/0{path}", "message": "",
        "step_id": id[:63] if isinstance(id, str) else None, "transition_id": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("transition", "code", "path", "says"),
    [
        (edge("a", "ghost"), "unknown_step", "/to", "no step 'ghost'"),
        (edge("ghost", "a"), "unknown_step", "/from", "no step 'ghost'"),
        ({"from": "a"}, "missing_key", "/to", "`to` is missing"),
        (edge("a", []), "bad_value", "/to", "text, not a list"),
    ],
)
def test_a_transition_leads_from_a_step_to_a_step(transition, code, path, says):
    problem = _only(definition(step("a"), transitions=[transition]))
    assert (problem["code"], problem["path"]) == (code, f"/transitions/0{path}")
    assert says in problem["message"]


@pytest.mark.parametrize(
    ("transition", "code", "path", "says"),
    [
        ({"on": "later"}, "bad_value", "/on", "one of success, failure, always"),
        ({"x": 1}, "unknown_key", "/x", "there are id, from, to, on"),
        ({"id": "no good"}, "bad_value", "/id", "does not match"),
        ({"when": ""}, "bad_value", "/when", "may not be empty"),
        ({"when": True}, "bad_value", "/when", "text, not true or false"),
        ({"when": "input.x >"}, "bad_expression", "/when", "column 10"),
        ({"when": "inputs.x"}, "undeclared_name", "/when", "'inputs.x' is not known"),
        ({"when": "steps.ghost.output"}, "unknown_reference", "/when", "no step 'ghost'"),
        ({"when": "secrets.X == ''"}, "secret_not_allowed", "/when", "HttpCall and Task"),
        ({"when": "'x'"}, "bad_expression", "/when", "gives a bool; this gives string"),
        ({"when": "has(steps.a.output)"}, "bad_expression", "/when", "whole variable"),
        ({"when": "'" + "x" * 999 + "'"}, "bad_expression", "/when", "1000 characters at most"),
        ({"default": True, "when": "true"}, "bad_value", "/default", "no `when`"),
        ({"default": True, "on": "failure"}, "bad_value", "/default", "`on: success` only"),
        ({"default": True, "on": "always"}, "bad_value", "/default", "`on: success` only"),
        ({"errors": ["timeout"]}, "bad_value", "/errors", "`on: failure` only"),
        ({"errors": ["timeout"], "on": "always"}, "bad_value", "/errors", "`on: failure` only"),
        ({"errors": "timeout", "on": "failure"}, "bad_value", "/errors", "a list, not text"),
        ({"errors": [5], "on": "failure"}, "bad_value", "/errors/0", "text, not a number"),
        ({"label": "x" * 201}, "bad_value", "/label", "200 is the most"),
    ],
)
def test_a_transition_has_its_rules(transition, code, path, says):
    problems = _problems(definition(*AB, transitions=[edge("a", "b", **transition)]))
    found = [problem for problem in problems if problem["severity"] == "error"]
    assert [(problem["code"], problem["path"]) for problem in found] == [(code, f"/transitions/0{path}")]
    assert says.lower() in found[0]["message"].lower()
    assert found[0]["transition_id"] == transition.get("id", "a:b")


@pytest.mark.parametrize(
    "transition",
    [
        {}, {"on": "always"}, {"on": "failure", "errors": ["http_5xx", "timeout"]}, {"on": "success", "default": True},
        {"default": False, "when": "input.x"}, {"label": "", "id": "my.own:id-1"}, {"on": "failure", "when": "input.x"},
    ],
)  # fmt: skip
def test_what_a_transition_may_say(transition):
    found = _problems(definition(*AB, transitions=[edge("a", "b", **transition)]))
    assert [problem for problem in found if problem["severity"] == "error"] == []


def test_ids_of_transitions_are_unique_but_several_may_lead_from_one_step_to_another():
    assert _problems(definition(*AB, transitions=[edge("a", "b")] * 3)) == []
    twice = [edge("a", "b", id="x"), edge("a", "b", id="x")]
    assert _places(definition(*AB, transitions=twice)) == [("duplicate_id", "/transitions/1/id")]
    made = [edge("a", "b"), edge("a", "b"), edge("a", "b", id="a:b:2")]
    assert _places(definition(*AB, transitions=made)) == [("duplicate_id", "/transitions/2/id")]


@pytest.mark.parametrize(
    ("transitions", "named"),
    [
        ([edge("a", "b"), edge("b", "a")], "a → b → a"),
        ([edge("a", "a")], "a → a"),
        ([edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("c", "b")], "b → c → b"),
    ],
)
def test_a_cycle_is_named_by_a_shortest_one(transitions, named):
    problem = _only(definition(*AB, step("c"), transitions=transitions))
    assert problem == {
        "severity": "error", "code": "cycle", "path": "/transitions", "step_id": named[0], "transition_id": None,
        "message": f"These steps wait for one another: {named}",
    }  # fmt: skip


def test_a_cycle_of_500_names_all_of_them():
    ids = [f"s{n}" for n in range(500)]
    around = [edge(ids[n - 1], ids[n]) for n in range(500)]
    message = _only(definition(*map(step, ids), transitions=around))["message"]
    assert message.endswith(" → ".join([*ids, "s0"]))


def test_a_longer_cycle_says_how_long_it_is():
    ids = [f"s{n}" for n in range(501)]
    around = [edge(ids[n - 1], ids[n]) for n in range(501)]
    assert _only(definition(*map(step, ids), transitions=around))["message"].endswith(" → s500 → … (501 in all)")


def test_all_problems_are_listed_errors_first_and_in_the_order_of_the_document():
    document = definition(
        step("a", join="most", x=1), echo("b", one="${imput}", two="${steps.ghost.output} ${foo}"), step("b"),
        transitions=[edge("a", "ghost"), edge("b", "a", when="false")], timeout="soon", y=2,
    )  # fmt: skip
    expected = [
        ("bad_value", "/timeout"), ("unknown_key", "/y"), ("bad_value", "/steps/0/join"), ("unknown_key", "/steps/0/x"),
        ("duplicate_id", "/steps/2/id"), ("unknown_step", "/transitions/0/to"),
        ("undeclared_name", "/steps/1/config/args/one"), ("unknown_reference", "/steps/1/config/args/two"),
        ("undeclared_name", "/steps/1/config/args/two"), ("never_taken", "/transitions/1/when"),
        ("no_default", "/steps/1"),
    ]  # fmt: skip
    assert _places(document) == expected
    assert _problems(document) == _problems(document)


def test_expressions_are_looked_at_wherever_the_rest_is_wrong():
    document = definition(
        echo("a", x="${foo}"), echo("a", x="${foo}"), echo(5, x="${foo}"),
        step("b", kind="Odd", config={"x": "${foo}"}),
        transitions=[edge("a", "ghost", when="foo"), edge("a", 5, when="foo")],
    )  # fmt: skip
    found = [path for code, path in _places(document) if code == "undeclared_name"]
    assert found == [
        "/steps/0/config/args/x", "/steps/1/config/args/x", "/steps/2/config/args/x", "/steps/3/config/x",
        "/transitions/0/when", "/transitions/1/when",
    ]  # fmt: skip


def test_a_hundred_problems_are_told_and_no_more():
    found = _problems(definition(*(step(f"s{n}", x=1) for n in range(150))))
    assert [problem["path"] for problem in found] == [f"/steps/{n}/x" for n in range(100)]


@pytest.mark.parametrize("over", [0, 1])
def test_limits_on_steps_transitions_depth_and_size(over):
    nested = deep = {}
    for _ in range(32 - 4 + over - 1):  # the document, its steps, the step, its config and args are five
        deep["x"] = deep = {}
    large = definition(output="x" * (1024 * 1024 - len(dumps(definition(output=""))) + over))
    cases = [
        (definition(*(step(f"s{n}") for n in range(5_000 + over))), "too_large", "/steps"),
        (definition(*AB, transitions=[edge("a", "b")] * (20_000 + over)), "too_large", "/transitions"),
        (large, "too_large", ""),
        (definition(echo("a", **nested)), "too_deep", ""),
    ]
    for document, code, path in cases:
        assert _places(document) == ([(code, path)] if over else []), code


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), 2**63, -(2**63) - 1, pytest.param(10**5000, id="5,000 digits"), "a\x00b", "\ud800",
        {"\x00": 1}, {1, 2},
    ],
)  # fmt: skip
def test_a_value_that_is_no_json_of_ours_is_told(value):
    assert _places(definition(output={"x": value})) == [("bad_value", "")]


@pytest.mark.parametrize(
    "text",
    ["👩‍👩‍👧", "שלום", "<script>alert(1)</script>", "{{7*7}}", "$${7*7}", "=cmd()", "'; DROP TABLE x; --", "x" * 200],
)
def test_any_text_that_can_be_shown_is_a_name(text):
    assert _problems(definition(step(name=text))) == []


def test_payloads_may_have_any_keys():
    odd = {"__proto__": 1, "constructor": 2, "": 3, "a/b": 4, **{str(n): n for n in range(10_000)}}
    assert _problems(definition(echo("a", x=odd))) == []


def test_a_step_has_one_default_transition_at_most():
    edges = [edge("a", "b", default=True), edge("a", "c", default=True, id="second"), edge("b", "c", default=True)]
    problem = _only(definition(step("a"), step("b"), step("c"), transitions=edges))
    assert problem == {
        "severity": "error", "code": "bad_value", "path": "/transitions/1/default", "step_id": None,
        "transition_id": "second", "message": "Step 'a' has a default transition already, 'a:b': one at most",
    }  # fmt: skip
