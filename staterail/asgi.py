"""The ASGI application: Django's, on threads that last, behind a bound on what a request may send.

Django gives every request a thread of its own, and with it a new database connection; a pool of
lasting threads keeps connections open (SQLite: 2 ms a request less).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from django.core.handlers.asgi import ASGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "staterail.settings")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

THREADS = 16
MAX_BODY = 2 * 1024 * 1024
MAX_BATCH = 64 * 1024 * 1024  # of `…/runs/batch`: up to 1,000 inputs
BODY_SECONDS = 30.0


class PooledHandler(ASGIHandler):
    """Runs the whole sync stack of a request on one thread of a pool."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="web")
        super().__init__()

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._respond, request)

    def _respond(self, request: Any) -> Any:
        from django.db import close_old_connections

        close_old_connections()
        try:
            return self.get_response(request)
        finally:
            close_old_connections()


class BodyLimit:
    """Refuses a body that is too large before it is read, and one that does not come to an end."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = MAX_BATCH if scope["path"].endswith("/runs/batch") else MAX_BODY
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told) > limit:
            await _refuse(send, 413, b"PAYLOAD_TOO_LARGE", b"The request is too large.")
            return
        chunks: list[MutableMapping[str, Any]] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    chunks.append(message)
                    size += len(message.get("body", b""))
                    if size > limit:
                        await _refuse(send, 413, b"PAYLOAD_TOO_LARGE", b"The request is too large.")
                        return
                    if message["type"] != "http.request" or not message.get("more_body"):
                        break
        except TimeoutError:
            await _refuse(send, 408, b"VALIDATION_FAILED", b"The body did not come to its end.")
            return
        waiting = iter(chunks)

        async def replay() -> MutableMapping[str, Any]:
            message = next(waiting, None)
            return message if message is not None else await receive()

        await self.app(scope, replay, send)


async def _refuse(send: Send, status: int, code: bytes, detail: bytes) -> None:
    body = b'{"type":"about:blank","title":"%s","status":%d,"detail":"%s","code":"%s"}' % (
        code.replace(b"_", b" ").capitalize(), status, detail, code,
    )  # fmt: skip
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _application() -> BodyLimit:
    django.setup(set_prefix=False)
    return BodyLimit(PooledHandler())


application = _application()
