"""Prometheus' view: what the database knows of all workers, and each worker's own figures. To loopback or a token.

Nothing here counts a table through: the gauges read partial indexes, which hold what is open.
"""

from collections.abc import Iterator

from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from runs import store, workers
from runs.models import CircuitBreaker, StepRun, WorkflowRun
from staterail.accounts.tokens import actor_of_token

LOOPBACK = frozenset({"127.0.0.1", "::1"})


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text."""
    if not _may(request):
        return HttpResponse("A token is needed from there.", status=401, headers={"WWW-Authenticate": "Bearer"})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Engine())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return actor_of_token(token.strip()) is not None
    forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return request.META.get("REMOTE_ADDR") in LOOPBACK and not forwarded


class _Engine(Collector):
    def collect(self) -> Iterator[Metric]:
        now = store.current().now()
        awake = WorkflowRun.objects.filter(wake_at__isnull=False)
        yield GaugeMetricFamily("staterail_runs_awake", "Open runs that have a time to be looked at", awake.count())
        due = awake.filter(wake_at__lte=now)
        yield GaugeMetricFamily("staterail_runs_due", "Runs that wait for a worker to claim them", due.count())
        oldest = due.aggregate(first=Min("wake_at"))["first"]
        late = (now - oldest).total_seconds() if oldest is not None else 0.0
        yield GaugeMetricFamily("staterail_oldest_due_seconds", "How long the longest of them has waited", late)
        held = WorkflowRun.objects.filter(admission="held").count()
        yield GaugeMetricFamily("staterail_runs_held", "Runs held back by max_concurrent_runs", held)
        asks = StepRun.objects.filter(asks=True).count()
        yield GaugeMetricFamily("staterail_approvals_waiting", "Approvals that wait for a person", asks)
        dead = StepRun.objects.filter(dead=True).count()
        yield GaugeMetricFamily("staterail_dead_letters", "Steps that killed every worker that tried them", dead)
        breakers = GaugeMetricFamily("staterail_breakers", "Circuit breakers by state", labels=["state"])
        for state, count in CircuitBreaker.objects.values_list("state").annotate(count=Count("id")):
            breakers.add_metric([state], count)
        yield breakers
        yield from _of_workers()


def _of_workers() -> Iterator[Metric]:
    alive = workers.alive()
    count = GaugeMetricFamily("staterail_workers", "Workers that have given word lately", labels=["queue"])
    for queue in ("runs", "tasks", "readers"):
        count.add_metric([queue], sum(worker.queue == queue for worker in alive))
    yield count
    for name in sorted({name for worker in alive for name in worker.figures}):
        family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        figure = family(f"staterail_worker_{name.removesuffix('_total')}", "A worker's own figure", labels=["worker"])
        for worker in alive:
            if name in worker.figures:
                figure.add_metric([worker.name], worker.figures[name])
        yield figure
