"""Rings the reactors: there is work. A message carries nothing that matters and may be lost.

A reactor of this very process is rung directly. Others are rung through the broker by a
background thread, over a connection that is kept: at most once in 10 ms, not while a hundred rings
lie in the queue, and a dead broker delays no commit and no answer.
"""

import logging
import math
import threading
import time
from collections import deque
from typing import Any
from uuid import UUID

from celery import current_app as app
from django.conf import settings
from django.db import transaction
from kombu.pools import connections

from runs import reactor

logger = logging.getLogger(__name__)
PAUSE_SECONDS = 0.01
FULL = 100  # rings that nobody has heard yet
UNSEEN = 10  # rings between two looks at how many there are
IMPATIENT = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "max_retries": 0}


class Doorbell:
    """Collects rings and pokes from any thread and sends them from its own."""

    def __init__(self) -> None:
        self._pressed = threading.Event()
        self._pokes: set[UUID] = set()
        self._sends: deque[tuple[str, dict[str, Any], float]] = deque(maxlen=1000)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pool: Any = None
        self._unseen = 0  # rings that may be sent without a look at the queue
        self._reached = True

    def send(self, step_of: dict[str, Any], limit: float) -> None:
        """Send an isolated step to the queue `tasks`, its execution killed after `limit` seconds."""
        self._sends.append(("runs.execute_isolated", step_of, limit))
        self.ring()

    def ring(self, *poked: UUID) -> None:
        with self._lock:
            self._pokes.update(poked)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send, name="doorbell", daemon=True)
                self._thread.start()
        self._pressed.set()

    def _send(self) -> None:
        while self._pressed.wait():
            self._pressed.clear()
            with self._lock:
                pokes, self._pokes = self._pokes, set()
            self._deliver(pokes)
            time.sleep(PAUSE_SECONDS)

    def _deliver(self, pokes: set[UUID]) -> None:
        """Once more over a new connection where the kept one has broken; the poll finds what a lost ring had told."""
        for last in (False, True):
            try:
                self._publish(pokes)
            except Exception as error:
                if last and self._reached:
                    logger.warning("the broker cannot be reached, reactors find their work by looking: %s", error)
                self._reached = self._reached and not last
            else:
                self._reached = True
                return

    def _publish(self, pokes: set[UUID]) -> None:
        pool = self._pool = self._pool or _pool()
        connection = pool.acquire(block=True)
        try:
            self._say(connection, pokes)
        except BaseException:
            pool.replace(connection)
            self._pool, self._unseen = None, 0
            raise
        connection.release()

    def _say(self, connection: Any, pokes: set[UUID]) -> None:
        if pokes:
            names = [str(id) for id in pokes]
            app.control.broadcast("poke", arguments={"run_ids": names}, connection=connection)
        while self._sends:
            name, kwargs, limit = self._sends[0]
            app.send_task(
                name, kwargs=kwargs, queue="tasks", connection=connection, retry=False, time_limit=math.ceil(limit)
            )
            self._sends.popleft()
        if self._unseen == 0:
            queue = connection.default_channel.queue_declare("runs", durable=True)  # passive, an empty one would raise
            self._unseen = max(0, min(UNSEEN, FULL - queue.message_count))
        if self._unseen > 0:
            self._unseen -= 1
            app.send_task("runs.wake", queue="runs", connection=connection, retry=False, ignore_result=True)


def _pool() -> Any:
    """Connections that do not wait for long, to where the broker is now."""
    options = {**app.conf.broker_transport_options, **IMPATIENT}
    return connections[app.connection_for_write(transport_options=options)]


_doorbell = Doorbell()
MAX_TASK_SECONDS = 24 * 3600.0  # of an isolated task without a timeout
KILL_AFTER_SECONDS = 2.0  # past its timeout


def send_isolated(run_id: UUID, step_id: str, timeout: float | None) -> None:
    """Tell a worker of the queue `tasks` to take this step. Does not block; may be lost."""
    limit = MAX_TASK_SECONDS if timeout is None else timeout + KILL_AFTER_SECONDS
    _doorbell.send({"run_id": str(run_id), "step_id": step_id, "timeout": timeout}, limit)


def ring_after_commit(*poked: UUID) -> None:
    """After this transaction: there is work; `poked` are runs that somebody owns and we wrote to."""
    transaction.on_commit(lambda: _ring(poked))


def _ring(poked: tuple[UUID, ...]) -> None:
    here = reactor.current()
    if here is not None:
        if poked:
            here.poke(*poked)
        here.ring()
    if here is None or settings.REDIS_URL:
        _doorbell.ring(*poked)
