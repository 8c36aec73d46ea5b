"""The whole of StateRail in one process: web server, Celery worker with its reactor, SQLite."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from celery.worker import WorkController
from django.conf import settings

from runs.models import WorkflowRun
from staterail.celery import app

logger = logging.getLogger(__name__)
STOP_SECONDS = 25.0


class Server(uvicorn.Server):
    """uvicorn without its signal handling: it would end the process before the worker has stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Worker:
    """A Celery worker in a thread of its own."""

    def __init__(self) -> None:
        self.controller: Any = WorkController(
            app=app, pool_cls="threads", concurrency=2, queues=["runs"], loglevel=logging.WARNING,
            without_heartbeat=True, without_mingle=True, without_gossip=True,
        )  # fmt: skip
        self.thread = threading.Thread(target=self._work, name="celery-worker", daemon=True)

    def _work(self) -> None:
        with contextlib.suppress(SystemExit):
            self.controller.start()

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Finish or put back what executes, then end."""
        self.controller.stop()
        self.thread.join(STOP_SECONDS)


def take_over() -> None:
    """Nobody else lives on this data: leases of a process that died need not run out first."""
    from datetime import UTC, datetime

    WorkflowRun.objects.filter(lease_owner__isnull=False, wake_at__isnull=False).update(wake_at=datetime.now(UTC))


def serve(host: str, port: int, ready: Any) -> None:
    """Run until SIGTERM or Ctrl-C. `ready` is called once requests are answered."""
    config = uvicorn.Config(
        "staterail.asgi:application", host=host, port=port, lifespan="off", ws="none", log_level="warning",
        access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=5, server_header=False,
        h11_max_incomplete_event_size=32 * 1024,
    )  # fmt: skip
    server = Server(config)
    worker = Worker()

    def stop(signum: int, _frame: Any) -> None:
        logger.info("stopping (%s)", signal.Signals(signum).name)
        if server.should_exit:
            server.force_exit = True
        server.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    worker.start()
    watcher = threading.Thread(target=_tell_when_ready, args=(server, ready), daemon=True)
    watcher.start()
    try:
        server.run()
    finally:
        worker.stop()


def _tell_when_ready(server: Server, ready: Any) -> None:
    waited = threading.Event()
    while not server.started and not server.should_exit:
        waited.wait(0.02)
    if server.started:
        ready()


def allow_demo(port: int) -> None:
    """The sample may call this server's own demo endpoint, and nothing else of it."""
    settings.STATERAIL_HTTP_ALLOW = [*settings.STATERAIL_HTTP_ALLOW, f"127.0.0.1:{port}/demo/"]
