"""The whole of StateRail in one process: web server, Celery worker with its reactor, SQLite.

The process lives as long as its worker does. A web server that answers while nobody moves the
runs would look well and be dead, so the end of the worker ends the process, in good order.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import uvicorn
from celery.worker import WorkController
from django.conf import settings

from runs import reactor
from runs.models import WorkflowRun
from staterail.celery import app

logger = logging.getLogger(__name__)
WORKER_STOP_SECONDS = 25.0  # attempts end or are put back meanwhile
WEB_STOP_SECONDS = 5  # answers under way end meanwhile
LOOK_SECONDS = 0.2  # how often the worker's life is looked at


class WorkerEnded(Exception):
    """The worker ended though nobody asked it to; the message says why."""

    def __init__(self, message: str, *, crashed: bool) -> None:
        super().__init__(message)
        self.crashed = crashed  # else it makes room for a new one, as it should


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
        self._reactor: Any = None

    def _work(self) -> None:
        with contextlib.suppress(SystemExit):
            self.controller.start()

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Finish or put back what executes, then end."""
        self.controller.stop()
        self.thread.join(WORKER_STOP_SECONDS)

    def end(self) -> WorkerEnded | None:
        """Why it does not work any more, or None as long as it does."""
        self._reactor = self._reactor or reactor.current()
        if self._reactor is not None and not self._reactor.is_alive():
            failure = self._reactor.failure
            if failure is None:
                return WorkerEnded("too many of its threads are stuck", crashed=False)
            return WorkerEnded(f"{type(failure).__name__}: {failure}", crashed=True)
        return None if self.thread.is_alive() else WorkerEnded("Celery's part of it stopped", crashed=True)


class Keeper(threading.Thread):
    """Watches the worker while it should work, and stops it once it should not: beside the last answers, not after."""

    def __init__(self, worker: Worker, server: Server) -> None:
        super().__init__(name="keeper")
        self.worker, self.server = worker, server
        self.asked = threading.Event()
        self.ended: WorkerEnded | None = None

    def run(self) -> None:
        while not self.asked.wait(LOOK_SECONDS):
            self.ended = self.worker.end()
            if self.ended is not None:
                logger.error("the worker ended: %s", self.ended)
                self.server.should_exit = True
                break
        self.worker.stop()


def serve(host: str, port: int, ready: Callable[[], None]) -> None:
    """Run until SIGTERM, SIGHUP or Ctrl-C; a second one does not wait for answers under way.

    `ready` is called once requests are answered. Raises WorkerEnded.
    """
    config = uvicorn.Config(
        "staterail.asgi:application", host=host, port=port, lifespan="off", ws="none", log_level="warning",
        access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=WEB_STOP_SECONDS, server_header=False,
        h11_max_incomplete_event_size=32 * 1024,
    )  # fmt: skip
    server, worker = Server(config), Worker()
    keeper = Keeper(worker, server)

    def stop(signum: int, _frame: FrameType | None) -> None:
        logger.info("stopping (%s)", signal.Signals(signum).name)
        server.force_exit = server.should_exit
        server.should_exit = True
        keeper.asked.set()

    for name in _stop_signals():
        signal.signal(name, stop)
    worker.start()
    keeper.start()
    threading.Thread(target=_tell_when_ready, args=(server, ready), name="greeter", daemon=True).start()
    try:
        server.run()
    finally:
        keeper.asked.set()
        keeper.join()
    if keeper.ended is not None:
        raise keeper.ended


def take_over() -> int:
    """Make the runs of a process that died due at once, not when its leases end. How many there were.

    Only for the holder of the data folder's lock: nobody else lives on this data, so every lease is
    a dead process's. Like a renewal this moves `wake_at` alone; the claim that follows raises the
    revision, and finds by it what the dead process was executing.
    """
    return WorkflowRun.objects.filter(lease_owner__isnull=False).update(wake_at=datetime.now(UTC))


def start_anew() -> None:
    """Replace this process by a new one with the same command line. What still hangs in a thread ends with it."""
    command = [sys.executable, *sys.orig_argv[1:]]
    if "--no-browser" not in command:
        command.append("--no-browser")  # it is open already
    os.execv(sys.executable, command)  # noqa: S606 — our own command line


def allow_demo(port: int) -> None:
    """The sample may call this server's own demo endpoint, and nothing else of it."""
    settings.STATERAIL_HTTP_ALLOW = [*settings.STATERAIL_HTTP_ALLOW, f"127.0.0.1:{port}/demo/"]


def _stop_signals() -> Iterator[signal.Signals]:
    yield from (signal.SIGTERM, signal.SIGINT)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup a closed terminal ends nothing
        yield signal.SIGHUP


def _tell_when_ready(server: Server, ready: Callable[[], None]) -> None:
    waited = threading.Event()
    while not server.started and not server.should_exit:
        waited.wait(0.02)
    if server.started:
        ready()
