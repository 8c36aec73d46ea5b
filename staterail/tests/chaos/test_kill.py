"""kill -9 of everything, again and again, on one data folder."""

import contextlib
import random
import threading
import time
from datetime import datetime

import httpx
import pytest

from staterail.testing.definitions import chain, echo, edge, step, task, workflow
from staterail.testing.server import FINAL, until

RUNS = 100
WORK = workflow(
    [
        echo("first", n=1),
        task("left", "core.sleep", seconds=0.3),
        task(
            "right",
            "core.flaky",
            step={"retry": {"max_attempts": 9, "initial_interval": "200ms"}},
            succeed_on_attempt=2,
        ),
        step("pause", "Delay", {"for": "400ms"}),
        step(
            "script",
            "Script",
            {"source": "def main(args):\n    return 1 + args['n']", "args": {"n": "${steps.first.output.n}"}},
        ),
        task("last", "core.sleep", seconds=0.1),
    ],
    [
        edge("first", "left"),
        edge("first", "right"),
        *chain("first", "pause", "script", "last"),
        edge("left", "last"),
        edge("right", "last"),
    ],
    output={"n": "${steps.script.output}"},
)
ROUNDS = [pytest.param(3, id="3 rounds"), pytest.param(20, id="20 rounds", marks=pytest.mark.chaos)]


def _start_until_it_dies(api, flow, acknowledged):
    with contextlib.suppress(httpx.TransportError):
        while True:
            acknowledged.append(api.start(flow))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_after_kill_9_every_acknowledged_run_is_there_and_completes_and_no_invariant_breaks(own, rounds):
    instance, luck = own().start(), random.Random(20)  # noqa: S311
    api = instance.api()
    flow = api.publish(WORK)
    acknowledged = []
    for _ in range(rounds):
        acknowledged += api.start_many(flow, RUNS)
        client = threading.Thread(target=_start_until_it_dies, args=(api, flow, acknowledged))
        client.start()
        until(lambda: api.runs(state="running"), what="runs are running")
        time.sleep(luck.uniform(0.0, 0.8))  # the moment of the cut
        instance.kill()
        client.join()
        instance.start()

    until(lambda: not _open(api), seconds=60, every=0.3, what="every run ends")

    states = {run["id"]: run["state"] for run in api.runs()}
    assert {id: states.get(id) for id in acknowledged} == dict.fromkeys(acknowledged, "completed")
    assert set(states.values()) == {"completed"}
    assert api.run(acknowledged[0])["output"] == {"n": 2}
    assert instance.command("check_invariants").stdout.strip().endswith("0 are broken")


def _open(api):
    return [run for state in ("created", "pending", "running") for run in api.runs(state=state)]


def test_after_kill_9_runs_go_on_at_once_and_a_step_that_was_killed_three_times_is_no_poison(own):
    instance = own().start()
    api = instance.api()
    run_id = api.start(api.publish(workflow([task("long", "core.sleep", seconds=600)])))
    for attempt in range(1, 4):
        api.when(run_id, lambda run, n=attempt: run["step_runs"][0]["attempt"] == n)
        instance.kill()
        instance.start()
        ready = time.time()

        api.when(run_id, lambda run, n=attempt + 1: run["step_runs"][0]["attempt"] == n)

        started = datetime.fromisoformat(api.step(run_id, "long")["started_at"]).timestamp()
        assert started - ready < 5, "not before the dead process's lease ran out"

    told = [
        (e["state_after"], (e["payload"].get("error") or {}).get("code")) for e in api.events(run_id) if e["step_id"]
    ]
    lost = [("queued", "worker_lost"), ("running", None)]
    assert told == [("queued", None), ("running", None), *(lost * 3)]
    api.must("POST", f"/api/v1/runs/{run_id}/cancel", {})
    assert api.ended(run_id)["state"] in FINAL
