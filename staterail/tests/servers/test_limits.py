"""Limits and fairness with two workers: never one run too many, none forgotten, tenants in turn."""

import threading
import time

import pytest

from staterail.testing.definitions import chain, echo, step, task, workflow
from staterail.testing.server import Api, until
from staterail.tests.servers.flows import SHORT

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

AT_ONCE = """
SELECT max(n) FROM (
    SELECT sum(change) OVER (ORDER BY ts, change) AS n FROM (
        SELECT ts, CASE WHEN state_after = 'running' THEN 1 ELSE -1 END AS change FROM runs_event
        WHERE workflow_id = %s AND step_id IS NULL
            AND (state_after = 'running' AND state_before = 'pending'
                OR state_before = 'running' AND state_after IN ('completed', 'failed', 'cancelled'))) changes) sums"""


def most_at_once(cluster, flow):
    """How many runs of a workflow were running at the same time, as its log says."""
    return cluster.rows(AT_ONCE, flow)[0][0]


def limited(n, seconds=0.05):
    return workflow([task("a", "core.sleep", seconds=seconds), echo("b")], chain("a", "b"), max_concurrent_runs=n)


def test_never_an_eighth_run_of_seven_and_none_forgotten(cluster, api):
    flow = api.publish(limited(7))

    ids = api.start_many(flow, 300)

    assert set(cluster.ended(ids).values()) == {"completed"}
    assert most_at_once(cluster, flow) == 7


@pytest.mark.chaos
def test_never_an_eighth_run_of_seven_while_workers_are_killed(cluster, api):
    flow = api.publish(limited(7))
    ids, over = api.start_many(flow, 300), threading.Event()

    def kill_one_after_the_other():
        n = 0
        while not over.wait(7):
            cluster.workers[n % 2].kill()
            cluster.workers[n % 2].restart()
            n += 1

    killer = threading.Thread(target=kill_one_after_the_other)
    killer.start()
    states = cluster.ended(ids, seconds=400)
    over.set()
    killer.join()

    assert set(states.values()) == {"completed"}
    assert most_at_once(cluster, flow) == 7


@pytest.mark.chaos
def test_a_thousand_runs_with_a_limit_some_cancelled_and_retried(cluster, api):
    flow = api.publish(limited(7, 0.02))
    ids = api.start_many(flow, 1000)

    for id in ids[::10]:
        api.call("POST", f"/api/v1/runs/{id}/cancel", {})
    states = cluster.ended(ids, seconds=200)
    again = [id for id, state in states.items() if state == "cancelled"]
    for id in again:
        api.call("POST", f"/api/v1/runs/{id}/retry", {})

    assert set(cluster.ended(ids, seconds=200).values()) <= {"completed", "cancelled"}
    assert most_at_once(cluster, flow) <= 7


def test_a_tenant_with_ten_runs_does_not_wait_for_the_thousands_of_another(cluster, api):
    token = cluster.command("token", "--name", "small", "--role", "admin", "--tenant", "small").strip()
    small = Api(cluster.url, token)
    slow = workflow([task("a", "core.sleep", seconds=0.3)])
    flood = api.publish(slow)
    mine = small.publish(slow)
    many = [id for _ in range(2) for id in api.start_many(flood, 1000)]

    began = time.monotonic()
    few = small.start_many(mine, 10)
    cluster.ended(few)
    took = time.monotonic() - began
    left = sum(run["state"] == "pending" for run in api.runs(workflow_id=flood, state="pending"))
    small.close()

    assert took < 10
    assert left > 0  # of the flood's, or this says nothing
    assert set(cluster.ended(many, seconds=200).values()) == {"completed"}


@pytest.mark.chaos
def test_five_thousand_timers_due_in_one_second_all_fire_within_five(cluster, api):
    flow = api.publish(workflow([step("w", "Delay", {"until": "${input.at}"})]))
    at = cluster.rows("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC' + interval '40 s', %s)",
                      'YYYY-MM-DD"T"HH24:MI:SS"Z"')[0][0]  # fmt: skip
    ids = []
    for _ in range(5):
        body = {"runs": [{"input": {"at": at}} for _ in range(1000)]}
        ids += api.must("POST", f"/api/v1/workflows/{flow}/runs/batch", body)["run_ids"]
    until(lambda: len(api.runs(workflow_id=flow, state="pending")) == 0, seconds=40, what="all wait for their time")

    assert set(cluster.ended(ids, seconds=90).values()) == {"completed"}
    [(first, last)] = cluster.rows(
        "SELECT min(completed_at - %s::timestamptz), max(completed_at - %s::timestamptz) FROM runs_workflowrun"
        " WHERE workflow_id = %s",
        at, at, flow,
    )  # fmt: skip
    assert first.total_seconds() >= 0
    assert last.total_seconds() < 5


@pytest.mark.chaos
def test_ten_thousand_queued_runs_are_taken_in_order_and_the_api_stays_quick(cluster, api):
    flow = api.publish(SHORT)
    ids = [id for _ in range(10) for id in api.start_many(flow, 1000)]

    took = []
    while cluster.rows("SELECT count(*) FROM runs_workflowrun WHERE workflow_id = %s AND completed_at IS NULL",
                       flow)[0][0] > 1000:  # fmt: skip
        began = time.monotonic()
        ids.append(api.start(flow))
        took.append(time.monotonic() - began)
        time.sleep(0.05)

    assert set(cluster.ended(ids, seconds=200).values()) == {"completed"}
    assert sorted(took)[int(len(took) * 0.95)] < 1.0
    [(late,)] = cluster.rows(
        "SELECT count(*) FROM (SELECT started_at, max(started_at) OVER (ORDER BY id) AS newest FROM runs_workflowrun"
        " WHERE workflow_id = %s) r WHERE newest - started_at > interval '5 s'",
        flow,
    )
    assert late == 0
