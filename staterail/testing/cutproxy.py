"""A TCP proxy in front of PostgreSQL or Redis that fails at the worst moment.

    with CutProxy(postgres.port) as proxy:
        proxy.lose(20, b"runs_workflowrun")   # the next 20 statements that say so
        proxy.pause(), proxy.go_on()          # nothing passes, nothing breaks
        proxy.cut()                           # every connection breaks, now
        proxy.delay = 0.05                    # seconds, each way

`lose` reads PostgreSQL's protocol: it knows a prepared statement by its name again. What becomes of a
lost statement: with its "answer" lost it has been carried out, and committed where it was a COMMIT or
stood alone; as a "statement" it never arrived. Both ends see the connection die: they cannot tell.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Self

SIZE = 65536
LENGTH = 4
HELLOS = (80877103, 80877104)  # asks for TLS or GSS: the startup message is still to come


class CutProxy:
    """Listens on 127.0.0.1:`port`, forwards to `target`, an asyncio loop in a thread of its own."""

    def __init__(self, target: int, *, reads: bool = True) -> None:
        """`reads`: whether it speaks PostgreSQL's protocol, which `lose` needs."""
        self.target, self.port, self._reads = target, 0, reads
        self.delay = 0.0
        self.lost = 0
        self._lock = threading.Lock()
        self._left, self._marks, self._what = 0, tuple[bytes, ...](), "answer"
        self._every, self._seen = 1, 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._going = asyncio.Event()
        self._going.set()

    def __enter__(self) -> Self:
        listening = threading.Event()
        threading.Thread(target=self._run, args=(listening,), daemon=True, name="cutproxy").start()
        assert listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    # Faults: any thread

    def lose(self, n: int, *marks: bytes, what: str = "answer", every: int = 1) -> None:
        """Break the connections of n statements whose text has all `marks`, of each `every`th such.

        `what`: answer, statement.
        """
        with self._lock:
            self._left, self._marks, self._what, self.lost = n, marks, what, 0
            self._every, self._seen = every, 0

    def pause(self) -> None:
        self._loop.call_soon_threadsafe(self._going.clear)

    def go_on(self) -> None:
        self._loop.call_soon_threadsafe(self._going.set)

    def heal(self) -> None:
        """Let everything pass again."""
        with self._lock:
            self._left = 0
        self.delay = 0.0
        self.go_on()

    def cut(self) -> None:
        """Break every connection."""
        self._loop.call_soon_threadsafe(self._cut)

    # The loop's thread

    def _run(self, listening: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        self._loop.run_forever()
        server.close()
        self._cut()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        writers = {client}
        with contextlib.suppress(OSError):
            answers, server = await asyncio.open_connection("127.0.0.1", self.target)
            writers.add(server)
            self._open |= writers
            talk = _Statements()
            both = [
                asyncio.ensure_future(self._forward(reader, server, talk)),
                asyncio.ensure_future(self._answer(answers, client, talk)),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        self._open -= writers

    async def _forward(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, talk: "_Statements") -> None:
        while data := await reader.read(SIZE):
            await self._hold()
            for statement in talk.read(data) if self._reads else ():
                what = self._loses(statement)
                if what == "statement":
                    return
                talk.losing = talk.losing or what is not None
            server.write(data)
            await server.drain()

    async def _answer(self, answers: asyncio.StreamReader, client: asyncio.StreamWriter, talk: "_Statements") -> None:
        while data := await answers.read(SIZE):
            await self._hold()
            if talk.losing:
                return
            client.write(data)
            await client.drain()

    async def _hold(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._going.wait()

    def _loses(self, statement: bytes) -> str | None:
        with self._lock:
            if self._left <= 0 or not all(mark in statement for mark in self._marks):
                return None
            self._seen += 1
            if self._seen % self._every:
                return None
            self._left -= 1
            self.lost += 1
            return self._what


class _Statements:
    """What a client of PostgreSQL has executed, read off its half of the conversation."""

    def __init__(self) -> None:
        self.losing = False
        self._rest = b""
        self._started = False
        self._known: dict[bytes, bytes] = {}  # prepared statement -> its text

    def read(self, data: bytes) -> Iterator[bytes]:
        """The texts of the statements that these bytes complete."""
        self._rest += data
        while (message := self._message()) is not None:
            kind, body = message
            if kind == b"Q":
                yield body
            elif kind == b"P":
                name, text = body.split(b"\0", 2)[:2]
                self._known[name] = text
            elif kind == b"B":
                yield self._known.get(body.split(b"\0", 2)[1], b"")

    def _message(self) -> tuple[bytes, bytes] | None:
        """(kind, body) of the next whole message; before the session has started they have no kind."""
        kind = 1 if self._started else 0
        if len(self._rest) < kind + LENGTH:
            return None
        length = int.from_bytes(self._rest[kind : kind + LENGTH], "big")
        if len(self._rest) < kind + length:
            return None
        found = self._rest[:kind], self._rest[kind + LENGTH : kind + length]
        self._rest = self._rest[kind + length :]
        if not self._started:
            self._started = int.from_bytes(found[1][:LENGTH], "big") not in HELLOS
        return found
