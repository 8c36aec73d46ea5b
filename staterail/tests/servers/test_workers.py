"""Processes that die, pause and stop. Nothing acknowledged is lost, no run fails for it."""

import signal
from collections import Counter
from datetime import datetime

import pytest

from staterail.testing.definitions import chain, echo, step, task, workflow
from staterail.testing.server import until
from staterail.tests.servers.flows import LONG, SHORT, losses, starts

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
LEASE = 15


def owned(cluster, flow):
    """{worker's pid: how many of the workflow's steps execute there}."""
    rows = cluster.rows(
        "SELECT split_part(e.payload->>'worker', ':', 2)::int, count(*) FROM runs_steprun s"
        " JOIN runs_workflowrun r ON r.id = s.run_id JOIN runs_event e ON e.run_id = s.run_id"
        " AND e.step_id = s.step_id AND e.event_type = 'step_started' AND e.attempt = s.attempt"
        " WHERE s.state = 'running' AND r.workflow_id = %s GROUP BY 1",
        flow,
    )
    return dict(rows)


def busy_worker(cluster, flow, steps):
    """A worker that executes so many steps of the workflow at least."""

    def found():
        known = owned(cluster, flow)
        return next((worker for worker in cluster.workers if known.get(worker.pid, 0) >= steps), None)

    return until(found, every=0.01, what="a worker executes steps")


def test_kill_9_of_a_worker_costs_a_loss_and_no_run(cluster, api):
    flow = api.publish(LONG)
    ids = api.start_many(flow, 200)

    busy_worker(cluster, flow, 10).kill()

    assert set(cluster.ended(ids).values()) == {"completed"}
    lost = [id for id in ids if losses(api, id)]
    assert len(lost) >= 10
    waits = []
    for id in lost:
        events = api.events(id)
        assert losses(api, id) == ["lost"]
        assert starts(api, id, "a") == [1, 2]
        again = next(e for e in events if e["event_type"] == "step_started" and e["attempt"] == 2)
        first = next(e for e in events if e["event_type"] == "step_started" and e["attempt"] == 1)
        waits.append((_at(again) - _at(first)).total_seconds())
    assert min(waits) < LEASE + 2
    assert max(waits) < LEASE + 10


def test_an_owner_that_was_paused_beyond_its_lease_changes_nothing_when_it_comes_back(cluster, api, tmp_path):
    ledger = tmp_path / "ledger"
    flow = api.publish(workflow([task("a", "test.effect", path=str(ledger), seconds=1.0), echo("b")], chain("a", "b")))
    ids = api.start_many(flow, 40)
    sleeper = busy_worker(cluster, flow, 6)

    sleeper.pause()
    states = cluster.ended(ids)
    before = {id: api.events(id) for id in ids}
    sleeper.go_on()
    after = api.start_many(api.publish(SHORT), 20)

    assert set(states.values()) == {"completed"}
    assert set(cluster.ended(after).values()) == {"completed"}
    assert {id: api.events(id) for id in ids} == before
    lost = {id for id in ids if losses(api, id)}
    assert len(lost) > 5
    effects = [line.split() for line in ledger.read_text().splitlines()]
    assert Counter(key for key, _ in effects) == {f"{id}:a:1": 2 if id in lost else 1 for id in ids}


@pytest.mark.chaos
@pytest.mark.parametrize("seconds", [5, 14, 16, 40])
def test_all_workers_paused_together_go_on_together(cluster, api, seconds):
    ids = api.start_many(api.publish(LONG), 100)
    until(lambda: api.runs(state="running"), what="runs are running")

    for worker in cluster.workers:
        worker.pause()
    _pass(cluster, seconds)
    for worker in cluster.workers:
        worker.go_on()

    assert set(cluster.ended(ids).values()) == {"completed"}


def test_a_rolling_stop_under_load_puts_back_what_is_long_and_fails_no_run(cluster, api):
    slow = api.publish(workflow([task("a", "test.sleep_at_first", seconds=600), echo("b")], chain("a", "b")))
    long = api.start_many(slow, 10)
    short = api.start_many(api.publish(SHORT), 100)
    until(lambda: sum(owned(cluster, slow).values()) == 10, what="long steps execute")

    ends = []
    for worker in cluster.workers:
        ends.append(worker.stop())
        worker.restart()

    assert [status for status, _ in ends] == [0, 0]
    assert max(seconds for _, seconds in ends) < 30
    assert set(cluster.ended([*long, *short]).values()) == {"completed"}
    assert {tuple(losses(api, id)) for id in long} == {("orderly",)}
    assert {kind for id in short for kind in losses(api, id)} <= {"orderly"}


@pytest.mark.chaos
def test_a_step_that_kills_its_workers_is_a_dead_letter_and_its_neighbours_are_not(own):
    cluster = own(workers=2)
    api = cluster.api()
    innocent = api.start_many(api.publish(workflow([task("a", "core.sleep", seconds=40)])), 6)
    until(lambda: len(api.runs(state="running")) == 6, what="the innocent execute")
    poison = api.start(api.publish(workflow([task("k", "test.kill_worker")])))

    def revive():
        for worker in cluster.workers:
            if not worker.runs:
                worker.restart()
        return api.run(poison)["state"] == "failed"

    until(revive, seconds=120, every=0.3, what="the poisonous step is given up")

    step_run = api.run(poison)["step_runs"][0]
    assert (step_run["reason"], step_run["attempt"]) == ("poison", 3)
    assert set(cluster.ended(innocent, seconds=180).values()) == {"completed"}
    assert poison in cluster.command("dead_letters", "list")
    cluster.command("dead_letters", "dismiss", poison, "k")
    assert "There are no dead letters." in cluster.command("dead_letters", "list")


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_kill_9_of_everything_at_once_loses_nothing_acknowledged(own):
    cluster = own(tasks=True)
    api = cluster.api()
    flow, isolated = api.publish(SHORT), api.publish(workflow([task("i", "test.isolated_sleep", seconds=0.3)]))
    ids = []

    for _ in range(10):
        ids += api.start_many(flow, 100) + api.start_many(isolated, 3)
        until(lambda: api.runs(state="running"), what="runs are running")
        for process in cluster.processes:
            process.kill()
        cluster.postgres.stop(signal.SIGQUIT)
        cluster.redis.stop()
        cluster.heal()

    assert set(cluster.ended(ids, seconds=180).values()) == {"completed"}


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


@pytest.mark.chaos
def test_starts_are_held_while_there_is_no_worker_and_all_are_caught_up_with(own):
    cluster = own()
    api = cluster.api()
    for worker in cluster.workers:
        worker.kill()

    ids = api.start_many(api.publish(SHORT), 1000)
    doorbells = [api.start(api.publish(SHORT)) for _ in range(150)]
    until(lambda: cluster.readiness()["workers"] == "degraded", seconds=60, what="readyz says so")
    assert _queue_length(cluster) <= 100

    cluster.heal()
    assert set(cluster.ended([*ids, *doorbells]).values()) == {"completed"}


def test_a_worker_of_the_previous_version_goes_on_beside_a_migrated_schema(cluster, api):
    """Expand, then contract: what a later release adds has a default, and no statement here names all columns."""
    tables = ("runs_workflowrun", "runs_steprun", "runs_event", "runs_steplog", "runs_worker", "workflows_workflow")
    for table in tables:
        cluster.change(f"ALTER TABLE {table} ADD COLUMN of_the_next_release int NOT NULL DEFAULT 0")
    try:
        ids = api.start_many(api.publish(SHORT), 20)
        assert set(cluster.ended(ids).values()) == {"completed"}
    finally:
        for table in tables:
            cluster.change(f"ALTER TABLE {table} DROP COLUMN of_the_next_release")
    assert set(cluster.ended(api.start_many(api.publish(SHORT), 20)).values()) == {"completed"}


def _at(event):
    return datetime.fromisoformat(event["ts"])


def _pass(cluster, seconds):
    """Let so much of the database's time pass."""
    cluster.rows("SELECT 1 FROM pg_sleep(%s)", seconds)


def _queue_length(cluster):
    import redis

    return redis.Redis(port=cluster.redis.port).llen("runs")
