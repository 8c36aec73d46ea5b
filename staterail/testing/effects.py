"""A server that misbehaves on request: what HttpCall steps call in tests, chaos runs and benchmarks.

    with EffectsServer() as server:
        httpx.get(server.url + "/500?n=2")
    server.calls  # every request it saw, in order

or `python -m staterail.testing.effects --port 9100 --ledger FILE`. The ledger gets one JSON line per
request, written through to the disk before the answer: it outlives the process that is killed.
A request's key is `?key=`, else its Idempotency-Key, else its path.
"""

import argparse
import contextlib
import json
import os
import ssl
import threading
import time
from collections import Counter
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from staterail.testing.effects_answers import Handler, Seen


class EffectsServer:
    """Serves on 127.0.0.1 on threads of its own, `port` or a free one. `tls` makes it https."""

    def __init__(
        self, ledger_path: str | Path | None = None, *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.calls: list[Seen] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._ledger = open(ledger_path, "a", encoding="utf-8") if ledger_path else None  # noqa: SIM115
        self._server = _Server(("127.0.0.1", port), Handler)
        self._server.effects = self
        if tls:
            # The handshake belongs to the connection's own thread, or one bad client stops all.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        self.netloc = f"127.0.0.1:{self.port}"  # also the allow list's entry
        self.url = f"{'https' if tls else 'http'}://{self.netloc}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="effects").start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and let go of the requests that hang."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            if self._ledger:
                self._ledger.close()
                self._ledger = None

    def record(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Seen:
        key = query.get("key") or headers.get("idempotency-key") or path
        with self._lock:
            self._counts[key, path] += 1
            seen = Seen(key, self._counts[key, path], time.time(), method, path, headers, body)
            self.calls.append(seen)
            if self._ledger:
                self._ledger.write(json.dumps({"key": seen.key, "attempt": seen.attempt, "t": seen.at}) + "\n")
                self._ledger.flush()
                os.fsync(self._ledger.fileno())
        return seen


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    effects: EffectsServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that go away are what this server is for


def main() -> None:
    parser = argparse.ArgumentParser(description="A server that misbehaves on request, on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="a free one by default")
    parser.add_argument("--ledger", help="file that gets one JSON line per request")
    options = parser.parse_args()
    with EffectsServer(options.ledger, port=options.port) as server:
        print(server.url, flush=True)  # noqa: T201 - tells the caller which port it got
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
