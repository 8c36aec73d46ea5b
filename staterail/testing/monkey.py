"""Faults in an order that a seed says: the same seed, the same faults at the same times.

monkey = Monkey(cluster, seed)
monkey.rage(seconds=60)   # prints the seed and what it does
"""

import random
import signal
import threading
import time
from collections.abc import Callable

import redis

from staterail.testing.cluster import PERSIST, Cluster, Process

PAUSE = (0.5, 3.0)  # seconds between two faults


class Monkey:
    """Faults may overlap: what one broke need not be mended when the next comes."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster, self.seed, self.dice = cluster, seed, random.Random(seed)  # noqa: S311 - no secret
        self._began = time.monotonic()
        self.faults: tuple[Callable[[], None], ...] = (
            self.kill, self.kill, self.stop, self.sleep, self.restart_database, self.restart_redis, self.flush,
            self.cut, self.lose_answers, self.lose_statements, self.stand_still, self.slow_down,
        )  # fmt: skip

    def rage(self, seconds: float) -> None:
        """One fault after the other, for so long; then everything is healed."""
        print(f"monkey: seed {self.seed}")  # noqa: T201 - whoever reads a failure needs it
        self._began = time.monotonic()
        over = threading.Event()
        while time.monotonic() < self._began + seconds:
            fault = self.dice.choice(self.faults)
            self._say(fault.__name__)
            fault()
            over.wait(self.dice.uniform(*PAUSE))
        self._say("heal")
        self.cluster.heal()

    def _say(self, what: str) -> None:
        print(f"monkey: {time.monotonic() - self._began:6.1f} {what}")  # noqa: T201

    def _victim(self) -> Process:
        return self.dice.choice(self.cluster.processes)

    def _rest(self, least: float, most: float) -> None:
        time.sleep(self.dice.uniform(least, most))

    def kill(self) -> None:
        victim = self._victim()
        victim.go_on()
        victim.kill()
        self._rest(0, 2)
        victim.restart()

    def stop(self) -> None:
        victim = self._victim()
        if victim.runs:
            victim.stop()
        victim.restart()

    def sleep(self) -> None:
        """A worker is paused, sometimes beyond its lease."""
        victim = self.dice.choice(self.cluster.workers)
        victim.pause()
        self._rest(0.1, 20)
        victim.go_on()

    def restart_database(self) -> None:
        self.cluster.postgres.stop(self.dice.choice([signal.SIGQUIT, signal.SIGINT]))
        self._rest(0, 1)
        self.cluster.postgres.start()

    def restart_redis(self) -> None:
        self.cluster.redis.stop()
        self._rest(0, 3)
        self.cluster.redis.start()

    def flush(self) -> None:
        redis.Redis(port=self.cluster.redis.port).flushall()

    def cut(self) -> None:
        for proxy in (self.cluster.to_postgres, self.cluster.web_to_postgres, self.cluster.to_redis):
            if self.dice.random() < 0.6:
                proxy.cut()

    def lose_answers(self) -> None:
        self.cluster.to_postgres.lose(self.dice.randint(1, 5), PERSIST, every=2)
        self.cluster.web_to_postgres.lose(self.dice.randint(1, 3), b"COMMIT")

    def lose_statements(self) -> None:
        self.cluster.to_postgres.lose(self.dice.randint(1, 5), b"runs_", what="statement", every=7)

    def stand_still(self) -> None:
        proxy = self.dice.choice([self.cluster.to_postgres, self.cluster.web_to_postgres, self.cluster.to_redis])
        proxy.pause()
        self._rest(0.1, 4)
        proxy.go_on()

    def slow_down(self) -> None:
        proxy = self.dice.choice([self.cluster.to_postgres, self.cluster.to_redis])
        proxy.delay = self.dice.uniform(0.001, 0.05)
        self._rest(0.5, 3)
        proxy.delay = 0.0
