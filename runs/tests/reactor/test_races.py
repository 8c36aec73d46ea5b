"""Commands against the engine, each order forced: one commits first, the other is judged by what is so then (I-35)."""

from datetime import timedelta
from uuid import uuid4

import pytest

from runs.models import Event, StepRun, WorkflowRun
from runs.services import cancel_run, decide_approval, retry_step
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import failure, row, started, state, step, told
from staterail.core.errors import IllegalTransition

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_broken")]
A = definition("a")
FINAL = ("completed", "failed", "cancelled")


def run_ends(run_id):
    return list(
        Event.objects.filter(run_id=run_id, step_id=None, state_after__in=FINAL).values_list("state_after", flat=True)
    )


def test_a_cancel_that_commits_before_the_result_wins(benches, stumbling, actor):
    bench = benches(stumbling)
    run_id = started(A, actor=actor)
    bench.has_started("a")
    bench.ended("a", "result")
    stumbling.before("persist", lambda: cancel_run(actor=actor, run_id=run_id))

    bench.until(lambda: state(run_id) in FINAL)

    assert run_ends(run_id) == ["cancelled"]
    assert (step(run_id, "a").reason, step(run_id, "a").output) == ("interrupted", None)


def test_a_cancel_that_comes_after_the_result_is_refused_and_changes_nothing(benches, stumbling, actor):
    bench = benches(stumbling)
    run_id = started(A, actor=actor)
    bench.has_started("a")
    bench.ended("a", "result")
    bench.until(lambda: state(run_id) == "completed")
    before = (row(run_id).revision, told(run_id))

    with pytest.raises(IllegalTransition):
        cancel_run(actor=actor, run_id=run_id)

    assert (row(run_id).revision, told(run_id)) == before
    assert run_ends(run_id) == ["completed"]


@pytest.fixture
def nearly_over(benches, stumbling, actor):
    """An approval whose time is over, and whose timeout the reactor is about to store."""
    ask = {"kind": "HumanApproval", "config": {"title": "t"}, "timeout": "1h"}
    run_id = started(definition({"ask": ask}), actor=actor)
    bench = benches(stumbling)
    bench.until(lambda: row(run_id).wake_at == step(run_id, "ask").wake_at if told(run_id, "ask") else False)
    past = bench.store.now() - timedelta(seconds=1)
    StepRun.objects.filter(run_id=run_id).update(wake_at=past)
    WorkflowRun.objects.filter(id=run_id).update(wake_at=past)
    return bench, run_id


@pytest.mark.parametrize(("action", "end"), [("approve", "completed"), ("reject", "failed")])
def test_a_decision_that_commits_before_the_timeout_counts(nearly_over, stumbling, actor, action, end):
    bench, run_id = nearly_over
    stumbling.before("persist", lambda: decide_approval(actor=actor, run_id=run_id, step_id="ask", action=action))

    bench.until(lambda: state(run_id) in FINAL)
    bench.turn(2)

    assert run_ends(run_id) == [end]
    assert step(run_id, "ask").reason != "timeout"


def test_a_decision_that_comes_after_the_timeout_is_refused(nearly_over, actor):
    bench, run_id = nearly_over
    bench.until(lambda: state(run_id) == "failed")
    before = told(run_id)

    with pytest.raises(IllegalTransition):
        decide_approval(actor=actor, run_id=run_id, step_id="ask", action="approve")

    assert told(run_id) == before
    assert step(run_id, "ask").reason == "timeout"


def test_a_retry_of_a_step_while_its_run_is_under_way_is_taken_up_by_the_owner(bench, actor):
    run_id = started(definition("other lost", on_failure="continue"), actor=actor)
    bench.hands.end("lost", failure())
    bench.has_started("other")
    bench.until(lambda: step(run_id, "lost").state == "failed")

    retry_step(actor=actor, run_id=run_id, step_id="lost")
    bench.renew()
    bench.has_started("lost", 2)
    with pytest.raises(IllegalTransition):
        retry_step(actor=actor, run_id=run_id, step_id="lost")

    assert [("lost", n) for n in (1, 2)] == [key for key in bench.hands.seen if key[0] == "lost"]


def test_ten_rings_and_pokes_for_everything_start_nothing_twice(bench, actor):
    run_id = started(definition("a b", "a b"), actor=actor)
    for _ in range(10):
        bench.reactor.ring()
        bench.reactor.poke(run_id, uuid4())
    bench.has_started("a")
    for _ in range(10):
        bench.reactor.poke(run_id)
    bench.ended("a")
    bench.has_started("b")
    for _ in range(10):
        bench.reactor.poke(run_id)
    bench.ended("b")
    bench.until(lambda: state(run_id) == "completed")

    assert bench.hands.seen == [("a", 1), ("b", 1)]
    assert Event.objects.filter(run_id=run_id).count() == row(run_id).seq
