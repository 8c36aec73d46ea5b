"""StateRail on servers, for tests: PostgreSQL, Redis, a web process and workers, each of which can be killed.

    with Cluster(tmp_path) as cluster:
        api = cluster.api()
        cluster.workers[0].kill()

Every process is a group of its own. `database_url` may be that of a proxy in front of PostgreSQL.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx

from staterail.testing.server import ROOT, START_SECONDS, STOP_SECONDS, Api, free_port, until
from staterail.testing.servers import Postgres, RedisServer


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

    def restart(self) -> None:
        """Start it again, once it has ended."""
        self.process.wait(STOP_SECONDS)
        self.process = self._launch()

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
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
    """`workers` of the queue runs, one of the queue tasks if wanted."""

    def __init__(self, folder: Path, *, workers: int = 2, tasks: bool = False, **variables: str) -> None:
        self.folder, self._wanted, self._tasks, self._variables = folder, workers, tasks, variables
        self.postgres, self.redis = Postgres(), RedisServer()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers: list[Process] = []
        self.tasks: Process | None = None
        self.web: Process | None = None
        self._api: Api | None = None

    def __enter__(self) -> Self:
        (self.folder / "data" / "static").mkdir(parents=True)
        self.postgres.__enter__()
        self.redis.__enter__()
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("STATERAIL_")
        } | {
            "DATABASE_URL": self.postgres.url, "REDIS_URL": self.redis.url, "SECRET_KEY": "k" * 60,
            "STATERAIL_SECRET_KEYS": "ring", "STATERAIL_DATA": str(self.folder / "data"), "STATERAIL_TLS": "0",
            "STATERAIL_TEST_TASKS": "1", "STATERAIL_WRITES_PER_SECOND": "0", "PYTHONUNBUFFERED": "1",
            **self._variables,
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
        self.redis.__exit__()
        self.postgres.__exit__()

    @property
    def processes(self) -> list[Process]:
        return [p for p in (self.web, *self.workers, self.tasks) if p is not None]

    def start(self) -> None:
        """Start web and workers; back once they work."""
        self.web = self._process(
            "web", "-m", "uvicorn", "staterail.asgi:application", "--port", str(self.port), "--lifespan", "off",
            "--log-level", "warning",
        )  # fmt: skip
        self.workers = [self._process(f"worker{n}", "manage.py", "worker") for n in range(self._wanted)]
        if self._tasks:
            self.tasks = self._process("tasks", "manage.py", "worker", "--queue", "tasks", "--processes", "2")
        self.until_ready()

    def until_ready(self) -> None:
        wanted = {"database": "ok", "broker": "ok", "channel_layer": "ok", "workers": "ok" if self._wanted else "none"}
        until(lambda: self.readiness() == wanted, seconds=START_SECONDS, what=f"readyz: {wanted}")

    def readiness(self) -> dict[str, str] | None:
        """What /readyz says; None where nobody answers."""
        try:
            found: dict[str, str] = httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).json()
        except httpx.TransportError:
            return None
        return found

    def _process(self, name: str, *arguments: str) -> Process:
        return Process(name, [sys.executable, *arguments], self.environment, self.folder / f"{name}.log")

    def command(self, *arguments: str) -> str:
        """Run a manage.py command to its end; what it printed."""
        environment = {**self.environment, "DATABASE_URL": self.postgres.url}
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment,
            capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"manage.py {arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def check_invariants(self) -> None:
        assert self.command("check_invariants").strip().endswith("0 are broken")

    def api(self) -> Api:
        if self._api is None:
            token = self.command("token", "--name", "test admin", "--role", "admin").strip().splitlines()[-1]
            self._api = Api(self.url, token)
        return self._api

    def logs(self, lines: int = 40) -> str:
        return "\n".join(f"== {p.name}\n" + "\n".join(p.log.splitlines()[-lines:]) for p in self.processes)
