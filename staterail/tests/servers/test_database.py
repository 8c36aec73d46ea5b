"""PostgreSQL restarts, breaks connections, loses answers, stands still, is full: no run is lost or done twice."""

import contextlib
import signal
import time
from uuid import uuid4

import psycopg
import pytest

from staterail.testing.cluster import PERSIST
from staterail.testing.server import until
from staterail.tests.servers.flows import FIVE, LONG, SHORT, losses, starts
from staterail.tests.servers.starter import Starter, starting

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


def run_ids(cluster, flow):
    return {id for (id,) in cluster.rows("SELECT id::text FROM runs_workflowrun WHERE workflow_id = %s", flow)}


def test_immediate_restarts_under_load_fail_no_run_and_the_api_says_503(cluster, api):
    flow = api.publish(SHORT)
    ids = api.start_many(flow, 200)
    with starting(api, flow) as starter:
        for _ in range(3):
            cluster.postgres.stop(signal.SIGQUIT)
            time.sleep(0.4)  # for as long nobody answers
            cluster.postgres.start()
            known = len(starter.acknowledged)
            until(lambda known=known: len(starter.acknowledged) > known + 10, what="runs are accepted again")

    assert set(cluster.ended([*ids, *starter.acknowledged]).values()) == {"completed"}
    assert run_ids(cluster, flow) == {*ids, *starter.acknowledged}
    assert len(starter.acknowledged) == len(starter.keys)
    assert set(starter.refused) == {(503, "UNAVAILABLE", True)}
    assert starter.broken == []
    assert starter.slowest < 5


def _lose_many(cluster, api, n, what):
    """Lose n batches of the reactors; the runs that were under way."""
    flow = api.publish(FIVE)
    ids = []
    cluster.to_postgres.lose(n, PERSIST, what=what, every=3)  # one in a row, or they would wait longer and longer
    while cluster.to_postgres.lost < n:
        ids.append(api.start(flow))
    return ids


@pytest.mark.parametrize("what", ["answer", "statement"])
@pytest.mark.parametrize("n", [20, pytest.param(200, marks=pytest.mark.chaos)])
def test_a_commit_whose_answer_never_came_is_neither_lost_nor_done_twice(cluster, api, n, what):
    ids = _lose_many(cluster, api, n, what)

    assert set(cluster.ended(ids).values()) == {"completed"}
    assert [id for id in ids if losses(api, id)] == []
    assert {tuple(starts(api, id, "s2")) for id in ids} == {(1,)}


@pytest.mark.parametrize("marks", [(b"runs_workflowrun", b"clock_timestamp() + "), (b"SELECT", b"runs_steprun")])
def test_a_claim_a_renewal_or_a_look_whose_answer_never_came_loses_no_run(cluster, api, marks):
    flow = api.publish(SHORT)
    ids = []
    cluster.to_postgres.lose(10, *marks, every=3)
    while cluster.to_postgres.lost < 10:
        ids.append(api.start(flow))

    assert set(cluster.ended(ids).values()) == {"completed"}
    assert [id for id in ids if losses(api, id)] == []


@pytest.mark.parametrize("statement", [b"COMMIT", b"INSERT INTO runs_workflowrun", b"accounts_"])
def test_a_caller_who_asks_again_with_its_key_has_one_run(cluster, api, statement):
    flow = api.publish(SHORT)
    starter = Starter(api, flow)
    cluster.web_to_postgres.lose(10, statement)

    while cluster.web_to_postgres.lost < 10:
        starter.acknowledged.append(starter.until_acknowledged(str(uuid4())))

    assert set(cluster.ended(starter.acknowledged).values()) == {"completed"}
    assert len(set(starter.acknowledged)) == len(starter.acknowledged)
    assert run_ids(cluster, flow) == set(starter.acknowledged)
    assert set(starter.refused) == {(503, "UNAVAILABLE", True)}


def test_connections_that_break_all_at_once_cost_no_attempt(cluster, api):
    flow = api.publish(LONG)
    ids = api.start_many(flow, 50)
    with starting(api, flow) as starter:
        for _ in range(5):
            time.sleep(0.2)  # in between they work
            cluster.to_postgres.cut()
            cluster.web_to_postgres.cut()

    assert set(cluster.ended([*ids, *starter.acknowledged]).values()) == {"completed"}
    assert [id for id in ids if losses(api, id)] == []
    assert run_ids(cluster, flow) == {*ids, *starter.acknowledged}


@pytest.mark.chaos
@pytest.mark.parametrize("seconds", [3, 20])
def test_a_database_that_stands_still_for_the_workers_fails_no_run(cluster, api, seconds):
    ids = api.start_many(api.publish(LONG), 100)
    until(lambda: api.runs(state="running"), what="runs are running")

    cluster.to_postgres.pause()
    cluster.rows("SELECT 1 FROM pg_sleep(%s)", seconds)
    cluster.to_postgres.go_on()

    assert set(cluster.ended(ids).values()) == {"completed"}
    if seconds < 10:
        assert [id for id in ids if losses(api, id)] == []


def test_without_a_free_connection_the_api_says_503_and_workers_wait(cluster, api):
    flow = api.publish(SHORT)
    with contextlib.ExitStack() as held:
        _hold_all(cluster, held)
        cluster.to_postgres.cut()
        cluster.web_to_postgres.cut()
        _hold_all(cluster, held)  # those that became free too, before the next request looks for one
        answer = api.request("POST", f"/api/v1/workflows/{flow}/runs", {"input": {}})
        assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")

    id = until(lambda: _started(api, flow), what="a start is accepted")

    assert cluster.ended([id]) == {id: "completed"}
    assert all(process.runs for process in cluster.processes)


def _hold_all(cluster, held):
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            held.enter_context(psycopg.connect(cluster.postgres.url))


def _started(api, flow):
    status, answer = api.call("POST", f"/api/v1/workflows/{flow}/runs", {"input": {}})
    return answer["id"] if status == 201 else None


def test_two_that_lock_the_same_runs_in_opposite_order_delay_them_only(cluster, api):
    """A deadlock is no run's fault: whoever is chosen as the victim tries again."""
    flow = api.publish(LONG)
    ids = sorted(api.start_many(flow, 30))
    until(lambda: len(api.runs(workflow_id=flow, state="running")) == 30, what="all execute")
    deadlocks = 0
    while any(run["state"] == "running" for run in api.runs(workflow_id=flow)) and deadlocks < 5:
        with psycopg.connect(cluster.postgres.url) as other, contextlib.suppress(psycopg.errors.DeadlockDetected):
            other.execute("SET deadlock_timeout = '1h'")  # the reactor is the one who finds out
            for id in reversed(ids):
                other.execute("SELECT 1 FROM runs_workflowrun WHERE id = %s FOR UPDATE", (id,))
        deadlocks += 1

    assert set(cluster.ended(ids).values()) == {"completed"}
    assert [id for id in ids if losses(api, id)] == []
