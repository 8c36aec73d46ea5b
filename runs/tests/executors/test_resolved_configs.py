"""What an executor takes, a retry may give: an operator sends the step's own input back, with a word changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.executors import http_config, script_config, task
from runs.executors.base import StepFailure
from runs.tests.executors.calls import task_call
from workflows.definition.configs import resolved_problems
from workflows.task_registry import signatures

MAIN = "def main(args): return 1"
SOME = st.sampled_from([None, True, 0, 1, 200, 99, "", "x", [], [1], {}, {"a": 1}])


def some_of(**values):
    return st.fixed_dictionaries({}, optional={key: st.one_of(SOME, value) for key, value in values.items()})


HTTP = some_of(
    method=st.sampled_from(["get", "Post", "TRACE"]), headers=st.just({"X-A": "1"}), query=st.just({"q": [1, None]}),
    body=st.just({"b": None}), text=st.just("t"),
    expect_status=st.sampled_from([["2XX", "404"], [200, "5xx"], ["6xx"]]),
    follow_redirects=st.booleans(), max_response_bytes=st.sampled_from([1024, 2**20, 2**21]),
)  # fmt: skip
SCRIPT = some_of(args=st.just({"n": 1}), memory_mb=st.just(64), time=st.sampled_from(["2s", 1.5, "61s"]))


@given(HTTP)
def test_what_an_http_call_takes(config):
    _agree("HttpCall", {"url": "http://a.example/", **config}, http_config.parse_config)


@given(SCRIPT)
def test_what_a_script_takes(config):
    _agree("Script", {"source": MAIN, **config}, script_config.parse_config)


@pytest.mark.parametrize("args", [None, {}, {"x": 1}, [], "x"])
def test_what_a_task_takes(args):
    _agree("Task", {"name": "core.echo", "args": args}, lambda config: task.execute(task_call("core.echo", args)))


def _agree(kind, config, take):
    try:
        take(config)
    except StepFailure:
        return
    assert resolved_problems(kind, config, tasks=signatures()) == []
