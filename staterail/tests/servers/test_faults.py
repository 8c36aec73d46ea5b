"""Processes that die, pause and stop; servers that go away. Nothing acknowledged is lost, no run fails for it."""

import signal
import threading
import time

import httpx
import pytest

from staterail.testing.cutproxy import CutProxy
from staterail.testing.definitions import chain, echo, step, task, workflow
from staterail.testing.server import until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
SHORT = workflow([echo("a"), task("b", "core.sleep", seconds=0.05), echo("c")], chain("a", "b", "c"))
LONG = workflow([task("a", "core.sleep", seconds=1.5), echo("b")], chain("a", "b"))


def all_ended(api, ids, *, seconds=90.0):
    """{id: state}, once all have ended."""
    wanted = set(ids)

    def states():
        known = {run["id"]: run["state"] for run in api.runs() if run["id"] in wanted}
        return (
            known if len(known) == len(wanted) and set(known.values()) <= {"completed", "failed", "cancelled"} else None
        )

    return until(states, seconds=seconds, every=0.3, what="every run ends")


def told(api, run_id, code):
    """How often an event of the run tells this error."""
    return sum((event["payload"].get("error") or {}).get("code") == code for event in api.events(run_id))


def test_kill_9_of_a_worker_costs_a_loss_and_no_run(own):
    cluster = own()
    api = cluster.api()
    ids = api.start_many(api.publish(LONG), 40)
    until(lambda: len(api.runs(state="running")) > 10, what="runs are running")

    cluster.workers[0].kill()

    assert set(all_ended(api, ids).values()) == {"completed"}
    assert any(told(api, id, "worker_lost") for id in ids)
    assert all(step["losses"] <= 1 for step in api.run(ids[0])["step_runs"] if "losses" in step)


@pytest.mark.chaos
def test_an_owner_that_was_paused_beyond_its_lease_changes_nothing_when_it_comes_back(own):
    cluster = own()
    api = cluster.api()
    ids = api.start_many(api.publish(LONG), 20)
    until(lambda: len(api.runs(state="running")) > 5, what="runs are running")
    cluster.workers[0].pause()

    states = all_ended(api, ids)
    cluster.workers[0].go_on()
    after = api.start_many(api.publish(SHORT), 5)

    assert set(states.values()) == {"completed"}
    assert set(all_ended(api, after).values()) == {"completed"}
    for id in ids:
        events = api.events(id)
        assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
        started = [e["attempt"] for e in events if e["step_id"] == "a" and e["event_type"] == "step_started"]
        assert started == list(range(1, len(started) + 1))


def test_postgres_restarted_in_the_middle_fails_no_run_and_the_api_says_503(own):
    cluster = own()
    api = cluster.api()
    flow = api.publish(SHORT)
    acknowledged, refused, over = [], [], threading.Event()

    def start_on():
        while not over.is_set():
            try:
                status, answer = api.call("POST", f"/api/v1/workflows/{flow}/runs", {"input": {}})
            except httpx.TransportError:
                continue
            (acknowledged if status == 201 else refused).append((status, answer))
            time.sleep(0.01)

    starter = threading.Thread(target=start_on)
    starter.start()
    for _ in range(3):
        time.sleep(1)
        cluster.postgres.stop(signal.SIGQUIT)
        time.sleep(0.5)
        cluster.postgres.start()
    time.sleep(1)
    over.set()
    starter.join()

    ids = [answer["id"] for _, answer in acknowledged]
    assert len(ids) > 20
    assert set(all_ended(api, ids).values()) == {"completed"}
    assert {(status, answer["code"]) for status, answer in refused} == {(503, "UNAVAILABLE")}


def test_a_commit_whose_answer_never_came_is_neither_lost_nor_done_twice(own, tmp_path):
    with CutProxy(0) as proxy:
        cluster = own(workers=0)
        proxy.target = cluster.postgres.port
        cluster.environment["DATABASE_URL"] = f"postgres://staterail@127.0.0.1:{proxy.port}/postgres"
        cluster.workers = [cluster._process("worker", "manage.py", "worker")]
        api = cluster.api()
        flow = api.publish(workflow([echo(f"s{n}") for n in range(5)], chain(*(f"s{n}" for n in range(5)))))
        api.ended(api.start(flow))

        proxy.cut_answers(20, b"SELECT ")
        ids = [api.start(flow) for _ in range(60) if not time.sleep(0.05)]

        assert set(all_ended(api, ids).values()) == {"completed"}
        assert proxy.cuts == 20
        assert [id for id in ids if told(api, id, "worker_lost")] == []


def test_without_redis_runs_go_on_by_the_poll_and_nobody_waits_for_it(own):
    cluster = own()
    api = cluster.api()
    flow = api.publish(SHORT)
    cluster.redis.stop()

    took = []
    for _ in range(20):
        began = time.monotonic()
        took.append((api.start(flow), time.monotonic() - began))
    ids = [id for id, _ in took]

    assert set(all_ended(api, ids).values()) == {"completed"}
    assert sorted(seconds for _, seconds in took)[10] < 1.0  # not stuck on a dead broker
    assert cluster.readiness()["broker"] == "degraded"
    cluster.redis.start()
    until(lambda: cluster.readiness()["broker"] == "ok", what="the broker is back")
    assert set(all_ended(api, api.start_many(flow, 5)).values()) == {"completed"}


@pytest.mark.chaos
def test_a_rolling_stop_under_load_puts_back_what_is_long_and_fails_no_run(own):
    cluster = own()
    api = cluster.api()
    ids = api.start_many(api.publish(workflow([task("a", "core.sleep", seconds=8)])), 10)
    ids += api.start_many(api.publish(SHORT), 50)
    until(lambda: len(api.runs(state="running")) > 5, what="runs are running")

    ends = []
    for worker in cluster.workers:
        ends.append(worker.stop())
        worker.restart()

    assert [status for status, _ in ends] == [0, 0]
    assert max(seconds for _, seconds in ends) < 30
    assert set(all_ended(api, ids).values()) == {"completed"}
    assert all(
        event["payload"]["error"].get("details") == {"orderly": True}
        for id in ids[:10]
        for event in api.events(id)
        if (event["payload"].get("error") or {}).get("code") == "worker_lost"
    )


@pytest.mark.chaos
def test_a_step_that_kills_its_workers_is_a_dead_letter_and_its_neighbours_are_not(own):
    cluster = own(workers=2)
    api = cluster.api()
    innocent = api.start_many(api.publish(workflow([task("a", "core.sleep", seconds=2)])), 6)
    poison = api.start(api.publish(workflow([task("k", "test.kill_worker")])))

    def revive():
        for worker in cluster.workers:
            if worker.process.poll() is not None:
                worker.restart()
        return api.run(poison)["state"] == "failed"

    until(revive, seconds=120, every=0.3, what="the poisonous step is given up")

    step_run = api.run(poison)["step_runs"][0]
    assert (step_run["reason"], step_run["attempt"]) == ("poison", 3)
    assert set(all_ended(api, innocent).values()) == {"completed"}
    assert poison in cluster.command("dead_letters", "list")
    cluster.command("dead_letters", "dismiss", poison, "k")
    assert "There are no dead letters." in cluster.command("dead_letters", "list")


@pytest.mark.chaos
def test_max_concurrent_runs_holds_with_two_workers_and_a_kill(own):
    cluster = own()
    api = cluster.api()
    limited = workflow([task("a", "core.sleep", seconds=0.05)], max_concurrent_runs=7)
    ids = api.start_many(api.publish(limited), 120)
    most, over = [0], threading.Event()

    def watch():
        while not over.is_set():
            most[0] = max(most[0], len(api.runs(state="running")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(1)
    cluster.workers[0].kill()
    states = all_ended(api, ids, seconds=120)
    over.set()
    watcher.join()

    assert set(states.values()) == {"completed"}
    assert 0 < most[0] <= 7


@pytest.mark.chaos
def test_kill_9_of_everything_at_once_loses_nothing_acknowledged(own):
    cluster = own()
    api = cluster.api()
    flow = api.publish(SHORT)
    ids = api.start_many(flow, 100)
    until(lambda: api.runs(state="running"), what="runs are running")

    for process in cluster.processes:
        process.kill()
    cluster.postgres.stop(signal.SIGQUIT)
    cluster.redis.stop()
    cluster.postgres.start()
    cluster.redis.start()
    cluster.start()

    assert set(all_ended(api, ids).values()) == {"completed"}


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["delay", "approval"])
def test_a_run_that_waits_is_let_go_and_taken_up_again(own, how):
    cluster = own(workers=1)
    api = cluster.api()
    waits = (
        step("w", "Delay", {"for": "3s"})
        if how == "delay"
        else step("w", "HumanApproval", {"title": "?", "assignees": []})
    )
    run_id = api.start(api.publish(workflow([waits, echo("after")], chain("w", "after"))))
    api.step_in(run_id, "w", "running")
    cluster.workers[0].kill()
    cluster.workers[0].restart()

    if how == "approval":
        api.must("POST", f"/api/v1/runs/{run_id}/steps/w/transition", {"action": "approve"})

    assert api.ended(run_id, seconds=60)["state"] == "completed"
