"""A TCP proxy in front of PostgreSQL that can cut a connection at the worst moment.

`cut_answers(n)`: the next n statements that match are forwarded and carried out, but their answers
never arrive: both ends see the connection die. Nobody knows then whether the commit took place.
"""

import contextlib
import select
import socket
import threading
from typing import Self

SIZE = 65536


class CutProxy:
    """Listens on 127.0.0.1:`port`, forwards to `target`. Threads: two a connection."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._left = 0
        self._marks: tuple[bytes, ...] = ()
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True, name="cutproxy").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def cut_answers(self, n: int, *marks: bytes) -> None:
        """Cut the next n connections right after the server answered something that `marks` all occur in."""
        with self._lock:
            self._left, self._marks = n, marks

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target)) as server, contextlib.suppress(OSError):
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for source in readable:
                    data = source.recv(SIZE)
                    if not data or (source is server and self._cuts(data)):
                        return
                    (server if source is client else client).sendall(data)

    def _cuts(self, answer: bytes) -> bool:
        with self._lock:
            if self._left <= 0 or not all(mark in answer for mark in self._marks):
                return False
            self._left -= 1
            self.cuts += 1
            return True
