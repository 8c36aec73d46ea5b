"""The bound on bodies, over a real connection: what is refused is heard."""

import asyncio
import http.client
import json
import socket
import threading

import pytest
import uvicorn

from staterail import asgi
from staterail.core.middleware import EVERYWHERE

MIB = 1024 * 1024


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
        uvicorn.Config(asgi.BodyLimit(_echo), port=0, lifespan="off", log_level="critical", ws="none")
    )
    sockets = [socket.create_server(("127.0.0.1", 0))]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=sockets)))
    thread.start()
    yield sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def send(port, path, body, *, chunked=False):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    if chunked:
        pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
        connection.request("POST", path, pieces, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    else:
        connection.request("POST", path, body)
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


def test_a_declared_size_is_refused_before_a_byte_of_the_body_is_read():
    read = []

    async def receive():
        read.append("body")
        return {"type": "http.request", "body": b"", "more_body": False}

    sent = []

    async def told(message):
        sent.append((message["type"], message.get("status"), len(read)))

    scope = {"type": "http", "path": "/api/v1/runs", "headers": [(b"content-length", b"9999999999")]}
    asyncio.run(asgi.BodyLimit(_echo)(scope, receive, told))
    assert sent[0] == ("http.response.start", 413, 0)


def test_a_body_that_does_not_end_is_refused_in_time(port, monkeypatch):
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(asgi, "DRAIN_SECONDS", 0.1)
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
