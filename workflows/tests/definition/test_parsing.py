from datetime import timedelta

import pytest

from workflows.definition.model import CircuitBreakerPolicy, Definition, RetryPolicy, Step, Transition
from workflows.definition.parsing import BrokenDefinition, load
from workflows.tests.factories import definition, edge, step

NOOP = {"name": "core.noop"}


def test_defaults_are_filled_in():
    assert load({"schema": "staterail.workflow/v1", "steps": [step("a")]}) == Definition(
        steps=(Step("a", "Task", "a", NOOP, "all", RetryPolicy(), None, None, None),),
        transitions=(), input_schema=None, timeout=None, sla=None, on_failure="stop", max_concurrent_runs=None,
        output=None, has_output=False,
    )  # fmt: skip


def test_what_is_said_is_taken_over():
    one = step(
        "a", name="First", join="any", timeout="1h30m", position={"x": 1, "y": 2},
        retry={
            "max_attempts": 5, "initial_interval": "0s", "backoff_coefficient": 3, "max_interval": 90, "jitter": "none",
            "errors": ["http_5xx"],
        },
        circuit_breaker={"key": "k", "failure_threshold": 2, "window": "10s", "reset_timeout": 5},
    )  # fmt: skip
    document = definition(
        one, step("b"), input_schema={}, timeout="2h", sla=60, on_failure="continue", max_concurrent_runs=7,
        output=None,
        transitions=[
            edge("a", "b", on="failure", errors=["timeout"], when="input.x", label="late"),
            edge("a", "b", default=True),
            edge("a", "b", id="mine"),
        ],
    )  # fmt: skip
    retry = RetryPolicy(5, timedelta(0), 3.0, timedelta(seconds=90), "none", ("http_5xx",))
    breaker = CircuitBreakerPolicy("k", 2, timedelta(seconds=10), timedelta(seconds=5))
    assert load(document) == Definition(
        steps=(
            Step("a", "Task", "First", NOOP, "any", retry, timedelta(minutes=90), breaker, {"x": 1, "y": 2}),
            Step("b", "Task", "b", NOOP, "all", RetryPolicy(), None, None, None),
        ),
        transitions=(
            Transition("a:b", "a", "b", "failure", "input.x", False, ("timeout",), "late"),
            Transition("a:b:2", "a", "b", "success", None, True, None, None),
            Transition("mine", "a", "b", "success", None, False, None, None),
        ),
        input_schema={}, timeout=timedelta(hours=2), sla=timedelta(minutes=1), on_failure="continue",
        max_concurrent_runs=7, output=None, has_output=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"steps": 5}, {"steps": [5]}, {"steps": [{}]}, definition({"id": "a", "kind": "Task"}),
        definition(step(kind="Teleport")), definition(step(kind=[])), definition(step(timeout="soon")),
        definition(step(retry=5)), definition(step(retry={"errors": 5})), definition(step(circuit_breaker={})),
        definition(step(retry={"backoff_coefficient": "x"})), definition(timeout=2**63),
        {**definition(), "transitions": 5}, {**definition(), "transitions": [5]}, {**definition(), "transitions": [{}]},
    ],
)  # fmt: skip
def test_what_validation_refuses_cannot_be_read_and_nothing_else_is_raised(document):
    with pytest.raises(BrokenDefinition):
        load(document)


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (RetryPolicy(), [1, 2, 4, 8, 16, 32, 60, 60]),
        (RetryPolicy(initial_interval=timedelta(seconds=5), backoff_coefficient=1.0), [5, 5, 5]),
        (RetryPolicy(initial_interval=timedelta(0)), [0, 0, 0]),
        (RetryPolicy(initial_interval=timedelta(hours=1)), [60, 60]),
        (RetryPolicy(max_interval=timedelta(0)), [0, 0]),
    ],
)
def test_the_wait_after_an_attempt_grows_up_to_its_longest(policy, waits):
    assert [policy.ceiling(n).total_seconds() for n in range(1, len(waits) + 1)] == waits


def test_the_wait_after_the_hundredth_attempt_is_the_longest_one():
    policy = RetryPolicy(backoff_coefficient=100.0)
    assert [policy.ceiling(n) for n in (100, 1000)] == [timedelta(minutes=1)] * 2


@pytest.mark.parametrize(
    ("errors", "code", "retryable", "expected"),
    [
        (None, "network", True, True), (None, "sold_out", False, False), (None, "sold_out", True, True),
        (None, "expression_error", True, False), (None, "http_404", True, False), (None, "http_429", True, True),
        (("sold_out",), "sold_out", False, True), (("sold_out",), "network", True, False), ((), "network", True, False),
        (("http_5xx",), "http_503", True, True), (("http_5xx",), "http_501", False, True),
        (("http_4xx",), "http_404", True, False), (("http_4xx",), "http_425", True, True),
        (("http_4xx",), "http_503", True, False), (("http_5xx",), "http_5xx_odd", True, False),
        (("script_error",), "script_error", True, False), (("script_timeout",), "script_timeout", False, True),
        (("rejected", "poison"), "poison", True, False),
    ],
)  # fmt: skip
def test_a_policy_says_which_failures_are_tried_again(errors, code, retryable, expected):
    assert RetryPolicy(errors=errors).retries(code, retryable) is expected
