"""How long a caller waits while the engine is busy: one process serves and works (embedded mode)."""

import re
import tempfile
import threading
import time
from pathlib import Path

from staterail.bench.figures import quantile, sequence
from staterail.testing.server import Api, Instance

BATCH = 200
BACKLOG = 2_000  # runs that wait, at least: the reactor is never idle
PAUSE_SECONDS = 0.05


def start_under_load(seconds: int, steps: int) -> dict[str, float]:
    """`POST …/runs`, twenty a second, while runs of no-op steps keep the reactor busy."""
    with tempfile.TemporaryDirectory(prefix="staterail-bench-") as folder, Instance(Path(folder)) as instance:
        api = instance.api()
        workflow = api.publish(sequence(steps))
        over, took = threading.Event(), []
        feeder = threading.Thread(target=_feed, args=(api, workflow, over))
        feeder.start()
        try:
            while _figure(api, "staterail_runs_awake") < BACKLOG / 2:
                time.sleep(PAUSE_SECONDS)
            began, before = time.perf_counter(), _figure(api, "staterail_worker_persisted_total")
            while time.perf_counter() - began < seconds:
                at = time.perf_counter()
                api.must("POST", f"/api/v1/workflows/{workflow}/runs", {"input": {}})
                took.append((time.perf_counter() - at) * 1000)
                time.sleep(PAUSE_SECONDS)
            stored = _figure(api, "staterail_worker_persisted_total") - before
            lasted = time.perf_counter() - began
        finally:
            over.set()
            feeder.join()
    return {"decisions_per_second": stored / lasted, "p50_ms": quantile(took, 0.5), "p95_ms": quantile(took, 0.95)}


def _feed(api: Api, workflow: str, over: threading.Event) -> None:
    while not over.wait(PAUSE_SECONDS):
        if _figure(api, "staterail_runs_awake") < BACKLOG:
            api.must("POST", f"/api/v1/workflows/{workflow}/runs/batch", {"runs": [{"input": {}}] * BATCH})


def _figure(api: Api, name: str) -> float:
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", api.text("/metrics"), re.MULTILINE)
    return float(found.group(1)) if found else 0.0
