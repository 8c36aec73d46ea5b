"""The bounds on bodies, over a real connection: what is refused is heard."""

import asyncio
import http.client
import json
import socket
import threading

import pytest
import uvicorn
from django.db import connections

from staterail import asgi, bodies
from staterail.accounts.models import ApiToken
from staterail.accounts.services import login_path
from staterail.accounts.tests.factories import MemberFactory, TenantFactory
from staterail.accounts.tokens import create_token, revoke_token
from staterail.core.actor import Role
from staterail.core.errors import Unauthenticated
from staterail.core.middleware import EVERYWHERE

KIB, MIB = 1024, 1024 * 1024
KNOWN = {"Authorization": "Bearer known"}


async def _let_in(scope):
    if (b"authorization", b"Bearer known") not in scope["headers"]:
        raise Unauthenticated


async def _echo(scope, receive, send):
    """Says how many bytes came."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(scope="module")
def port():
    server = uvicorn.Server(
        uvicorn.Config(bodies.BodyLimit(_echo, _let_in), port=0, lifespan="off", log_level="critical", ws="none")
    )
    sockets = [socket.create_server(("127.0.0.1", 0))]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=sockets)))
    thread.start()
    yield sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def send(port, path, body, headers=KNOWN, *, chunked=False):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    if chunked:
        pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
        connection.request("POST", path, pieces, {**headers, "Transfer-Encoding": "chunked"}, encode_chunked=True)
    else:
        connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.headers), content


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/api/v1/workflows", 2 * MIB, 200),
        ("/api/v1/workflows", 2 * MIB + 1, 413),
        ("/api/v1/workflows", 12 * MIB, 413),
        ("/api/v1/workflows/x/runs/batch", 12 * MIB, 200),
        ("/api/v1/workflows/x/runs/batch/", 12 * MIB, 413),
        ("/api/v1/x/runs/batch", 12 * MIB, 413),
        ("/login/runs/batch", 3 * MIB, 413),
    ],
)
def test_a_body_too_large_is_refused_and_its_sender_hears_why(port, path, size, status, chunked):
    found, headers, content = send(port, path, b"x" * size, chunked=chunked)
    assert found == status
    if status == 200:
        assert content == str(size).encode()
        return
    assert json.loads(content) == {
        "type": "about:blank", "title": "Request Entity Too Large", "status": 413, "code": "PAYLOAD_TOO_LARGE",
        "detail": f"The body is larger than {2 * MIB} bytes.",
    }  # fmt: skip
    assert headers["content-type"] == "application/problem+json"
    assert {name: headers.get(name.lower()) for name in EVERYWHERE} == EVERYWHERE


@pytest.mark.parametrize("chunked", [False, True])
def test_of_a_stranger_only_a_small_body_is_read(port, chunked):
    path = "/api/v1/workflows/x/runs/batch"
    assert send(port, path, b"x" * 64 * KIB, {}, chunked=chunked)[0] == 200
    found, headers, content = send(port, path, b"x" * 12 * MIB, {}, chunked=chunked)
    assert (found, json.loads(content)["code"], headers["www-authenticate"]) == (401, "UNAUTHENTICATED", "Bearer")


class Caller:
    """One request that is sent piece by piece; `status` is that of its answer, once there is one."""

    def __init__(self, app, announced=None, *, known=True):
        headers = [(b"authorization", b"Bearer known")] if known else []
        headers += [(b"content-length", str(announced).encode())] if announced is not None else []
        scope = {"type": "http", "path": "/api/v1/workflows/x/runs/batch", "headers": headers}
        self.pieces, self.answer = asyncio.Queue(), {}
        self.task = asyncio.create_task(app(scope, self.pieces.get, self._hear))

    async def _hear(self, message):
        self.answer.update(message)

    async def sends(self, size, *, more=True):
        """Until it is read, or the request is over."""
        self.pieces.put_nowait({"type": "http.request", "body": b"x" * size, "more_body": more})
        for _ in range(5):
            await asyncio.sleep(0)

    async def ends(self):
        await self.sends(0, more=False)
        await asyncio.wait_for(self.task, 10)
        return self.answer["status"]


@pytest.mark.parametrize("announced", [MIB, None])
def test_bodies_that_find_no_room_are_told_to_come_again_and_small_ones_find_theirs(announced):
    async def calls():
        app = bodies.BodyLimit(_echo, _let_in)
        app.room.most = 2 * MIB
        first, second = Caller(app, announced), Caller(app, announced)
        for each in (first, second):
            await each.sends(MIB)
        third, small = Caller(app, announced), Caller(app)
        await third.sends(MIB)
        await small.sends(KIB)
        answers = [await each.ends() for each in (third, small, first)]
        assert dict(third.answer["headers"])[b"retry-after"] == b"1"
        fourth = Caller(app, announced)
        await fourth.sends(MIB)
        answers += [await fourth.ends(), await second.ends()]
        return answers, app.strangers.taken, app.room.taken

    assert asyncio.run(calls()) == ([503, 200, 200, 200, 200], 0, 0)


def test_strangers_who_fill_their_room_keep_no_known_caller_out():
    async def calls():
        app = bodies.BodyLimit(_echo, _let_in)
        app.strangers.most = 2 * KIB
        idle = [Caller(app, 64 * KIB, known=False) for _ in range(10)]  # announced is not sent
        busy = [Caller(app, known=False) for _ in range(2)]
        for each in busy:
            await each.sends(KIB)
        late, known = Caller(app, known=False), Caller(app)
        for each in (late, known):
            await each.sends(KIB)
        answers = [await each.ends() for each in (late, known, *busy, *idle)]
        return answers, app.strangers.taken, app.room.taken

    assert asyncio.run(calls()) == ([401, 200, *[200] * 12], 0, 0)


def test_a_caller_who_hangs_up_gives_the_room_back():
    async def calls():
        app = bodies.BodyLimit(_echo, _let_in)
        gone = Caller(app, 2 * MIB)
        await gone.sends(MIB)
        held = app.room.taken
        gone.pieces.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(gone.task, 10)
        return held, app.room.taken

    assert asyncio.run(calls()) == (2 * MIB, 0)


@pytest.fixture
def over_asgi(monkeypatch, transactional_db):
    """The status that the whole application answers to a large batch with these headers."""
    monkeypatch.setattr(asgi, "THREADS", 1)
    handler = asgi.PooledHandler()
    application = bodies.BodyLimit(handler, handler.let_in)
    yield lambda headers: _answer(application, headers)
    handler._pool.submit(connections.close_all).result(10)
    handler._pool.shutdown()


def _answer(application, headers):
    scope = {
        "type": "http", "method": "POST", "path": "/api/v1/workflows/x/runs/batch", "query_string": b"", "headers": [
            (b"host", b"localhost"), (b"content-type", b"application/json"), *headers
        ], "client": ("127.0.0.1", 1), "server": ("localhost", 80), "scheme": "http", "http_version": "1.1",
    }  # fmt: skip

    async def call():
        pieces, answers = asyncio.Queue(), asyncio.Queue()
        pieces.put_nowait({"type": "http.request", "body": b"[" * MIB, "more_body": False})
        await application(scope, pieces.get, answers.put)
        return answers.get_nowait()["status"]

    return asyncio.run(call())


def test_a_large_body_is_read_with_a_token_or_a_session_that_holds(client, over_asgi):
    token = create_token(tenant=TenantFactory(), name="ci", role=Role.VIEWER)
    user = MemberFactory()
    client.post(login_path(user))
    session = client.cookies["staterail"].value
    held = [(b"authorization", f"Bearer {token}".encode())], [(b"cookie", f"staterail={session}".encode())]
    assert [over_asgi(headers) for headers in held] == [400, 403]  # too deep; without a CSRF token
    client.logout()
    strangers = [], [(b"authorization", b"Bearer srt_x")], [(b"authorization", b"Basic x")], held[1]
    assert [over_asgi(headers) for headers in strangers] == [401] * 4
    revoke_token(ApiToken.objects.get().id)
    assert over_asgi(held[0]) == 401


def test_a_declared_size_is_refused_before_a_byte_of_the_body_is_read():
    read = []

    async def receive():
        read.append("body")
        return {"type": "http.request", "body": b"", "more_body": False}

    sent = []

    async def told(message):
        sent.append((message["type"], message.get("status"), len(read)))

    scope = {"type": "http", "path": "/api/v1/runs", "headers": [(b"content-length", b"9999999999")]}
    asyncio.run(bodies.BodyLimit(_echo, _let_in)(scope, receive, told))
    assert sent[0] == ("http.response.start", 413, 0)


def test_a_body_that_does_not_end_is_refused_in_time(port, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
        slow.sendall(b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = b"".join(iter(lambda: slow.recv(65_536), b""))
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert (json.loads(body)["status"], json.loads(body)["code"]) == (408, "VALIDATION_FAILED")


def test_a_sender_who_hangs_up_leaves_nothing_behind(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as gone:
        gone.sendall(b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert send(port, "/api/v1/runs", b"{}")[2] == b"2"


def test_requests_run_on_threads_that_last():
    handler = asgi.PooledHandler()
    names = set()

    def respond(request):
        names.add(threading.current_thread().name)
        return "answer"

    handler.get_response = respond

    async def calls():
        return [await handler.get_response_async(None) for _ in range(50)]

    assert asyncio.run(calls()) == ["answer"] * 50
    assert len(names) <= asgi.THREADS
    assert all(name.startswith("web") for name in names)
