"""Which workers are alive: each tells the database every few seconds that it has looked for work."""

from datetime import timedelta
from uuid import UUID

from runs import store
from runs.models import Worker

BEAT = timedelta(seconds=5)
FRESH = timedelta(seconds=15)  # since its last word: alive
STALE = timedelta(minutes=5)  # longer silent: gone


def beat(id: UUID, name: str, queue: str, figures: dict[str, int] | None = None) -> None:
    """This worker is alive: it has claimed, or found nothing to claim. `figures` are what /metrics shows of it."""
    now, told = store.current().now(), figures or {}
    if not Worker.objects.filter(id=id).update(seen_at=now, figures=told):
        Worker.objects.create(id=id, name=name[:100], queue=queue, started_at=now, seen_at=now, figures=told)
        Worker.objects.filter(seen_at__lt=now - timedelta(days=1)).delete()


def leave(id: UUID) -> None:
    """An orderly end."""
    Worker.objects.filter(id=id).delete()


def alive() -> list[Worker]:
    """Those that have given word lately."""
    return list(Worker.objects.filter(seen_at__gte=store.current().now() - FRESH).order_by("name"))


def status(queue: str = "runs") -> str:
    """`ok`, `degraded` (all have fallen silent) or `none`."""
    now = store.current().now()
    newest = Worker.objects.filter(queue=queue).order_by("-seen_at").values_list("seen_at", flat=True).first()
    if newest is None or newest < now - STALE:
        return "none"
    return "ok" if newest >= now - FRESH else "degraded"


def is_alive_on(host: str) -> bool:
    """Whether a worker on this host has given word lately."""
    return Worker.objects.filter(name__startswith=f"{host}:", seen_at__gte=store.current().now() - 2 * FRESH).exists()
