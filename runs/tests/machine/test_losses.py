"""Workers that are gone, and workers that stop in good order (SEMANTICS 4)."""

from typing import Any

import pytest

from runs.machine.stimuli import Lost, PutBack, RetryStep
from runs.tests.machine.simulation import Simulation, definition, failed, flaky


def one(**step: Any) -> Simulation:
    return Simulation(definition({"a": step})).start()


def lose(run: Simulation, step: str = "a", *, alone: bool = False) -> None:
    i, attempt = run.plan.index[step], run.row(step).attempt
    del run.executing[i, attempt]
    run.tell(Lost(i, attempt, alone))


def put_back(run: Simulation, step: str = "a") -> None:
    i, attempt = run.plan.index[step], run.row(step).attempt
    del run.executing[i, attempt]
    run.tell(PutBack(i, attempt))


def test_a_lost_worker_ends_its_attempt_like_a_retry() -> None:
    run = one().later(3)

    lose(run)

    (event,) = run.told("a", "step_failed")
    assert (event.state_before, event.state_after, event.attempt) == ("running", "queued", 1)
    assert event.payload["error"]["code"] == "worker_lost"
    assert (event.payload["delay_ms"], event.payload["ceiling_ms"], event.payload["duration_ms"]) == (0, 0, 3000)
    assert event.payload["due_at"] == run.now.isoformat()
    assert run.reasons["a"] == "ready"
    assert run.start().row("a").attempt == 2


def test_a_lost_worker_costs_none_of_the_budget() -> None:
    run = one(retry={"max_attempts": 2, "jitter": "none"})

    lose(run)
    run.start().finish("a", flaky())
    run.later(1).turn("a")
    lose(run)
    run.start().finish("a", flaky())

    assert (run.row("a").state, run.row("a").attempt) == ("failed", 4)
    waits = [e.payload["delay_ms"] for e in run.told("a", "step_failed") if e.state_after == "queued"]
    assert waits == [0, 1000, 0]
    run.check()


def test_a_lost_worker_is_tried_again_whatever_errors_the_retry_names() -> None:
    run = one(retry={"max_attempts": 1, "errors": ["boom"]})

    lose(run)

    assert run.row("a").state == "queued"


def test_after_two_losses_the_step_runs_alone() -> None:
    run = one()
    alone = [next(iter(run.executing.values())).alone]

    for _ in range(2):
        lose(run)
        run.start()
        alone.append(next(iter(run.executing.values())).alone)

    assert alone == [False, False, True]


def test_only_a_child_that_dies_under_it_alone_poisons_a_step() -> None:
    run = one()
    for _ in range(2):
        lose(run)
        run.start()

    lose(run)  # the whole worker once more: that says nothing of the step
    again = run.row("a").state
    run.start()
    lose(run, alone=True)

    assert again == "queued"
    assert (run.row("a").state, run.reasons["a"], run.row("a").losses) == ("failed", "poison", 3)
    (event,) = (e for e in run.told("a", "step_failed") if e.state_after == "failed")
    assert (event.payload["error"]["code"], event.payload["error"]["retryable"]) == ("poison", False)
    assert (run.state, run.error) == ("failed", "poison")
    run.check()


@pytest.mark.parametrize("before", [0, 1])
def test_a_child_that_dies_before_the_third_time_is_a_loss_like_any(before: int) -> None:
    run = one()
    for _ in range(before):
        lose(run)
        run.start()

    lose(run, alone=True)

    assert (run.row("a").state, run.row("a").losses) == ("queued", before + 1)


def test_a_poisoned_step_that_is_retried_starts_with_no_loss() -> None:
    run = one()
    for alone in (False, False, True):
        lose(run, alone=alone)
        run.start()

    run.tell(RetryStep("a"))
    run.start()

    assert (run.row("a").losses, run.row("a").attempt) == (0, 4)
    assert [command.alone for command in run.executing.values()] == [False]
    run.check()


def test_an_orderly_stop_is_no_loss_and_no_try() -> None:
    run = one(retry={"max_attempts": 2, "initial_interval": "4s", "jitter": "none"})

    for _ in range(5):
        put_back(run)
        run.start()
    run.finish("a", flaky())

    row = run.row("a")
    assert (row.losses, row.tries, row.attempt, row.state) == (0, 1, 6, "queued")
    assert run.told("a", "step_failed")[0].payload["error"]["details"] == {"orderly": True}
    run.check()


@pytest.mark.parametrize("gone", [lose, put_back])
def test_an_attempt_that_goes_in_a_stopped_run_is_not_tried_again(gone: Any) -> None:
    run = Simulation(definition("f a")).start()
    run.finish("f", failed())

    gone(run, "a")

    assert (run.row("a").state, run.row("a").attempt, run.state) == ("failed", 1, "failed")
    assert run.error == "boom"
    run.check()


@pytest.mark.parametrize("gone", [lose, put_back])
def test_an_attempt_that_goes_in_a_stopped_run_goes_on_where_always_led_to_it(gone: Any) -> None:
    run = Simulation(definition("f s a", ("s", "a", {"on": "always"}))).start()
    run.finish("s").start().finish("f", failed())

    gone(run, "a")

    assert run.row("a").state == "queued"
    assert run.drive().states["a"] == "succeeded"
