"""A worker whose wall clock is wrong, or jumps in the middle of a step: all times that count are the database's."""

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import libfaketime
import pytest

from staterail.testing.definitions import chain, echo, step, task, workflow
from staterail.tests.servers.flows import losses

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
FLOW = workflow(
    [
        task("a", "core.sleep", seconds=3.0),
        step("d", "Delay", {"for": "2s"}),
        task("f", "core.flaky", step={"retry": {"max_attempts": 3, "initial_interval": "1s", "jitter": "none"}},
             succeed_on_attempt=2, value=1),
        step("w", "HumanApproval", {"title": "?", "assignees": []}, timeout="2s"),
        echo("z"),
    ],
    [*chain("a", "d", "f", "w"), {"from": "w", "to": "z", "on": "failure"}],
)  # fmt: skip
SECONDS = 3.0 + 2 + 1 + 2


@contextlib.contextmanager
def wrong_clock(cluster, file):
    """The only worker is one that reads its wall clock from this file, as in `+1h`."""
    for worker in cluster.workers:
        worker.stop()
    wrong = cluster.worker(
        9, LD_PRELOAD=str(LIBRARY), FAKETIME_TIMESTAMP_FILE=str(file), FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_CACHE_DURATION="1", FAKETIME_NO_CACHE="1",
    )  # fmt: skip
    try:
        yield wrong
    finally:
        wrong.stop()


@pytest.mark.parametrize(
    ("skew", "jumps"),
    [
        pytest.param("+1h", True, id="jumps-ahead"),
        pytest.param("-1h", True, id="jumps-back", marks=pytest.mark.chaos),
        pytest.param("+1h", False, id="is-ahead", marks=pytest.mark.chaos),
        pytest.param("-1h", False, id="is-back"),
    ],
)
def test_a_worker_whose_clock_is_an_hour_off_is_neither_early_nor_late(cluster, api, tmp_path, skew, jumps):
    file = tmp_path / "clock"
    file.write_text("+0" if jumps else skew)
    flow = api.publish(FLOW)
    before = datetime.now(UTC)
    with wrong_clock(cluster, file):
        ids = [api.start(flow) for _ in range(20)]
        if jumps:
            api.step_in(ids[-1], "a", "running")
            file.write_text(skew)
        assert set(cluster.ended(ids).values()) == {"completed"}
    after = datetime.now(UTC)

    for id in ids:
        assert losses(api, id) == []
        times = [datetime.fromisoformat(event["ts"]) for event in api.events(id)]
        assert times == sorted(times)
        assert before - timedelta(seconds=1) < times[0] < times[-1] < after + timedelta(seconds=1)
        assert (times[-1] - times[0]).total_seconds() >= SECONDS
