"""What a reactor has of the process around it, beside its store: time, chance, threads, and its word that it lives.

A simulation hands in its own, and turns several reactors in one thread without a wait.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any
from uuid import UUID, uuid4

from django.db import connection

from runs import workers
from runs.reactor.pool import Pool


def _disconnect() -> None:
    connection.close()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Those of a process, unless told otherwise."""

    monotonic: Callable[[], float] = time.monotonic  # seconds
    random: Callable[[], float] = random.random  # in [0, 1): jitter spreads retries, it is no secret
    owner: Callable[[], UUID] = uuid4
    inbox: Callable[[], "SimpleQueue[Any]"] = SimpleQueue
    pool: Callable[..., Pool] = Pool
    beat: Callable[[UUID, str, str, dict[str, int]], None] = workers.beat
    leave: Callable[[UUID], None] = workers.leave
    disconnect: Callable[[], None] = _disconnect  # this thread's connection to the database
