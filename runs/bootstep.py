"""How a Celery worker gets its reactor: a step of the worker's start, for the pool `threads` only."""

import gc
import logging
import os
import threading
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from celery import bootsteps
from celery.worker import state
from django.conf import settings

from runs import doorbell, store
from runs.executors.http_call import HttpExecutor
from runs.executors.isolated import run_alone
from runs.executors.script import ScriptExecutor
from runs.executors.task import execute as execute_task
from runs.housekeeping import Housekeeper
from runs.reactor.loop import Reactor
from staterail.core.net.guard import AllowList

logger = logging.getLogger(__name__)
STOP_SECONDS = 5.0  # for attempts to end before they are put back


def make_reactor() -> Reactor:
    """A reactor over this process's database and settings."""
    executors = {
        "Task": execute_task,
        "HttpCall": HttpExecutor(AllowList.parse(settings.STATERAIL_HTTP_ALLOW, own_hosts())).execute,
        "Script": ScriptExecutor(
            settings.STATERAIL_SCRIPT_PROCESSES or None, strict=settings.STATERAIL_SCRIPT_ISOLATION == "strict"
        ).execute,
    }
    alone = partial(run_alone, allow=settings.STATERAIL_HTTP_ALLOW, own=own_hosts())
    send = None if settings.EMBEDDED or not settings.REDIS_URL else doorbell.send_isolated
    return Reactor(store.current(), settings.STATERAIL_THREADS, executors, alone, send=send)


def collect_seldom() -> None:
    """The runs that a reactor holds live long and have no cycles: looking for some all the time cost 8 % of a step."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def own_hosts() -> list[str]:
    """The hosts that no HttpCall reaches unless the allow list says so: this server, its database, its Redis."""
    servers = [urlsplit(url).hostname for url in (settings.DATABASE_URL, settings.REDIS_URL) if url]
    return [*settings.ALLOWED_HOSTS, *filter(None, servers)]


class ReactorStep(bootsteps.StartStopStep):
    """Starts one reactor in a worker of the queue `runs`, and stops it in good order.

    A worker without its reactor would look well and do nothing: where the reactor ends by itself
    (too many of its threads are stuck, or it died), the worker ends too, for its supervisor.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.reactor: Reactor | None = None
        self.housekeeper = Housekeeper()
        self._asked = False
        self.wanted = _is_threads(parent.pool_cls) and "runs" in parent.app.amqp.queues.consume_from
        if not self.wanted:
            logger.info("no reactor here: it needs the queue `runs` and --pool threads")

    def start(self, parent: Any) -> None:
        if self.wanted:
            collect_seldom()
            self.reactor = make_reactor()
            self.reactor.start()
            self.housekeeper.start()
            threading.Thread(target=self._watch, args=(self.reactor,), name="reactor-watch", daemon=True).start()

    def _watch(self, reactor: Reactor) -> None:
        reactor.join()
        if not self._asked:
            logger.error("the reactor ended: this worker stops")
            worker_state: Any = state
            worker_state.should_stop = os.EX_OK if reactor.failure is None else os.EX_SOFTWARE

    def stop(self, parent: Any) -> None:
        self._asked = True
        self.housekeeper.stop()
        if self.reactor is not None:
            self.reactor.stop(STOP_SECONDS)
            self.reactor.join(STOP_SECONDS + 20)

    terminate = stop


def _is_threads(pool: Any) -> bool:
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    return "thread" in name
