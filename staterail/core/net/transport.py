"""An httpx transport that connects only where the guard allows, to the very address it judged.

A name is resolved once per request. Whoever runs its DNS may answer differently the next moment, so
the connection goes to the checked address, with the name kept for the Host header, SNI and the
certificate. Connections are kept alive per (name, address, port): one is taken again only for a
request whose own check gave that address. Proxy variables and cookies do not exist here.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue

import httpcore
import httpx

from staterail.core.net.guard import AllowList, Target, check_address, check_url
from staterail.core.net.sockets import CONNECT_SECONDS, SLICE, Cancelled, Watch, WatchedBackend, current_watch, watching

__all__ = ["Cancelled", "PinnedTransport", "Resolver", "Watch", "system_resolver", "watching"]

Resolver = Callable[[str, int], list[str]]
ADDRESSES = 3  # are tried
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.TimeoutException, httpx.ReadTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.NetworkError, httpx.NetworkError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
)


def system_resolver(host: str, port: int) -> list[str]:
    """Addresses of a name in the system's order. Raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class PinnedTransport(httpx.BaseTransport):
    """Thread-safe. Raises Blocked, Cancelled or an httpx.TransportError; follows no redirects."""

    def __init__(
        self, allow: AllowList, resolver: Resolver | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._allow, self._resolver = allow, resolver or system_resolver
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(),
            max_connections=100,
            max_keepalive_connections=100,
            keepalive_expiry=5.0,
            network_backend=WatchedBackend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = check_url(str(request.url), self._allow)
        with _mapped_errors():
            response = self._send(request, target)
        assert isinstance(response.stream, Iterable)
        if response.status in (204, 304) and _claims_body(response):
            # The parser would take that body for the answer to the connection's next request.
            response.extensions["network_stream"].close()
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response.stream))

    def close(self) -> None:
        self._pool.close()

    def _send(self, request: httpx.Request, target: Target) -> httpcore.Response:
        addresses = self._checked(target)[:ADDRESSES]
        for address in addresses[:-1]:
            # Nothing has been sent when connecting fails, so the next address may be tried.
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return self._send_to(address, request, target)
        return self._send_to(addresses[-1], request, target)

    def _checked(self, target: Target) -> list[str]:
        addresses = [target.host] if _is_address(target.host) else _resolve(self._resolver, target.host, target.port)
        if not addresses:
            raise httpcore.ConnectError("The host has no address.")
        for address in addresses:
            check_address(address, target, self._allow)
        return list(dict.fromkeys(addresses))

    def _send_to(self, address: str, request: httpx.Request, target: Target) -> httpcore.Response:
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        extensions = {"timeout": {**timeouts, "pool": SLICE}, "sni_hostname": target.host}
        # The pool tells connections apart by the host, so the host carries the address.
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=f"{target.host}|{address}".encode("ascii"),
            port=target.port,
            target=request.url.raw_path,
        )
        while True:
            current_watch().left()
            # Waits in slices for one of the pool's connections; nothing was sent when it gives up.
            with contextlib.suppress(httpcore.PoolTimeout):
                return self._pool.handle_request(
                    httpcore.Request(
                        method=request.method,
                        url=url,
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=extensions,
                    )
                )


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _mapped_errors():
            yield from self._stream

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            self._stream.close()


def _claims_body(response: httpcore.Response) -> bool:
    headers = {name.lower(): value for name, value in response.headers}
    length = b"0" if response.status == 304 else headers.get(b"content-length", b"0")
    return length != b"0" or b"transfer-encoding" in headers


def _resolve(resolver: Resolver, host: str, port: int) -> list[str]:
    """Resolve on a thread of its own, because getaddrinfo knows no deadline."""
    answer: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(resolver(host, port))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True, name="resolve").start()
    until = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            found = answer.get(timeout=current_watch().left(until))
        except Empty:
            continue
        if isinstance(found, Exception):
            raise httpcore.ConnectError("The host's name could not be resolved.") from found
        return found


def _is_address(host: str) -> bool:
    # `check_url` lets no other form of an address through.
    return ":" in host or host.replace(".", "").isdigit()


@contextlib.contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise httpx.ReadTimeout("It took too long.") from error
    except Exception as error:
        for theirs, ours in _ERRORS:
            if isinstance(error, theirs):
                raise ours(str(error)) from error
        raise
