"""What a stimulus says of a circuit breaker, and when it says nothing."""

from datetime import timedelta

import pytest

from runs.machine.stimuli import Cancel, Due, Failed, Lost, PutBack, Succeeded
from runs.reactor.outcomes import outcomes_of
from runs.tests.machine.simulation import NOON, Simulation, definition

GUARDED = {"circuit_breaker": {"key": "k"}, "timeout": "10s", "retry": {"max_attempts": 3, "jitter": "none"}}


@pytest.fixture
def run():
    """A run whose guarded step is in its second attempt."""
    simulation = Simulation(definition({"a": GUARDED, "free": {}}))
    simulation.start_ready()
    simulation.tell(Lost(0, 1))
    simulation.start_ready()
    return simulation


def error(code):
    return {"code": code, "message": code, "retryable": True}


def said(run, *stimuli, now=NOON):
    return [outcome.failed for outcome in outcomes_of(run.run, stimuli, now)]


@pytest.mark.parametrize(
    ("stimulus", "failed"),
    [
        (Succeeded(0, 2, "1"), [False]),
        (Failed(0, 2, error("network")), [True]),
        (Failed(0, 2, error("http_404")), [False]),
        (Failed(0, 2, error("expression_error")), []),
        (Failed(0, 2, error("blocked_address")), []),
        (Lost(0, 2), []),
        (PutBack(0, 2), []),
        (Succeeded(0, 1, "1"), []),  # an earlier attempt's
        (Failed(0, 1, error("network")), []),
        (Failed(0, 3, error("network")), []),
        (Failed(1, 1, error("network")), []),  # a step without a breaker
        (Due(None), []),
    ],
)
def test_only_the_live_attempt_of_a_guarded_step_speaks(run, stimulus, failed):
    assert said(run, stimulus) == failed


def test_an_attempt_speaks_once(run):
    assert said(run, Failed(0, 2, error("network")), Succeeded(0, 2, "1"), Lost(0, 2)) == [True]
    assert said(run, Lost(0, 2), Failed(0, 2, error("network"))) == []


def test_a_deadline_is_a_failure_once_it_has_come(run):
    assert said(run, Due(0)) == []
    assert said(run, Due(0), now=NOON + timedelta(seconds=10)) == [True]


def test_at_a_stop_attempts_end_because_they_are_told_to(run):
    run.tell(Cancel())

    assert said(run, Failed(0, 2, error("network"))) == []
