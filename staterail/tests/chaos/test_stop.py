import sqlite3

import pytest

from staterail.testing.definitions import chain, step, task, workflow
from staterail.testing.server import until

SHORT = workflow([task("nap", "core.sleep", seconds=2), task("end", "core.noop")], chain("nap", "end"))
LONG = workflow([task("long", "test.sleep_at_first", seconds=600), task("end", "core.noop")], chain("long", "end"))
DEAF = workflow([task("deaf", "test.sleep_at_first", seconds=60, deaf=True)])
TIMER = workflow([step("timer", "Delay", {"for": "4s"}), task("end", "core.noop")], chain("timer", "end"))


def _unlike_an_orderly_stop(events):
    """Errors of events, but those that say: put back, in good order."""
    errors = [event["payload"]["error"] for event in events if event["payload"].get("error")]
    return [error for error in errors if error.get("details") != {"orderly": True}]


def test_sigterm_lets_short_steps_end_puts_long_ones_back_and_nothing_fails_or_counts_as_lost(own):
    instance = own().start()
    api = instance.api()
    runs = {
        name: [api.start(flow) for _ in range(n)]
        for name, flow, n in [
            ("short", api.publish(SHORT), 8),
            ("long", api.publish(LONG), 10),
            ("deaf", api.publish(DEAF), 2),
            ("timer", api.publish(TIMER), 3),
        ]
    }
    for name, step_id in [("short", "nap"), ("long", "long"), ("deaf", "deaf"), ("timer", "timer")]:
        for run_id in runs[name]:
            api.step_in(run_id, step_id, "running")

    status, seconds = instance.stop()

    assert (status, seconds <= 30) == (0, True)
    assert instance.log.rstrip().endswith("Stopped.")
    instance.start()
    all_runs = [id for ids in runs.values() for id in ids]
    assert {api.ended(id)["state"] for id in all_runs} == {"completed"}
    attempts = {
        name: {step["attempt"] for id in ids for step in api.run(id)["step_runs"][:1]} for name, ids in runs.items()
    }
    assert attempts == {"short": {1}, "long": {2}, "deaf": {2}, "timer": {1}}
    assert _unlike_an_orderly_stop(event for id in all_runs for event in api.events(id)) == []
    assert instance.command("check_invariants").stdout.strip().endswith("0 are broken")


def test_a_reactor_that_crashes_does_not_leave_a_server_that_only_looks_alive(own):
    instance = own().start()
    instance.api().start("hello-staterail", {"qty": 1})
    with sqlite3.connect(instance.data / "staterail.sqlite3") as database:  # a row that no release can have written
        columns = [row[1] for row in database.execute("PRAGMA table_info(runs_workflowrun)") if row[1] != "id"]
        database.execute(
            f"INSERT INTO runs_workflowrun (id, {', '.join(columns)})"
            f" SELECT 'no id', {', '.join('NULL' if c == 'idempotency_key' else c for c in columns)}"
            " FROM runs_workflowrun"
        )
        database.execute("UPDATE runs_workflowrun SET wake_at='2020-01-01 00:00:00.000000', lease_owner=NULL")
    database.close()

    assert until(lambda: instance.process.poll() is not None, seconds=40)

    assert instance.process.returncode == 1
    assert "The worker ended, and so does StateRail: ValueError: badly formed" in instance.log


@pytest.mark.chaos
def test_a_worker_with_too_many_stuck_threads_is_replaced_with_its_whole_process(own):
    instance = own().start()
    api = instance.api()
    deaf = task("deaf", "test.ignore_cancel", step={"timeout": "50ms"}, seconds=300)
    stuck = [api.start(api.publish(workflow([deaf]))) for _ in range(16)]
    timer = api.start(api.publish(TIMER))
    pid = instance.process.pid

    until(lambda: "starting anew" in instance.log, seconds=60)
    until(lambda: "StateRail is up" in instance.log.partition("starting anew")[2], seconds=60)

    assert instance.process.poll() is None
    assert instance.readiness()["workers"] == "ok"
    assert instance.process.pid == pid
    assert [api.ended(id)["error"]["code"] for id in stuck] == ["timeout"] * 16
    assert api.ended(timer)["state"] == "completed"
    assert instance.stop()[0] == 0
