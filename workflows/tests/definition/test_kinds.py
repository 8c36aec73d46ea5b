"""What the config of each kind may say."""

import pytest

from workflows.definition.validation import validate
from workflows.tests.factories import TASKS, definition, step

MAIN = "def main(args):\n    return 1\n"


def _problems(kind, config, **given):
    return validate(definition(step(kind=kind, config=config, **given)), tasks=TASKS)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("HttpCall", {"url": "https://x.example/"}),
        ("HttpCall", {"url": "${input.url}", "method": "${input.method}", "follow_redirects": "${input.follow}"}),
        ("HttpCall", {"url": "x", "expect_status": ["2xx", 404, "410", "${input.also}"], "max_response_bytes": 1}),
        ("HttpCall", {"url": "x", "headers": {"A": "Bearer ${secrets.T}"}, "query": {"q": 1}, "body": None}),
        ("HttpCall", {"url": "x", "headers": "${input.headers}", "text": ""}),
        ("Task", {"name": "core.echo", "args": {"secret": "${secrets.T}"}}),
        ("Task", {"name": "${input.task}"}),
        ("Delay", {"for": "0s"}),
        ("Delay", {"for": 365 * 86_400}),
        ("Delay", {"for": "${input.wait}"}),
        ("Delay", {"until": "2026-01-31T08:00:00Z"}),
        ("Delay", {"until": "2026-01-31T08:00:00+02:00"}),
        ("HumanApproval", {"title": "Check ${input.o}", "assignees": ["role:admin", "user:ada", "${input.who}"]}),
        ("HumanApproval", {"title": "x", "form_schema": {}, "forbid_starter": True, "instructions": "a\nb"}),
        ("Script", {"source": "def main(args):\n    return 1\n", "args": {"x": "${input.x}"}, "time": "5s"}),
    ],
)  # fmt: skip
def test_a_config_that_is_right(kind, config):
    assert _problems(kind, config) == []


@pytest.mark.parametrize(
    ("kind", "config", "code", "path", "says"),
    [
        ("HttpCall", {}, "missing_key", "/url", "missing"),
        ("HttpCall", {"url": ""}, "bad_value", "/url", "empty"),
        ("HttpCall", {"url": "x", "method": "BREW"}, "bad_value", "/method", "one of GET, POST"),
        ("HttpCall", {"url": "x", "method": "$${x}"}, "bad_value", "/method", "one of GET, POST"),
        ("HttpCall", {"url": "x", "body": 1, "text": "x"}, "bad_value", "", "either `body` or `text`"),
        ("HttpCall", {"url": "x", "expect_status": ["2xx", "6xx"]}, "bad_value", "/expect_status/1", "a class, 2xx"),
        ("HttpCall", {"url": "x", "expect_status": ["${input.s}", 99]}, "bad_value", "/expect_status/1", "a status"),
        ("HttpCall", {"url": "x", "expect_status": ["2٣٣"]}, "bad_value", "/expect_status/0", "a status"),
        ("HttpCall", {"url": "x", "expect_status": 200}, "bad_value", "/expect_status", "a list, not a number"),
        ("HttpCall", {"url": "x", "max_response_bytes": 2**20 + 1}, "bad_value", "/max_response_bytes", "between 1"),
        ("HttpCall", {"url": "x", "follow_redirects": "yes"}, "bad_value", "/follow_redirects", "true or false"),
        ("HttpCall", {"url": "x", "headers": []}, "bad_value", "/headers", "an object"),
        ("HttpCall", {"url": "x", "verify": False}, "unknown_key", "/verify", "there are method, url"),
        ("Task", {"name": "core.noop", "args": []}, "bad_value", "/args", "an object"),
        ("Task", {"name": []}, "bad_value", "/name", "text, not a list"),
        ("Delay", {}, "missing_key", "", "`for` (a duration) or `until`"),
        ("Delay", {"for": "1s", "until": "2026-01-31T08:00:00Z"}, "bad_value", "", "not both"),
        ("Delay", {"for": "soon"}, "bad_value", "/for", "is no duration"),
        ("Delay", {"for": 1e12}, "bad_value", "/for", "365 days at most"),
        ("Delay", {"for": "5"}, "bad_value", "/for", "is no duration"),
        ("Delay", {"until": "tomorrow"}, "bad_value", "/until", "2026-01-31T08:00:00Z"),
        ("Delay", {"until": 5}, "bad_value", "/until", "2026-01-31T08:00:00Z"),
        ("HumanApproval", {}, "missing_key", "/title", "missing"),
        ("HumanApproval", {"title": "x", "assignees": ["role:boss"]}, "bad_value", "/assignees/0", "does not match"),
        ("HumanApproval", {"title": "x", "form_schema": {"type": 1}}, "bad_value", "/form_schema/type", "JSON Schema"),
        ("HumanApproval", {"title": "${secrets.T}"}, "secret_not_allowed", "/title", "HttpCall and Task"),
        ("Script", {}, "missing_key", "/source", "missing"),
        ("Script", {"source": MAIN + "#" * 65_537}, "bad_value", "/source", "65536 is the most"),
        ("Script", {"source": MAIN, "memory_mb": 513}, "bad_value", "/memory_mb", "between 1 and 512"),
        ("Script", {"source": MAIN, "time": "61s"}, "bad_value", "/time", "longer than 1m"),
        ("Script", {"source": MAIN, "args": {"k": "${secrets.T}"}}, "secret_not_allowed", "/args/k", "HttpCall and"),
    ],
)  # fmt: skip
def test_a_config_that_is_wrong(kind, config, code, path, says):
    problems = _problems(kind, config)
    assert [(problem["code"], problem["path"], problem["step_id"]) for problem in problems] == [
        (code, f"/steps/0/config{path}", "a")
    ]
    assert says.lower() in problems[0]["message"].lower()


@pytest.mark.parametrize("kind", ["Delay", "HumanApproval"])
def test_what_calls_nobody_has_no_circuit_breaker(kind):
    config = {"for": "1s"} if kind == "Delay" else {"title": "x"}
    problems = _problems(kind, config, circuit_breaker={"key": "x"})
    assert [(problem["code"], problem["path"]) for problem in problems] == [("bad_value", "/steps/0/circuit_breaker")]


# Scripts


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def main(args)\n    return 1", "SyntaxError: expected ':' (line 1, column 15)"),
        (MAIN + "  x = 2", "SyntaxError: unindent does not match any outer indentation level (line 3, column 8)"),
        (MAIN + "x = (1,", "SyntaxError: '(' was never closed (line 3, column 5)"),
        (MAIN + "x = '", "SyntaxError: unterminated string literal (detected at line 3) (line 3, column 5)"),
        ("import json\n" + MAIN + "import json, os.path", "cannot import 'os.path', only"),
        ("def main(args):\n    from socket import socket", "json, math, re (line 2, column 5)"),
        ("def name(args): return 1", "The script defines no main(args)"),
        ("x = 'def main(args): return 1'\nprint(main)", "The script defines no main(args)"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_run_is_told_with_its_place(source, says):
    (problem,) = _problems("Script", {"source": source})
    assert (problem["code"], problem["path"]) == ("bad_value", "/steps/0/config/source")
    assert says in problem["message"]


@pytest.mark.parametrize(
    "source",
    [
        "main = lambda args: 1", "if True:\n    def main(args): return 1", "(main := lambda args: 1)",
        "def main(args): return f'{args['x']}'", "def main[T](args: T): return 1", "${input.source}",
        "def main(args):\n    try: pass\n    except KeyError, ValueError: pass",
        "def main(args):\n    return " + "1+" * 30_000 + "1", "from json import dumps as main",
        "def main(args):\n\tif True:\n        x = 1\n\treturn 1", "\ufeffdef main(args): return 1",
        "def main(args): return 1\n\\", "def main(args):\n    return f'{\'\'\'a\nb\'\'\'}'",
        "def main(args):\n    return f'{'please import os'}'",
    ],
    ids=lambda source: source[:40],
)  # fmt: skip
def test_a_script_that_may_run_is_no_problem(source):
    assert _problems("Script", {"source": source}) == []


def test_all_that_a_script_imports_and_may_not_is_told():
    problems = _problems("Script", {"source": "import os, sys\n" + MAIN + "import re; import ssl"})
    assert [problem["message"].split("'")[1] for problem in problems] == ["os", "sys", "ssl"]


# Args of tasks


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"sku": "x"}, []),
        ({"sku": "${input.sku}", "qty": 2}, []),
        ("${input}", []),
        ({}, [("missing_key", "/sku")]),
        (None, [("missing_key", "/sku")]),
        ({"sku": 1, "amount": 2}, [("unknown_key", "/amount")]),
        ({"ctx": 1}, [("unknown_key", "/ctx"), ("missing_key", "/sku")]),
    ],
    ids=str,
)
def test_the_args_of_a_task_are_those_that_its_function_takes(args, told):
    problems = _problems("Task", {"name": "orders.reserve"} | ({} if args is None else {"args": args}))
    assert [(problem["code"], problem["path"]) for problem in problems] == [
        (code, f"/steps/0/config/args{path}") for code, path in told
    ]


def test_an_argument_that_a_task_does_not_take_is_told_with_those_that_it_takes():
    (problem,) = _problems("Task", {"name": "orders.reserve", "args": {"sku": 1, "n": 1}})
    assert problem["message"] == "The Task orders.reserve takes no argument 'n'; there are sku, qty"


def test_args_of_a_task_that_an_expression_names_are_judged_when_it_runs():
    assert _problems("Task", {"name": "${input.task}", "args": {"x": 1}}) == []
