"""StateRail on servers, for tests: PostgreSQL, Redis, a web process and workers, each of which can be killed.

    with Cluster(tmp_path) as cluster:
        api = cluster.api()
        cluster.workers[0].kill()
        cluster.to_postgres.lose(20, PERSIST)
        cluster.heal()
        cluster.check_invariants()

Every process is a group of its own. Web and workers reach the servers through proxies that can be
paused and cut: the workers through `to_postgres`, the web through `web_to_postgres`, all through `to_redis`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg

from staterail.testing.cutproxy import CutProxy
from staterail.testing.server import FINAL, ROOT, START_SECONDS, STOP_SECONDS, Api, free_port, until
from staterail.testing.servers import Postgres, RedisServer

PERSIST = b"locked AS MATERIALIZED"  # stands in the statement that stores a batch, and in no other
WELL = {"database": "ok", "broker": "ok", "channel_layer": "ok", "workers": "ok"}


class Process:
    """One process of the cluster and all of its group."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self.log_path = name, log
        self._command, self._environment = command, environment
        self.process = self._launch()

    def _launch(self) -> "subprocess.Popen[bytes]":
        with open(self.log_path, "ab") as log:
            return subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, start_new_session=True, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def restart(self) -> None:
        """Start it again, once it has ended."""
        self.process.wait(STOP_SECONDS)
        self.process = self._launch()

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """kill -9 of the group."""
        self.send(signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def pause(self) -> None:
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.send(signal.SIGCONT)

    def stop(self) -> tuple[int, float]:
        """SIGTERM: its exit status, and how many seconds it took."""
        began = time.monotonic()
        self.process.terminate()
        return self.process.wait(STOP_SECONDS), time.monotonic() - began

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


class Cluster:
    """`workers` of the queue runs, one of the queue tasks if wanted. `variables` are added to all environments."""

    def __init__(self, folder: Path, *, workers: int = 2, tasks: bool = False, **variables: str) -> None:
        self.folder, self._wanted, self._tasks, self._variables = folder, workers, tasks, variables
        # What the kernel has outlives any process: without fsync no test here loses more, and none waits for the disk
        self.postgres, self.redis = Postgres(fsync="off"), RedisServer()
        self.to_postgres, self.web_to_postgres = CutProxy(self.postgres.port), CutProxy(self.postgres.port)
        self.to_redis = CutProxy(self.redis.port, reads=False)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers: list[Process] = []
        self.tasks: Process | None = None
        self.web: Process | None = None
        self._api: Api | None = None
        self._servers = contextlib.ExitStack()

    def __enter__(self) -> Self:
        (self.folder / "data" / "static").mkdir(parents=True)
        for server in (self.postgres, self.redis, self.to_postgres, self.web_to_postgres, self.to_redis):
            self._servers.enter_context(server)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("STATERAIL_")
        } | {
            "DATABASE_URL": self.postgres.url, "REDIS_URL": f"redis://127.0.0.1:{self.to_redis.port}/0",
            "SECRET_KEY": "k" * 60, "STATERAIL_SECRET_KEYS": "ring", "STATERAIL_DATA": str(self.folder / "data"),
            "STATERAIL_TLS": "0", "STATERAIL_TEST_TASKS": "1", "STATERAIL_WRITES_PER_SECOND": "10000",
            "PYTHONUNBUFFERED": "1", **self._variables,
        }  # fmt: skip
        self.command("migrate", "-v0")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._api is not None:
            self._api.close()
        for process in self.processes:
            process.go_on()
            process.kill()
        self._servers.close()

    @property
    def processes(self) -> list[Process]:
        return [p for p in (self.web, *self.workers, self.tasks) if p is not None]

    # Begin, and be well again

    def start(self) -> None:
        """Start web and workers; back once they work."""
        self.web = self.process(
            "web", "-m", "uvicorn", "staterail.asgi:application", "--port", str(self.port), "--lifespan", "off",
            "--log-level", "warning", through=self.web_to_postgres,
        )  # fmt: skip
        self.workers = [self.worker(n) for n in range(self._wanted)]
        if self._tasks:
            self.tasks = self.process("tasks", "manage.py", "worker", "--queue", "tasks", "--processes", "2")
        self.until_well()

    def worker(self, n: int, **variables: str) -> Process:
        """One more worker of the queue runs."""
        return self.process(f"worker{n}", "manage.py", "worker", through=None, **variables)

    def process(self, name: str, *arguments: str, through: CutProxy | None = None, **variables: str) -> Process:
        database = f"postgres://staterail@127.0.0.1:{(through or self.to_postgres).port}/postgres"
        environment = {**self.environment, "DATABASE_URL": database, **variables}
        return Process(name, [sys.executable, *arguments], environment, self.folder / f"{name}.log")

    def heal(self) -> None:
        """Undo every fault: servers answer, proxies let pass, processes run; back once all work."""
        for proxy in (self.to_postgres, self.web_to_postgres, self.to_redis):
            proxy.heal()
        for server in (self.postgres, self.redis):
            if server.process is None or server.process.poll() is not None:
                server.start()
            else:
                server.process.send_signal(signal.SIGCONT)
        for process in self.processes:
            process.go_on()
            if not process.runs:
                process.restart()
        self.until_well()

    def until_well(self) -> None:
        wanted = {**WELL, "workers": "ok" if self._wanted else "none"}
        until(lambda: self.readiness() == wanted, seconds=START_SECONDS, what=f"readyz: {wanted}")

    def readiness(self) -> dict[str, str] | None:
        """What /readyz says; None where nobody answers."""
        try:
            found: dict[str, str] = httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).json()
        except httpx.TransportError:
            return None
        return found

    # What is so

    def command(self, *arguments: str) -> str:
        """Run a manage.py command to its end, past the proxies; what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment,
            capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"manage.py {arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the database says, past the proxies."""
        with psycopg.connect(self.postgres.url) as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def change(self, statement: str) -> None:
        """Change something behind everybody's back."""
        with psycopg.connect(self.postgres.url) as connection:
            connection.execute(statement.encode())

    def check_invariants(self) -> None:
        assert self.command("check_invariants").strip().endswith("0 are broken")

    def api(self) -> Api:
        if self._api is None:
            token = self.command("token", "--name", "test admin", "--role", "admin").strip().splitlines()[-1]
            self._api = Api(self.url, token)
        return self._api

    def ended(self, ids: Iterable[str], *, seconds: float = 90.0) -> dict[str, str]:
        """{run: its state}, once all these have ended; read past web and proxies."""
        wanted = list(ids)

        def states() -> dict[str, str] | None:
            rows = self.rows("SELECT id::text, state FROM runs_workflowrun WHERE id = ANY(%s::uuid[])", wanted)
            known = dict(rows)
            assert len(known) == len(set(wanted)), "a run that was acknowledged is not there"
            return known if set(known.values()) <= FINAL else None

        found: dict[str, str] = until(states, seconds=seconds, every=0.1, what=f"{len(wanted)} runs end")
        return found

    def logs(self, lines: int = 40) -> str:
        return "\n".join(f"== {p.name}\n" + "\n".join(p.log.splitlines()[-lines:]) for p in self.processes)
