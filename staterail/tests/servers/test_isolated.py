"""Isolated tasks on the queue `tasks`: whoever dies, the step ends once, and nobody else pays for it."""

import os
import signal

import pytest

from staterail.testing.definitions import task, workflow
from staterail.testing.server import until

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


@pytest.mark.chaos
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


@pytest.mark.chaos
def test_the_owners_death_does_not_touch_it(own):
    cluster = own(tasks=True)
    api = cluster.api()
    run_id = api.start(api.publish(sleeping(4)))
    pid_of(api, run_id)

    for worker in cluster.workers:
        worker.kill()
        worker.restart()

    run = api.ended(run_id, seconds=60)
    assert (run["state"], run["step_runs"][0]["attempt"]) == ("completed", 1)


@pytest.mark.chaos
def test_an_orderly_stop_of_the_tasks_worker_is_no_loss(own):
    cluster = own(tasks=True)
    api = cluster.api()
    run_id = api.start(api.publish(sleeping(600)))
    pid_of(api, run_id)

    status, seconds = cluster.tasks.stop()

    assert seconds < 40
    events = [e for e in api.events(run_id) if e["event_type"] == "step_failed"]
    assert [e["payload"]["error"].get("details") for e in events] == [{"orderly": True}]
    api.must("POST", f"/api/v1/runs/{run_id}/cancel", {})
    assert api.ended(run_id)["state"] == "cancelled"


@pytest.mark.chaos
def test_a_killed_tasks_worker_costs_one_loss(own):
    cluster = own(tasks=True)
    api = cluster.api()
    run_id = api.start(api.publish(sleeping(3)))
    pid_of(api, run_id)

    cluster.tasks.kill()
    cluster.tasks.restart()

    run = api.ended(run_id, seconds=90)
    assert (run["state"], run["step_runs"][0]["attempt"]) == ("completed", 2)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
