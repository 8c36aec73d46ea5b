"""Sockets that can be stopped: every wait looks at a watch, which holds a total time and an event.

The HTTP library knows only a time limit per read, which a server that sends a byte a second never
meets, and no way to stop a thread that waits.
"""

import contextlib
import errno
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import httpcore

T = TypeVar("T")

CONNECT_SECONDS = 5.0  # for each of: the DNS answer, the TCP connection, the TLS handshake
SLICE = 0.2  # seconds between two looks at the watch


class Cancelled(Exception):
    """The watch's event was set while a request was under way."""


class Settable(Protocol):
    def is_set(self) -> bool: ...


class Watch:
    """What ends the requests of this thread: a total time in seconds, and an event."""

    def __init__(self, seconds: float | None, cancelled: Settable | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._cancelled = cancelled

    def left(self, until: float | None = None) -> float:
        """Seconds for the next wait, at most SLICE. Raises Cancelled, or TimeoutError past either end."""
        if self._cancelled is not None and self._cancelled.is_set():
            raise Cancelled
        ends = [end for end in (self._end, until) if end is not None]
        left = min(ends, default=float("inf")) - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, SLICE)


_current: ContextVar[Watch | None] = ContextVar("watch", default=None)
_ENDLESS = Watch(None)


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Bound whatever this thread requests in here, to the last byte of the response."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


class WatchedBackend(httpcore.NetworkBackend):
    """Connects to the address behind the `|` of a host."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        address = host.rpartition("|")[2]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            _connect(sock, (address, port), time.monotonic() + CONNECT_SECONDS)
        except BaseException as error:
            sock.close()
            raise _as_error(error, httpcore.ConnectTimeout, httpcore.ConnectError) from error
        return _Stream(sock)


class _Stream(httpcore.NetworkStream):
    """A socket whose every wait looks at the watch. It waits in slices: TLS cannot be interrupted."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return self._patiently(lambda: self._sock.recv(max_bytes), timeout)
        except (OSError, ValueError) as error:
            raise _as_error(error, httpcore.ReadTimeout, httpcore.ReadError) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        try:
            while view:
                view = view[self._patiently(lambda rest=view: self._sock.send(rest), timeout) :]  # type: ignore[misc]
        except (OSError, ValueError) as error:
            raise _as_error(error, httpcore.WriteTimeout, httpcore.WriteError) from error

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            tls = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname, do_handshake_on_connect=False)
            self._sock = tls
            self._patiently(tls.do_handshake, CONNECT_SECONDS)
        except BaseException as error:
            self.close()
            raise _as_error(error, httpcore.ConnectTimeout, httpcore.ConnectError) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        # The pool asks before it takes an idle connection: readable means that the server closed it.
        return bool(_poll(self._sock, select.POLLIN, 0)) if info == "is_readable" else None

    def _patiently(self, operation: Callable[[], T], timeout: float | None) -> T:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            self._sock.settimeout(current_watch().left(until))
            with contextlib.suppress(TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return operation()


def current_watch() -> Watch:
    """The watch of this thread's `watching` block; outside of one, a watch that ends nothing."""
    return _current.get() or _ENDLESS


def _connect(sock: socket.socket, address: tuple[str, int], until: float) -> None:
    code = sock.connect_ex(address)
    while code == errno.EINPROGRESS:
        if _poll(sock, select.POLLOUT, current_watch().left(until)):
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, "The connection was refused or failed.")


def _poll(sock: socket.socket, event: int, seconds: float) -> list[tuple[int, int]]:
    if sock.fileno() < 0:
        return [(-1, event)]
    poll = select.poll()
    poll.register(sock, event)
    return poll.poll(seconds * 1000)


def _as_error(
    error: BaseException, timeout: type[httpcore.TimeoutException], other: type[httpcore.NetworkError]
) -> BaseException:
    if isinstance(error, TimeoutError):
        return timeout("It took too long.")
    return other(type(error).__name__) if isinstance(error, (OSError, ValueError)) else error
