"""How the effects server misbehaves, path by path."""

import json
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

MEGABYTE = b"x" * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, as it came."""

    key: str
    attempt: int  # how often this key was called on this path, from 1
    at: float  # seconds since the epoch
    method: str
    path: str
    headers: dict[str, str]  # lower-case names
    body: bytes


class _Effects(Protocol):
    stopping: threading.Event

    def record(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Seen: ...


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120  # seconds a connection may stay idle

    @property
    def effects(self) -> _Effects:
        return self.server.effects  # type: ignore[attr-defined,no-any-return]

    def answer_any(self) -> None:
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.seen = self.effects.record(self.command, parts.path, self.query, headers, body)
        answer = ANSWERS.get(parts.path)
        if answer:
            answer(self)
        else:
            self.json({"error": "no such path"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer_any

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def number(self, name: str, default: float) -> float:
        return float(self.query.get(name, default))

    def head(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.head(status, content_type="application/json", content_length=str(len(body)), **headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    # Headers and body leave in one packet: else each answer waits for the client's delayed ACK.
    wbufsize = -1

    def wait(self, seconds: float) -> bool:
        """Whether to go on: neither has the server stopped nor the client gone away."""
        end = time.monotonic() + seconds
        self.wfile.flush()
        while (left := end - time.monotonic()) > 0:
            if self.effects.stopping.wait(min(left, 0.1)) or self._is_gone():
                self.close_connection = True
                return False
        return True

    def _is_gone(self) -> bool:
        return bool(select.select([self.connection], [], [], 0)[0])


def ok(handler: Handler) -> None:
    handler.json({"ok": True, "key": handler.seen.key, "attempt": handler.seen.attempt})


def fail_first(handler: Handler) -> None:
    if handler.seen.attempt <= handler.number("n", 2**31):
        handler.json({"error": "try again", "attempt": handler.seen.attempt}, 500)
    else:
        ok(handler)


def status(handler: Handler) -> None:
    extra = {"retry_after": handler.query["retry_after"]} if "retry_after" in handler.query else {}
    handler.json({"status": handler.query.get("code", "200")}, int(handler.number("code", 200)), **extra)


def hang(handler: Handler) -> None:
    handler.wait(handler.number("seconds", 3600))
    handler.close_connection = True


def slow(handler: Handler) -> None:
    """Drip the body, or with `?part=headers` the headers, at `bps` bytes a second."""
    if handler.query.get("part") == "headers":
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    else:
        handler.head(content_type="text/plain", content_length="1000000")
    while handler.wait(1 / handler.number("bps", 10)):
        handler.wfile.write(b"x")


def reset(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def big(handler: Handler) -> None:
    size = int(handler.number("mb", 50))
    handler.head(content_type="text/plain", content_length=str(size * len(MEGABYTE)))
    for _ in range(size):
        handler.wfile.write(MEGABYTE)


def gzip_bomb(handler: Handler) -> None:
    handler.head(content_type="text/plain", content_encoding="gzip", transfer_encoding="chunked")
    for piece in _zipped(int(handler.number("mb", 500))):
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


def _zipped(megabytes: int) -> Iterator[bytes]:
    machine, zeros = zlib.compressobj(9, wbits=31), bytes(len(MEGABYTE))
    for _ in range(megabytes):
        if piece := machine.compress(zeros):
            yield piece
    yield machine.flush()


def redirect(handler: Handler) -> None:
    """To `?to=`, else to itself for ever."""
    code = int(handler.number("code", 302))
    handler.json({}, code, location=handler.query.get("to", handler.path))


def echo_headers(handler: Handler) -> None:
    handler.json(handler.seen.headers)


def echo(handler: Handler) -> None:
    try:
        body = json.loads(handler.seen.body)
    except ValueError:
        body = handler.seen.body.decode("utf-8", "replace") or None
    query = parse_qsl(urlsplit(handler.path).query, keep_blank_values=True)
    handler.json({"method": handler.command, "path": handler.seen.path, "query": query, "body": body})


def mirror(handler: Handler) -> None:
    """The request's body as the answer, with its `?type=` and `?encoding=`, and `?status=`."""
    extra = {"content_encoding": handler.query["encoding"]} if "encoding" in handler.query else {}
    kind, length = handler.query.get("type", "text/plain"), str(len(handler.seen.body))
    handler.head(int(handler.number("status", 200)), content_type=kind, content_length=length, **extra)
    handler.wfile.write(handler.seen.body)


def half(handler: Handler) -> None:
    handler.head(content_type="text/plain", content_length="1000")
    handler.wfile.write(b"half")
    handler.close_connection = True


def bad_chunks(handler: Handler) -> None:
    handler.head(content_type="text/plain", transfer_encoding="chunked")
    handler.wfile.write(b"5\r\nhello\r\nzz\r\nno length\r\n")
    handler.close_connection = True


def huge_headers(handler: Handler) -> None:
    """`?kb=` of headers, 100 by default."""
    for number in range(int(handler.number("kb", 100))):
        handler.send_header(f"X-{number}", "h" * 1000) if number else handler.send_response(200)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


ANSWERS: dict[str, Callable[[Handler], None]] = {
    "/ok": ok, "/500": fail_first, "/status": status, "/hang": hang, "/slow": slow, "/reset": reset,
    "/big": big, "/gzip-bomb": gzip_bomb, "/redirect": redirect, "/echo-headers": echo_headers,
    "/echo": echo, "/mirror": mirror, "/half": half, "/bad-chunks": bad_chunks, "/huge-headers": huge_headers,
}  # fmt: skip
