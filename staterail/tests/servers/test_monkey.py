"""Several faults at once, in an order that a seed says. STATERAIL_CHAOS_SEED tries one of your own."""

import contextlib
import os
import threading
from collections import Counter

import httpx
import pytest

from staterail.testing.definitions import chain, echo, edge, step, task, workflow
from staterail.testing.monkey import Monkey
from staterail.tests.servers.flows import LONG
from staterail.tests.servers.starter import Starter

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
CHAOS = pytest.mark.chaos
SEEDS = [int(os.environ["STATERAIL_CHAOS_SEED"])] if "STATERAIL_CHAOS_SEED" in os.environ else [*range(1, 11)]


def flows(api, ledger):
    """One workflow of each kind of run that a monkey should meet."""
    retried = task("r", "core.flaky", step={"retry": {"max_attempts": 3, "initial_interval": "200ms"}},
                   succeed_on_attempt=2, value=1)  # fmt: skip
    wide = [task(f"s{n}", "core.sleep", seconds=0.02) for n in range(20)]
    kinds = {
        "long": LONG,
        "effect": workflow([task("a", "test.effect", path=str(ledger), seconds=0.05), echo("b")], chain("a", "b")),
        "retried": workflow([retried, step("d", "Delay", {"for": "300ms"}), echo("c")], chain("r", "d", "c")),
        "wide": workflow(
            [echo("a"), *wide, echo("z")],
            [*(edge("a", s["id"]) for s in wide), *(edge(s["id"], "z") for s in wide)],
        ),
        "isolated": workflow([task("i", "test.isolated_sleep", seconds=0.3), echo("z")], chain("i", "z")),
        "limited": workflow([task("a", "core.sleep", seconds=0.05)], max_concurrent_runs=3),
        "script": workflow([step("p", "Script", {"source": "def main(args):\n    return 1"}), echo("z")],
                           chain("p", "z")),
        "asked": workflow([step("w", "HumanApproval", {"title": "?", "assignees": []}, timeout="2s")]),
    }  # fmt: skip
    return {name: api.publish(definition) for name, definition in kinds.items()}


class Meddler(threading.Thread):
    """Cancels some runs and decides some approvals, whatever becomes of that."""

    def __init__(self, api, starters):
        super().__init__(daemon=True)
        self.api, self.starters, self.over = api, starters, threading.Event()

    def run(self):
        n = 0
        while not self.over.wait(0.3):
            n += 1
            known = self.starters[n % len(self.starters)].acknowledged
            if known:
                path, body = ("cancel", {}) if n % 3 else ("steps/w/transition", {"action": "approve"})
                with contextlib.suppress(httpx.TransportError):
                    self.api.call("POST", f"/api/v1/runs/{known[-1]}/{path}", body)


@pytest.mark.parametrize(
    ("seed", "seconds"), [(0, 12), *(pytest.param(seed, 60, marks=CHAOS) for seed in SEEDS)]
)  # fmt: skip
def test_no_run_is_lost_stuck_or_done_twice_whatever_the_monkey_does(cluster, api, tmp_path, seed, seconds):
    ledger = tmp_path / "ledger"
    known = flows(api, ledger)
    starters = [Starter(api, flow, every=0.15) for flow in known.values()]
    meddler = Meddler(api, starters)
    for thread in (*starters, meddler):
        thread.start()

    Monkey(cluster, seed).rage(seconds)
    for thread in (*starters, meddler):
        thread.over.set()
    for thread in (*starters, meddler):
        thread.join(60)

    acknowledged = [id for starter in starters for id in starter.acknowledged]
    states = cluster.ended(acknowledged, seconds=120)
    asked = set(starters[list(known).index("asked")].acknowledged)
    assert {state for id, state in states.items() if id not in asked} <= {"completed", "cancelled"}
    assert set(starter_codes(starters)) <= {(503, "UNAVAILABLE", True)}
    for name, starter in zip(known, starters, strict=True):
        assert len(set(starter.acknowledged)) == len(starter.acknowledged), name
    effects = Counter(line.split()[0] for line in ledger.read_text().splitlines())
    effect_runs = starters[list(known).index("effect")].acknowledged
    assert {id for id in effect_runs if states[id] == "completed"} <= {key.split(":")[0] for key in effects}
    cluster.check_invariants()


def starter_codes(starters):
    return [refusal for starter in starters for refusal in starter.refused]
