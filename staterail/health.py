"""Is it alive, can it work? For load balancers, and for `make up`."""

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from runs import reactor, workers
from staterail.core.database import ping


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """`ok`, `degraded` or `none` for each part; 503 only without the database: all else has a net under it."""
    database = ping()
    parts = {
        "database": "ok" if database else "none",
        "broker": _broker(),
        "channel_layer": _channel_layer(),
        "workers": _workers() if database else "none",
    }
    return JsonResponse(parts, status=200 if database else 503)


def _workers() -> str:
    """Of the queue `runs`: the one in this process, else what the others told the database."""
    here = reactor.current()
    if here is None:
        return workers.status()
    return "ok" if here.is_alive() and here.failure is None else "degraded"


def _broker() -> str:
    return _redis() if settings.REDIS_URL else "ok"


def _channel_layer() -> str:
    return _redis() if settings.REDIS_URL else "ok"


def _redis() -> str:
    import redis

    try:
        client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5)
        client.ping()
    except redis.RedisError:
        return "degraded"
    return "ok"
