"""What requests may send: how much each, from whom, and how much all of them at once.

A body is read whole before a thread is given to it, so it is held in memory. Anybody may send a
small one, as long as there is room for strangers' bodies. All else is read from a caller that we
know, while there is room.
"""

import contextlib
import json
import re
from asyncio import timeout
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from staterail.core.errors import PayloadTooLarge, StateRailError, Unavailable
from staterail.core.middleware import EVERYWHERE
from staterail.core.rest import MEDIA_TYPE, problem_body, problem_response

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_SMALL = 64 * 1024
MAX_BODY = 2 * 1024 * 1024
MAX_BATCH = 64 * 1024 * 1024  # up to 1,000 inputs
BATCH = re.compile(r"/api/v1/workflows/[^/]+/runs/batch")
STRANGERS_ROOM, ROOM = 64 * 1024 * 1024, 128 * 1024 * 1024  # apart: neither keeps the other's bodies out
BODY_SECONDS = 30.0
DRAIN_SECONDS = 5.0  # that a refused sender is listened to, so that it hears the answer


class Room:
    """How many bytes of bodies are held now. Of one event loop: nothing here waits."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0


class Held:
    """The bytes of one request, from the first until its answer: what is parsed of them is there as long."""

    def __init__(self, room: Room) -> None:
        self.room, self.size = room, 0

    def fits(self, size: int) -> bool:
        """Whether there is room for so many bytes; they are held then."""
        others = self.room.taken - self.size
        if others + size > self.room.most:
            return False
        self.room.taken, self.size = others + size, size
        return True

    def let_go(self) -> None:
        self.room.taken -= self.size
        self.size = 0

    def move(self, room: Room) -> None:
        self.let_go()
        self.room = room


class Incoming:
    """What still comes of a request."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.more = receive, True

    async def next(self) -> Message:
        message = await self._receive()
        self.more = message["type"] == "http.request" and bool(message.get("more_body"))
        return message


class BodyLimit:
    """Refuses a body that is too large, unasked for or has no room before it is read, and one that does not end.

    `let_in` raises a StateRailError for a caller that we do not know.
    """

    def __init__(self, app: Any, let_in: Callable[[Scope], Awaitable[None]]) -> None:
        self.app, self.let_in = app, let_in
        self.strangers, self.room = Room(STRANGERS_ROOM), Room(ROOM)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        incoming, held = Incoming(receive), Held(self.strangers)
        try:
            try:
                waiting = await self._read(scope, incoming, held)
            except TimeoutError:
                body = problem_body(408, "VALIDATION_FAILED", "The body did not come to its end.")
                await _refuse(incoming, send, body)
                return
            except StateRailError as error:
                held.let_go()
                answer = problem_response(error)
                await _refuse(incoming, send, answer.data, answer.headers)
                return

            async def replay() -> Message:
                return waiting.popleft() if waiting else await receive()

            await self.app(scope, replay, send)
        finally:
            held.let_go()

    async def _read(self, scope: Scope, incoming: Incoming, held: Held) -> deque[Message]:
        """All messages of the body. Raises StateRailError, TimeoutError."""
        limit = MAX_BATCH if BATCH.fullmatch(scope["path"]) else MAX_BODY
        told = dict(scope["headers"]).get(b"content-length", b"")
        announced = int(told) if told.isdigit() else 0
        size, known = 0, False
        messages: deque[Message] = deque()
        async with timeout(BODY_SECONDS):
            while True:
                if max(size, announced) > limit:
                    raise PayloadTooLarge(f"The body is larger than {limit} bytes.")
                if not known and (max(size, announced) > MAX_SMALL or not held.fits(size)):
                    await self.let_in(scope)
                    known = True
                    held.move(self.room)
                if known and not held.fits(max(size, announced)):
                    raise Unavailable("Too much is being sent at once: try again in a moment.", retry_after=1)
                if not incoming.more:
                    return messages
                messages.append(await incoming.next())
                size += len(messages[-1].get("body", b""))


async def _refuse(
    incoming: Incoming, send: Send, problem: Mapping[str, Any], more_headers: Mapping[str, str] | None = None
) -> None:
    """Answer, then listen for a while to what is still sent: a connection that closes at once loses the answer."""
    body = json.dumps(problem).encode()
    headers = {
        **EVERYWHERE, **(more_headers or {}), "Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)),
        "Connection": "close", "Cache-Control": "no-store",
    }  # fmt: skip
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem["status"], "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with timeout(DRAIN_SECONDS):
            while incoming.more:
                await incoming.next()
    await send({"type": "http.response.body", "body": b""})
