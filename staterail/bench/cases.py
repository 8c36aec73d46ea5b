"""The cases. Each runs alone in a fresh process on a fresh data folder and returns its figures."""

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from celery import current_app
from celery.worker import WorkController

from runs.bootstep import collect_seldom, make_reactor
from runs.models import WorkflowRun
from runs.reactor.loop import Reactor
from runs.services import RunRequest, start_run, start_runs
from staterail.accounts.services import tenant_by_name_or_new
from staterail.bench.figures import quantile, sequence
from staterail.bench.web import start_under_load
from staterail.core.actor import Actor, Role
from workflows.models import Workflow
from workflows.selectors import workflow_of
from workflows.services import deploy

Figures = dict[str, float]
STUCK_SECONDS = 300.0


def throughput(runs: int, steps: int) -> Figures:
    """`runs` runs of `steps` no-op steps in sequence, stored before the reactor starts."""
    actor, workflow = _workflow(sequence(steps))
    for start in range(0, runs, 1000):
        start_runs(actor=actor, workflow=workflow, requests=[RunRequest()] * min(1000, runs - start))
    began, cpu = time.perf_counter(), time.process_time()
    with _reactor() as reactor:
        _wait_for(lambda: not WorkflowRun.objects.filter(wake_at__isnull=False).exists(), pause=0.1)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        batches = reactor.batches
    ended = WorkflowRun.objects.filter(state="completed").count()
    if ended != runs:
        raise AssertionError(f"{runs - ended} runs did not complete")
    done = runs * steps
    return {
        "steps_per_second": done / seconds, "cpu_us_per_step": cpu / done * 1e6, "seconds": seconds,
        "batches": batches, "peak_mb": _peak_mb(),
    }  # fmt: skip


def latency(runs: int, steps: int) -> Figures:
    """One run of `steps` no-op steps at a time on an idle reactor: from its start to its end, as its rows say."""
    actor, workflow = _workflow(sequence(steps))
    took = []
    with _reactor():
        for _ in range(runs):
            id = start_run(actor=actor, workflow=workflow, input={}).run_id
            took.append(_milliseconds(id))
    return {"p50_ms": quantile(took, 0.5), "p95_ms": quantile(took, 0.95), "peak_mb": _peak_mb()}


def celery(tasks: int) -> Figures:
    """Celery's own floor here: no-op tasks through the same broker and pool."""
    done = threading.Semaphore(0)

    @current_app.task(name="bench.noop", ignore_result=True)
    def noop() -> None:
        done.release()

    worker: Any = WorkController(
        app=current_app, pool_cls="threads", concurrency=2, queues=["bench"], loglevel="WARNING",
        without_heartbeat=True, without_mingle=True, without_gossip=True,
    )  # fmt: skip
    threading.Thread(target=worker.start, daemon=True).start()
    noop.apply_async(queue="bench")
    done.acquire()
    began = time.perf_counter()
    for _ in range(tasks):
        noop.apply_async(queue="bench")
    for _ in range(tasks):
        done.acquire()
    return {"tasks_per_second": tasks / (time.perf_counter() - began)}


def fan_out(steps: int, output_bytes: int) -> Figures:
    """One run that fans out to `steps` steps, then one whose step returns `output_bytes`: what it takes at its peak."""
    edges = [{"from": "start", "to": f"s{n}"} for n in range(steps)]
    noop = {"kind": "Task", "config": {"name": "core.noop", "args": {}}}
    wide = {
        "schema": "staterail.workflow/v1",
        "steps": [{"id": "start", **noop}, *({"id": f"s{n}", **noop} for n in range(steps))],
        "transitions": edges,
    }
    source = f"def main(args):\n    return 'x' * {output_bytes - 2}"
    big: dict[str, Any] = {
        "schema": "staterail.workflow/v1",
        "steps": [{"id": "big", "kind": "Script", "config": {"source": source, "args": {}}}],
        "transitions": [],
    }
    began = time.perf_counter()
    with _reactor():
        for definition in (wide, big):
            actor, workflow = _workflow(definition)
            _milliseconds(start_run(actor=actor, workflow=workflow, input={}).run_id)
    return {"seconds": time.perf_counter() - began, "peak_mb": _peak_mb()}


CASES: dict[str, Callable[..., Figures]] = {
    "throughput": throughput, "latency": latency, "celery": celery, "fan_out": fan_out,
    "web": start_under_load,
}  # fmt: skip


def _workflow(definition: dict[str, Any]) -> tuple[Actor, Workflow]:
    tenant = tenant_by_name_or_new("bench")
    actor = Actor(tenant.id, Role.ADMIN, "bench")
    slug = f"bench-{len(definition['steps'])}"
    deploy(actor=actor, slug=slug, name=slug, definition=definition)
    return actor, workflow_of(actor, slug)


@contextmanager
def _reactor() -> Iterator[Reactor]:
    collect_seldom()
    reactor = make_reactor()
    reactor.start()
    try:
        yield reactor
    finally:
        reactor.stop()
        reactor.join()


def _milliseconds(run_id: UUID) -> float:
    run = WorkflowRun.objects.filter(id=run_id, completed_at__isnull=False)
    _wait_for(run.exists, pause=0.002)
    row = run.get()
    if row.state != "completed":
        raise AssertionError(f"the run is {row.state}: {row.error}")
    assert row.completed_at is not None
    return (row.completed_at - row.created_at).total_seconds() * 1000


def _wait_for(done: Callable[[], bool], pause: float = 0.05) -> None:
    until = time.monotonic() + STUCK_SECONDS
    while not done():
        if time.monotonic() > until:
            raise AssertionError("the bench is stuck")
        time.sleep(pause)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
