"""While all threads are taken: what needs none goes on, and who waits for one has a turn."""

import pytest

from runs.services import RunRequest, start_runs
from runs.tests.factories import an_actor, published
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import started, state, step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_broken")]
ASK = {"kind": "HumanApproval", "config": {"title": "t"}}
DELAY = {"kind": "Delay", "config": {"for": "1h"}}


@pytest.mark.parametrize(("kind", "reason"), [(ASK, "waiting_approval"), (DELAY, "waiting_timer")])
def test_a_step_that_needs_no_thread_begins_while_all_threads_are_taken(benches, kind, reason):
    bench, actor = benches(threads=1), an_actor()
    started(definition("busy"), actor=actor, slug="busy")
    bench.has_started("busy")

    run_id = started(definition({"first": kind, "b": {}}, "first b"), actor=actor)
    bench.turn(3)

    assert step(run_id, "first").reason == reason
    assert not bench.owns(run_id)


def test_a_step_that_needs_no_thread_begins_beside_one_that_waits_for_a_thread(benches):
    bench, actor = benches(threads=1), an_actor()
    started(definition("busy"), actor=actor, slug="busy")
    bench.has_started("busy")

    run_id = started(definition({"a": {}, "ask": ASK}), actor=actor)
    bench.turn(3)

    assert (step(run_id, "a").reason, step(run_id, "ask").reason) == ("ready", "waiting_approval")


def test_a_ring_that_found_no_room_is_heard_once_there_is_some(benches):
    bench, actor = benches(threads=1), an_actor()
    version = published(definition("a"), actor)
    bench.hands.end("a")
    run_ids = start_runs(actor=actor, workflow=version.workflow, requests=[RunRequest()] * 30)
    bench.reactor.ring()
    bench.reactor._next_poll = float("inf")  # nothing but that one ring

    bench.reactor._next_renewal = float("inf")
    for _ in range(2000):
        if bench.reactor._patience() > 0 and not bench.reactor.pool.in_flight:
            break
        bench.reactor.turn()

    assert {state(id) for id in run_ids} == {"completed"}


def test_a_tenant_with_much_to_do_gives_way_to_another_at_the_threads(benches):
    bench, many, one = benches(threads=1), an_actor(), an_actor()
    version = published(definition("a"), many)
    started(definition("busy"), actor=many, slug="busy")
    bench.has_started("busy")
    waiting = start_runs(actor=many, workflow=version.workflow, requests=[RunRequest()] * 2)
    bench.until(lambda: all(bench.owns(id) for id in waiting))
    late = started(definition("b"), actor=one, slug="other")
    bench.until(lambda: bench.owns(late))

    bench.ended("busy")
    bench.until(lambda: len(bench.hands.calls) == 2)

    assert [call.step_id for call in bench.hands.calls] == ["busy", "b"]
