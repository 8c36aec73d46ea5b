"""The ASGI application: Django's, on threads that last, behind a bound on what a request may send.

Django gives every request a thread of its own, and with it a new database connection; a pool of
lasting threads keeps connections open (SQLite: 2 ms a request less).
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from django.core.handlers.asgi import ASGIHandler

from staterail.core.middleware import EVERYWHERE
from staterail.core.rest import MEDIA_TYPE, problem_body

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "staterail.settings")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

THREADS = 16
MAX_BODY = 2 * 1024 * 1024
MAX_BATCH = 64 * 1024 * 1024  # up to 1,000 inputs
BATCH = re.compile(r"/api/v1/workflows/[^/]+/runs/batch")
BODY_SECONDS = 30.0
DRAIN_SECONDS = 5.0  # that a refused sender is listened to, so that it hears the answer


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
        limit = MAX_BATCH if BATCH.fullmatch(scope["path"]) else MAX_BODY
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told) > limit:
            await _refuse(receive, send, 413, "PAYLOAD_TOO_LARGE", f"The body is larger than {limit} bytes.")
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
                        break
                    if message["type"] != "http.request" or not message.get("more_body"):
                        break
        except TimeoutError:
            await _refuse(receive, send, 408, "VALIDATION_FAILED", "The body did not come to its end.")
            return
        if size > limit:
            more = bool(chunks[-1].get("more_body"))
            chunks.clear()
            await _refuse(receive, send, 413, "PAYLOAD_TOO_LARGE", f"The body is larger than {limit} bytes.", more=more)
            return
        waiting = iter(chunks)

        async def replay() -> MutableMapping[str, Any]:
            message = next(waiting, None)
            return message if message is not None else await receive()

        await self.app(scope, replay, send)


async def _refuse(receive: Receive, send: Send, status: int, code: str, detail: str, *, more: bool = True) -> None:
    """Answer, then listen for a while to what is still sent: a connection that closes at once loses the answer."""
    body = json.dumps(problem_body(status, code, detail)).encode()
    headers = {
        **EVERYWHERE, "Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), "Connection": "close",
        "Cache-Control": "no-store",
    }  # fmt: skip
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while more:
                message = await receive()
                more = message["type"] == "http.request" and bool(message.get("more_body"))
    await send({"type": "http.response.body", "body": b""})


def _application() -> BodyLimit:
    django.setup(set_prefix=False)
    return BodyLimit(PooledHandler())


application = _application()
