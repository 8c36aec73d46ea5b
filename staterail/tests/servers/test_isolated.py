"""Isolated tasks on the queue `tasks`: whoever dies, the step ends once, and nobody else pays for it."""

import os
import signal
import threading

import pytest
import redis

from staterail.testing.definitions import task, workflow
from staterail.testing.server import until
from staterail.tests.servers.flows import losses, starts

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


def sleeping(seconds, **step):
    return workflow([task("a", "test.isolated_sleep", step=step or None, seconds=seconds)])


def pid_of(api, run_id):
    """The process that executes the step, as its log says."""

    def told():
        lines = api.must("GET", f"/api/v1/runs/{run_id}/steps/a/logs")["results"]
        return [int(line["message"].removeprefix("process ")) for line in lines if "process" in line["message"]]

    return until(told, what="the task told its process")[-1]


def test_it_is_executed_in_a_process_of_the_tasks_worker(cluster, api):
    run = api.ended(api.start(api.publish(sleeping(0.05))))

    assert run["state"] == "completed"
    assert run["step_runs"][0]["output"] not in [worker.process.pid for worker in cluster.workers]


def test_its_timeout_kills_it(api):
    run_id = api.start(api.publish(sleeping(60, timeout="1s")))
    pid = pid_of(api, run_id)

    step = api.ended(run_id)["step_runs"][0]

    assert (step["state"], step["reason"]) == ("failed", "timeout")
    until(lambda: not _alive(pid), what="its process is gone")


def test_a_cancel_reaches_it(api):
    run_id = api.start(api.publish(sleeping(600)))
    pid = pid_of(api, run_id)

    api.must("POST", f"/api/v1/runs/{run_id}/cancel", {})

    step = api.ended(run_id)["step_runs"][0]
    assert (step["state"], step["reason"]) == ("failed", "interrupted")
    until(lambda: not _alive(pid), what="its process is gone")


def test_a_child_that_dies_three_times_is_a_dead_letter(cluster, api):
    run_id = api.start(api.publish(workflow([task("a", "test.isolated_kill")])))

    step = api.ended(run_id, seconds=90)["step_runs"][0]

    assert (step["reason"], step["attempt"]) == ("poison", 3)
    assert run_id in cluster.command("dead_letters", "list")


def test_a_child_killed_from_outside_costs_one_loss(api):
    run_id = api.start(api.publish(sleeping(1.5)))
    os.kill(pid_of(api, run_id), signal.SIGKILL)

    run = api.ended(run_id, seconds=60)

    assert (run["state"], run["step_runs"][0]["attempt"]) == ("completed", 2)
    assert losses(api, run_id) == ["lost"]


def test_a_killed_owner_does_not_touch_it_and_a_killed_tasks_worker_costs_one_loss(cluster, api):
    """Two deaths in one test, which both wait for the end of a lease."""
    orphan, lost = api.start(api.publish(sleeping(4))), api.start(api.publish(sleeping(600)))
    pid_of(api, orphan)
    pid_of(api, lost)

    for worker in cluster.workers:
        worker.kill()
        worker.restart()
    assert api.ended(orphan, seconds=60)["step_runs"][0]["attempt"] == 1
    cluster.tasks.kill()
    cluster.tasks.restart()
    until(lambda: starts(api, lost, "a") == [1, 2], seconds=60, what="it begins again")

    api.must("POST", f"/api/v1/runs/{lost}/cancel", {})
    assert api.ended(lost)["state"] == "cancelled"
    assert (losses(api, orphan), losses(api, lost)) == ([], ["lost"])


def test_an_orderly_stop_of_the_tasks_worker_is_no_loss(cluster, api):
    run_id = api.start(api.publish(sleeping(600)))
    pid = pid_of(api, run_id)

    status, seconds = cluster.tasks.stop()

    assert status == 0
    assert seconds < 30
    assert not _alive(pid)
    assert losses(api, run_id) == ["orderly"]
    api.must("POST", f"/api/v1/runs/{run_id}/cancel", {})
    assert api.ended(run_id)["state"] == "cancelled"


@pytest.mark.chaos
def test_a_message_that_is_lost_is_sent_again_after_a_minute(cluster, api):
    cluster.tasks.stop()
    run_id = api.start(api.publish(sleeping(0.05)))
    client = redis.Redis(port=cluster.redis.port)
    until(lambda: client.llen("tasks"), what="it was sent")

    client.flushall()
    cluster.tasks.restart()

    run = api.ended(run_id, seconds=100)
    assert (run["state"], run["step_runs"][0]["attempt"]) == ("completed", 1)


@pytest.mark.chaos
def test_a_tasks_worker_that_was_paused_beyond_its_lease_changes_nothing_when_it_comes_back(cluster, api):
    run_id = api.start(api.publish(sleeping(2)))
    pid_of(api, run_id)
    other = cluster.process("tasks2", "manage.py", "worker", "--queue", "tasks", "--processes", "2")
    try:
        cluster.tasks.pause()
        run = api.ended(run_id, seconds=150)
        before = api.events(run_id)
        cluster.tasks.go_on()
        again = api.start(api.publish(sleeping(0.05)))

        assert (run["state"], run["step_runs"][0]["attempt"]) == ("completed", 2)
        assert api.ended(again, seconds=60)["state"] == "completed"
        assert api.events(run_id) == before
    finally:
        other.stop()


@pytest.mark.chaos
def test_a_database_that_stands_still_while_a_child_ends_keeps_its_result(cluster, api):
    run_id = api.start(api.publish(sleeping(2)))
    pid_of(api, run_id)

    cluster.postgres.stop(signal.SIGQUIT)
    threading_wait(5)
    cluster.postgres.start()

    run = api.ended(run_id, seconds=60)
    assert (run["state"], run["step_runs"][0]["attempt"]) == ("completed", 1)


def threading_wait(seconds):
    """For so long the database is away, while the task ends."""
    threading.Event().wait(seconds)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
