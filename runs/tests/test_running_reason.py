"""A running run's reason is read off its steps, the most urgent first (SEMANTICS 2)."""

import itertools

import pytest

from runs.machine.states import Reason
from runs.selectors import running_reason

URGENCY = [Reason.WAITING_TIMER, Reason.WAITING_APPROVAL, Reason.BACKOFF, Reason.CIRCUIT_OPEN]  # the last goes first
PAIRS = list(itertools.combinations(URGENCY, 2))


@pytest.mark.parametrize("reasons", [[], [Reason.READY], [Reason.EXECUTING], [Reason.READY, Reason.EXECUTING], [None]])
def test_a_run_of_which_no_step_waits_is_active(reasons: list[Reason | None]) -> None:
    assert running_reason(False, reasons) == "active"


@pytest.mark.parametrize("reason", URGENCY)
def test_a_step_that_waits_says_it_for_the_run(reason: Reason) -> None:
    assert running_reason(False, [Reason.EXECUTING, reason, Reason.READY]) == reason


@pytest.mark.parametrize(("less", "more"), PAIRS)
def test_the_more_urgent_of_two_is_told(less: Reason, more: Reason) -> None:
    assert running_reason(False, [less, more]) == running_reason(False, [more, less]) == more


def test_a_cancel_under_way_is_told_before_all() -> None:
    assert running_reason(True, URGENCY) == "cancelling"
