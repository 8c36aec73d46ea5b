"""What the config of each kind may say."""

import pytest

from workflows.definition.validation import validate
from workflows.tests.factories import definition, step

TASKS = frozenset({"core.noop"})


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
        ("Task", {"name": "core.noop", "args": {"secret": "${secrets.T}"}}),
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
        ("Script", {"source": "x" * 65_537}, "bad_value", "/source", "65536 is the most"),
        ("Script", {"source": "x", "memory_mb": 513}, "bad_value", "/memory_mb", "between 1 and 512"),
        ("Script", {"source": "x", "time": "61s"}, "bad_value", "/time", "longer than 1m"),
        ("Script", {"source": "x", "args": {"k": "${secrets.T}"}}, "secret_not_allowed", "/args/k", "HttpCall and"),
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
