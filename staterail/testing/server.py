"""A StateRail of a test's own: `manage.py up` as a process group that can be killed, and its REST.

    with Instance(tmp_path) as instance:
        api = instance.api()
        api.must("GET", "/api/v1/runs")
        instance.kill()   # as a power cut: kill -9 of everything
        instance.start()  # on the same data and port

Only what a user has is used: commands, signals and REST. `recent_logs` tells a failed test's reader
what the servers wrote.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx

JSON = Any
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0
STOP_SECONDS = 45.0
FINAL = {"completed", "failed", "cancelled"}
_instances: "weakref.WeakSet[Instance]" = weakref.WeakSet()


def until(look: Callable[[], Any], *, seconds: float = 30.0, every: float = 0.05, what: str = "") -> Any:
    """Look again and again until the answer is true. The bound says "stuck", not "slow"."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not after {seconds} s: {what or look}"
        time.sleep(every)
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Api:
    """A small client of the REST API; any thread may use it."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)

    def call(self, method: str, path: str, body: JSON = None, **headers: str) -> tuple[int, JSON]:
        """(status, parsed answer). `headers` with `_` for `-`."""
        answer = self.request(method, path, body, **headers)
        return answer.status_code, answer.json() if answer.content else None

    def request(self, method: str, path: str, body: JSON = None, **headers: str) -> httpx.Response:
        """The answer as it came. `headers` with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.request(method, path, json=body, headers=named)

    def must(self, method: str, path: str, body: JSON = None, **headers: str) -> JSON:
        status, answer = self.call(method, path, body, **headers)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def text(self, path: str) -> str:
        """What is no JSON."""
        answer = self._client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def publish(self, definition: JSON, slug: str = "") -> str:
        """Make a workflow with one published version; its id."""
        name = slug or f"test-{uuid4().hex[:12]}"
        made = self.must("POST", "/api/v1/workflows", {"name": name, "slug": name, "definition": definition})
        self.must("POST", f"/api/v1/workflows/{made['id']}/publish", {})
        return str(made["id"])

    def start(self, workflow: str, input: JSON = None, **headers: str) -> str:
        """Start a run; its id."""
        body = {"input": {} if input is None else input}
        return str(self.must("POST", f"/api/v1/workflows/{workflow}/runs", body, **headers)["id"])

    def start_many(self, workflow: str, n: int) -> list[str]:
        runs: list[JSON] = [{"input": {}} for _ in range(n)]
        found: list[str] = self.must("POST", f"/api/v1/workflows/{workflow}/runs/batch", {"runs": runs})["run_ids"]
        return found

    def run(self, run_id: str) -> JSON:
        return self.must("GET", f"/api/v1/runs/{run_id}")

    def step(self, run_id: str, step_id: str) -> JSON:
        return self.must("GET", f"/api/v1/runs/{run_id}/steps/{step_id}")

    def events(self, run_id: str) -> list[JSON]:
        """All of them, page by page."""
        found: list[JSON] = []
        while page := self._page(run_id, found[-1]["seq"] if found else 0):
            found += page
        return found

    def _page(self, run_id: str, after: int) -> list[JSON]:
        page: list[JSON] = self.must("GET", f"/api/v1/runs/{run_id}/events?after_seq={after}&limit=1000")["results"]
        return page

    def runs(self, **query: str) -> list[JSON]:
        """All runs, page by page, the newest first."""
        found: list[JSON] = []
        cursor: str | None = ""
        while cursor is not None:
            params = httpx.QueryParams({**query, "limit": "100", **({"cursor": cursor} if cursor else {})})
            page = self.must("GET", f"/api/v1/runs?{params}")
            found, cursor = found + page["results"], page["next_cursor"]
        return found

    def when(self, run_id: str, holds: Callable[[JSON], Any], *, seconds: float = 30.0) -> JSON:
        """The run, once this holds of it."""
        deadline = time.monotonic() + seconds
        while not holds(run := self.run(run_id)):
            states = {step["step_id"]: f"{step['state']}({step['reason']})" for step in run["step_runs"][:12]}
            assert time.monotonic() < deadline, f"run {run_id} is {run['state']} after {seconds} s: {states}"
            time.sleep(0.03)
        return run

    def ended(self, run_id: str, *, seconds: float = 30.0) -> JSON:
        """The run, once it has ended."""
        return self.when(run_id, lambda run: run["state"] in FINAL, seconds=seconds)

    def step_in(self, run_id: str, step_id: str, state: str, *, seconds: float = 30.0) -> JSON:
        """The run, once this step is in this state (or has this reason)."""

        def there(run: JSON) -> bool:
            step = next(s for s in run["step_runs"] if s["step_id"] == step_id)
            return state in (step["state"], step["reason"])

        return self.when(run_id, there, seconds=seconds)

    def close(self) -> None:
        self._client.close()


class Instance:
    """One embedded StateRail. `variables` are added to its environment."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.data, self.port = folder / "data", free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._log, self._apis = folder / "up.log", dict[str, Api]()
        self.environment = {
            name: value for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY") and not name.startswith("STATERAIL_")
        } | {
            "STATERAIL_DATA": str(self.data), "STATERAIL_PORT": str(self.port), "STATERAIL_TEST_TASKS": "1",
            "COLUMNS": "100", "PYTHONUNBUFFERED": "1", **(variables or {}),
        }  # fmt: skip
        _instances.add(self)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        for api in self._apis.values():
            api.close()
        self.kill()

    @property
    def log(self) -> str:
        """What all its processes wrote so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def spawn(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """A manage.py command of its own process group beside it, under way."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, start_new_session=True, **options)

    def launch(self, *arguments: str) -> None:
        """Start the server without waiting for it."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with open(self._log, "ab") as log:
            told = ("up", "--no-browser", "--port", str(self.port), "--data", str(self.data), *arguments)
            self.process = self.spawn(*told, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start(self) -> Self:
        """Start the server; back once it is ready."""
        self.launch()
        until(self._is_ready, seconds=START_SECONDS, what="readyz")
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"`up` ended with {self.process.returncode}:\n{self.log[-3000:]}"
        return bool(self.readiness() == {"database": "ok", "broker": "ok", "channel_layer": "ok", "workers": "ok"})

    def readiness(self) -> JSON:
        """What /readyz says; None where nobody answers."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).json()
        except httpx.TransportError:
            return None

    def kill(self) -> None:
        """kill -9 of the process and of all in its group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS)
            self.process = None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to stop: its exit status, and how many seconds it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(STOP_SECONDS)
        self.process = None
        return status, time.monotonic() - began

    def command(
        self, *arguments: str, status: int | None = 0, seconds: float = 60.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run a manage.py command beside it to its end."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=seconds,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said = f"manage.py {' '.join(arguments)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        assert status is None or done.returncode == status, said
        return done

    def api(self, role: str = "admin") -> Api:
        """A client with a token of this role, made by `manage.py token`."""
        if role not in self._apis:
            token = self.command("token", "--name", f"test {role}", "--role", role).stdout.strip()
            self._apis[role] = Api(self.url, token)
        return self._apis[role]

    def peak_memory(self) -> int:
        """The most memory that the process ever held, in bytes."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")


def recent_logs(lines: int = 60) -> Iterator[tuple[str, str]]:
    """(which, its last lines) of every instance that wrote any."""
    for instance in list(_instances):
        tail = "\n".join(instance.log.splitlines()[-lines:])
        if tail:
            yield instance.url, tail
