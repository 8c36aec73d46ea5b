"""Each wake-up that could be lost, with the interleaving forced (ARCHITECTURE, "One guard")."""

import pytest
from django.db import OperationalError

from runs.models import StepLog, StepRun, WorkflowRun
from runs.services import cancel_run, decide_approval, retry_run, retry_step
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import fails, failure, releases, row, started, state, step, told, until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_broken")]
ASK = {"kind": "HumanApproval", "config": {"title": "Go on?"}}
APPROVAL = definition({"ask": ASK, "b": {}}, "ask b")
ENDS = definition({"a": {}, "b": {}}, "a b")


def approve(actor, run_id):
    decide_approval(actor=actor, run_id=run_id, step_id="ask", action="approve")


def test_an_approval_that_commits_before_the_release_is_seen_by_the_owner(benches, stumbling, actor):
    bench = benches(stumbling)
    run_id = started(APPROVAL, actor=actor)
    stumbling.before("persist", lambda: approve(actor, run_id), releases)

    bench.turn()
    kept = bench.owns(run_id)
    bench.has_started("b")

    assert kept
    assert step(run_id, "ask").state == "succeeded"


def test_an_approval_that_commits_after_the_release_wakes_the_run(benches, stumbling, actor):
    bench = benches(stumbling)
    run_id = started(APPROVAL, actor=actor)
    stumbling.after("persist", lambda: approve(actor, run_id), releases)

    bench.turn()
    bench.has_started("b")

    assert row(run_id).lease_owner == bench.reactor.owner


def test_a_run_that_waits_for_a_person_is_let_go_and_nobody_looks_at_it(bench, actor):
    run_id = started(APPROVAL, actor=actor)

    bench.turn(3)

    assert not bench.owns(run_id)
    assert (row(run_id).lease_owner, row(run_id).wake_at) == (None, None)


@pytest.mark.parametrize(
    "command",
    [
        lambda actor, id: cancel_run(actor=actor, run_id=id),
        lambda actor, id: retry_step(actor=actor, run_id=id, step_id="lost"),
    ],
)
def test_a_command_whose_poke_is_lost_is_heard_with_the_next_renewal(bench, actor, command):
    run_id = started(definition("other lost", on_failure="continue"), actor=actor)
    bench.hands.end("lost", failure())
    bench.has_started("other")
    bench.until(lambda: step(run_id, "lost").state == "failed")
    command(actor, run_id)
    before = bench.reactor.runs.owned[run_id].snapshot.run.revision

    bench.renew()

    assert bench.reactor.runs.owned[run_id].snapshot.run.revision > before


def test_a_cancel_reaches_the_running_attempt_by_the_next_renewal(bench, actor):
    run_id = started(ENDS, actor=actor)
    bench.has_started("a")
    cancel_run(actor=actor, run_id=run_id)
    bench.turn()
    not_yet = bench.hands.calls[0].cancelled.is_set()

    bench.renew()
    told_to_end = bench.hands.calls[0].cancelled.is_set()
    bench.ended("a", "late")
    bench.until(lambda: state(run_id) == "cancelled")

    assert (not_yet, told_to_end) == (False, True)
    assert step(run_id, "a").reason == "interrupted"
    assert bench.hands.seen == [("a", 1)]


def test_a_poke_reaches_the_running_attempt_at_once(bench, actor):
    run_id = started(ENDS, actor=actor)
    bench.has_started("a")
    cancel_run(actor=actor, run_id=run_id)

    bench.reactor.poke(run_id)
    bench.reactor.turn()

    assert bench.hands.calls[0].cancelled.is_set()


def test_a_command_pokes_an_owned_run_and_only_rings_for_another(
    bench, actor, rings, django_capture_on_commit_callbacks
):
    waiting, owned = started(APPROVAL, actor=actor), started(ENDS, actor=actor, slug="ends")
    bench.has_started("a")
    bench.until(lambda: not bench.owns(waiting))

    with django_capture_on_commit_callbacks(execute=True):
        cancel_run(actor=actor, run_id=waiting)
        cancel_run(actor=actor, run_id=owned)

    assert rings == [(), (owned,)]


def test_a_command_never_takes_a_run_from_its_owner(bench, actor):
    run_id = started(ENDS, actor=actor)
    bench.has_started("a")
    before = row(run_id)

    cancel_run(actor=actor, run_id=run_id)

    after = row(run_id)
    assert (after.lease_owner, after.wake_at) == (before.lease_owner, before.wake_at)
    assert after.revision == before.revision + 1


def test_a_claim_beats_what_the_last_owner_stores_afterwards(benches, stumbling):
    zombie, heir = benches(stumbling), benches()
    run_id = started(ENDS)
    zombie.has_started("a")
    zombie.ended("a", "of the zombie")
    zombie.lose_lease()
    stumbling.before("persist", lambda: heir.has_started("a", 2))

    zombie.turn()
    zombie.turn()

    assert not zombie.owns(run_id)
    assert told(run_id, "a")[-2:] == [("step_failed", 1, "queued"), ("step_started", 2, "running")]
    heir.ended("a", "of the heir", 2)
    heir.until(lambda: step(run_id, "a").state == "succeeded")
    assert step(run_id, "a").output == "of the heir"


def test_a_late_result_changes_nothing(benches):
    slow, heir = benches(), benches()
    run_id = started(ENDS)
    slow.has_started("a")
    slow.lose_lease()
    heir.has_started("a", 2)
    slow.ended("a", "late")
    before = (row(run_id).revision, told(run_id), StepRun.objects.get(run_id=run_id, step_id="a").output)

    slow.renew()
    slow.turn(2)

    assert (row(run_id).revision, told(run_id), StepRun.objects.get(run_id=run_id, step_id="a").output) == before
    assert not slow.owns(run_id)
    assert slow.reactor.pool.free == slow.reactor.pool.size


def test_a_late_result_changes_nothing_where_its_process_owns_the_run_again(bench):
    run_id = started(ENDS)
    bench.has_started("a")
    first = bench.job("a")
    bench.reactor.runs.forget(run_id)  # its lease was lost, and nobody else took it
    WorkflowRun.objects.filter(id=run_id).update(lease_owner=None, wake_at=bench.store.now())
    bench.has_started("a", 2)
    before = (row(run_id).revision, told(run_id))
    first.call.log.write("late")
    bench.hands.end("a", "late", 1)
    until(lambda: any(result.job is first for result in bench.inbox.results))

    bench.turn(2)

    assert (row(run_id).revision, told(run_id)) == before
    assert not StepLog.objects.filter(run_id=run_id).exists()
    assert bench.reactor.pool.in_flight == 1


def test_an_owner_that_lost_its_lease_tells_its_attempts_to_end(benches):
    slow, heir = benches(), benches()
    started(ENDS)
    slow.has_started("a")
    slow.lose_lease()
    heir.has_started("a", 2)

    slow.renew()

    assert slow.hands.calls[0].cancelled.is_set()
    assert not heir.hands.calls[0].cancelled.is_set()


def test_an_owner_that_was_paused_goes_on_where_nobody_took_its_runs(bench):
    run_id = started(ENDS)
    bench.has_started("a")
    bench.lose_lease()

    bench.ended("a", "in time after all")
    bench.has_started("b")

    assert step(run_id, "a").output == "in time after all"
    assert bench.hands.seen == [("a", 1), ("b", 1)]


def test_a_start_starts_no_step(bench, actor):
    run_id = started(ENDS, actor=actor)

    assert (step(run_id, "a").state, step(run_id, "a").reason) == ("queued", "ready")
    assert bench.hands.seen == []


def test_an_approval_starts_no_step(bench, actor):
    run_id = started(APPROVAL, actor=actor)
    bench.until(lambda: row(run_id).lease_owner is None)

    approve(actor, run_id)

    assert (step(run_id, "b").state, step(run_id, "b").reason) == ("queued", "ready")
    assert bench.hands.seen == []


def test_a_retry_starts_no_step(bench, actor):
    run_id = started(ENDS, actor=actor)
    bench.has_started("a")
    bench.ended("a", failure())
    bench.until(lambda: state(run_id) == "failed")

    retry_run(actor=actor, run_id=run_id)

    assert (step(run_id, "a").state, step(run_id, "a").reason) == ("queued", "ready")
    assert bench.hands.seen == [("a", 1)]


def test_a_claim_whose_answer_was_lost_is_found_by_the_renewal(benches, stumbling):
    bench = benches(stumbling)
    run_id = started(ENDS)
    stumbling.after("claim", fails(OperationalError("the connection is gone")))
    with pytest.raises(OperationalError):
        bench.turn()
    owner, owned = row(run_id).lease_owner, bench.owns(run_id)

    bench.renew()
    bench.has_started("a")

    assert (owner, owned) == (bench.reactor.owner, False)
    assert bench.hands.seen == [("a", 1)]
