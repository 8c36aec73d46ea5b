"""HttpCall over loopback: what it sends, what it makes of an answer, and when it gives up."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runs.executors.base import Call, StepFailure
from runs.executors.http_call import HttpExecutor
from staterail.core.net.guard import AllowList
from staterail.testing.effects import EffectsServer

RUN = UUID(int=7)
TRACE = "0af7651916cd43dd8448eb211c80319c"
Execute = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[EffectsServer]:
    with EffectsServer() as server:
        yield server


@pytest.fixture(scope="module")
def executor(server: EffectsServer) -> Iterator[HttpExecutor]:
    executor = HttpExecutor(AllowList.parse([server.netloc]), resolver=lambda host, port: ["127.0.0.1"])
    yield executor
    executor.close()


@pytest.fixture
def execute(server: EffectsServer, executor: HttpExecutor) -> Execute:
    def execute(path: str, /, timeout: float | None = 5, secrets: tuple[str, ...] = (), **config: Any) -> Any:
        return executor.execute(call({"url": server.url + path} | config, timeout=timeout, secrets=secrets))

    return execute


def call(config: Any, **fields: Any) -> Call:
    return Call(RUN, "charge", "HttpCall", attempt=2, generation=3, config=config, **{"trace_id": TRACE} | fields)


def failure(execute: Execute, *args: Any, **config: Any) -> StepFailure:
    with pytest.raises(StepFailure) as caught:
        execute(*args, **config)
    return caught.value


def test_the_output_is_status_headers_and_parsed_body(execute: Execute) -> None:
    output = execute("/echo?a=1", method="post", query={"b": [2, True], "c": "ü &", "d": None}, body={"x": [1, None]})

    assert (output["status"], output["headers"]["content-type"]) == (200, "application/json")
    assert output["body"] == {
        "method": "POST",
        "path": "/echo",
        "query": [["a", "1"], ["b", "2"], ["b", "true"], ["c", "ü &"]],
        "body": {"x": [1, None]},
    }


def test_text_is_sent_as_text(execute: Execute) -> None:
    assert execute("/echo", method="PUT", text="grüße")["body"]["body"] == "grüße"


def test_an_empty_body_is_null(execute: Execute) -> None:
    assert execute("/ok", method="HEAD")["body"] is None


def test_the_headers_that_every_request_carries(execute: Execute) -> None:
    sent = execute("/echo-headers", method="POST", body=1, headers={"X-Mine": "a b", "x-number": 5})["body"]

    assert sent["idempotency-key"] == f"{RUN}:charge:3"
    assert sent["traceparent"].startswith(f"00-{TRACE}-")
    assert len(sent["traceparent"]) == 55
    assert (sent["user-agent"], sent["accept-encoding"]) == ("StateRail", "gzip, deflate")
    assert (sent["content-type"], sent["x-mine"], sent["x-number"]) == ("application/json", "a b", "5")


def test_a_header_of_the_users_own_wins(execute: Execute) -> None:
    mine = {"idempotency-key": "mine", "CONTENT-TYPE": "text/csv", "User-Agent": "me"}

    sent = execute("/echo-headers", method="POST", text="a,b", headers=mine)["body"]

    assert (sent["idempotency-key"], sent["content-type"], sent["user-agent"]) == ("mine", "text/csv", "me")


def test_without_a_trace_no_traceparent_is_sent(server: EffectsServer, executor: HttpExecutor) -> None:
    output = executor.execute(call({"url": server.url + "/echo-headers"}, trace_id="not hex"))

    assert "traceparent" not in output["body"]


def test_cookies_are_not_kept_between_calls(execute: Execute) -> None:
    execute("/ok", headers={"Cookie": "a=b"})

    assert "cookie" not in execute("/echo-headers")["body"]


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 425, 429, 500, 501, 502, 503, 504, 505, 302, 204])
def test_an_unexpected_status_fails_and_some_may_be_tried_again(execute: Execute, status: int) -> None:
    error = failure(execute, f"/status?code={status}", expect_status=[200])

    assert error.code == f"http_{status}"
    assert error.retryable == (status in {408, 425, 429, 500, 502, 503, 504})
    assert error.details is not None
    assert error.details["status"] == status
    assert len(error.details["body"]) <= 2048


@pytest.mark.parametrize(("status", "expected"), [(404, ["2xx", 404]), (404, ["404"]), (404, ["4XX"]), (302, ["3xx"])])
def test_an_expected_status_is_an_output(execute: Execute, status: int, expected: list[Any]) -> None:
    assert execute(f"/status?code={status}", expect_status=expected)["status"] == status


@pytest.mark.parametrize(
    ("value", "seconds"), [("2", 2.0), ("0", 0.0), ("soon", None), ("-1", None), ("9" * 400, None), ("1.5", None)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_passed_on(execute: Execute, status: int, value: str, seconds: float | None) -> None:
    assert failure(execute, f"/status?code={status}&retry_after={value}").retry_after == seconds


def test_retry_after_may_be_a_date(execute: Execute) -> None:
    at = datetime.now(UTC) + timedelta(seconds=60)

    error = failure(execute, "/status", query={"code": 503, "retry_after": format_datetime(at, usegmt=True)})

    assert error.retry_after == pytest.approx(60, abs=2)


def test_retry_after_of_another_status_is_nothing(execute: Execute) -> None:
    assert failure(execute, "/status?code=500&retry_after=2").retry_after is None


# F-41 and rows 35 and 36: the upstream misbehaves.


@pytest.mark.parametrize(
    ("path", "code", "retryable"),
    [
        ("/reset", "network", True),
        ("/half", "network", True),
        ("/bad-chunks", "network", True),
        ("/big?mb=50", "response_too_large", False),
        ("/gzip-bomb?mb=500", "response_too_large", False),
        ("/huge-headers?kb=100", "response_too_large", False),
        ("/huge-headers?kb=200", "response_too_large", False),
        ("/huge-headers?kb=70", "response_too_large", False),
    ],
)
def test_a_broken_answer_is_classified(execute: Execute, path: str, code: str, retryable: bool) -> None:
    started = time.monotonic()

    error = failure(execute, path)

    assert (error.code, error.retryable) == (code, retryable)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("path", ["/hang", "/slow?bps=10", "/slow?bps=50&part=headers"])
def test_the_deadline_is_for_the_whole_call(execute: Execute, path: str) -> None:
    started = time.monotonic()

    error = failure(execute, path, timeout=0.7)

    assert (error.code, error.retryable) == ("timeout", True)
    assert 0.6 < time.monotonic() - started < 1.4


@pytest.mark.parametrize("path", ["/hang", "/slow?bps=10"])
def test_a_cancelled_call_ends_soon(server: EffectsServer, executor: HttpExecutor, path: str) -> None:
    attempt = call({"url": server.url + path})
    threading.Timer(0.3, attempt.cancelled.set).start()
    started = time.monotonic()

    error = failure(executor.execute, attempt)

    assert (error.code, error.retryable) == ("interrupted", False)
    assert time.monotonic() - started < 0.3 + 0.5


def test_nothing_listens(executor: HttpExecutor) -> None:
    server = EffectsServer().__enter__()
    server.close()
    with closing(HttpExecutor(AllowList.parse([server.netloc]))) as lonely:
        error = failure(lonely.execute, call({"url": server.url}))

    assert (error.code, error.retryable) == ("network", True)


def test_the_limit_may_be_lowered(execute: Execute) -> None:
    assert execute("/gzip-bomb?mb=1")["status"] == 200
    assert failure(execute, "/ok", max_response_bytes=10).code == "response_too_large"


def test_a_status_that_fails_is_told_although_its_body_never_ends(execute: Execute, server: EffectsServer) -> None:
    error = failure(execute, "/slow?bps=10", timeout=0.5, expect_status=[201])

    assert error.code == "http_200"


def test_a_zero_byte_in_a_text_is_replaced(execute: Execute) -> None:
    assert set(execute("/gzip-bomb?mb=1")["body"]) == {"\ufffd"}


def test_a_self_signed_certificate_is_a_network_error(tmp_path: Path) -> None:
    with EffectsServer(tls=_self_signed(tmp_path)) as server:
        with closing(HttpExecutor(AllowList.parse([server.netloc]))) as executor:
            error = failure(executor.execute, call({"url": server.url + "/ok"}))

        assert (error.code, error.retryable) == ("network", True)
        assert server.calls == []


def test_https_against_a_server_that_speaks_http_is_a_network_error(
    server: EffectsServer, executor: HttpExecutor
) -> None:
    error = failure(executor.execute, call({"url": f"https://{server.netloc}/ok"}))

    assert (error.code, error.retryable) == ("network", True)


def _self_signed(folder: Path) -> ssl.SSLContext:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "pem").write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")
    return context


# Row 28: redirects.


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_only_on_request(execute: Execute, code: int) -> None:
    assert failure(execute, f"/redirect?code={code}&to=/ok").code == f"http_{code}"
    assert execute(f"/redirect?code={code}&to=/ok", follow_redirects=True)["status"] == 200


@pytest.mark.parametrize(("code", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_what_becomes_of_a_redirected_post(execute: Execute, code: int, method: str) -> None:
    output = execute(f"/redirect?code={code}&to=/echo", method="POST", body={"a": 1}, follow_redirects=True)

    assert output["body"]["method"] == method
    assert output["body"]["body"] == ({"a": 1} if method == "POST" else None)


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1:6379/",
        "http://127.0.0.1/",
        "http://rebind.example/",
        "http://169.254.169.254/latest/",
        "file:///etc/passwd",
        "gopher://public.example/",
        "//user@public.example/",
        "http:\\\\127.0.0.1",
        "http://public.example:22/",
        "http://[::1/",
    ],
)
@pytest.mark.parametrize("code", [302, 307])
def test_a_hop_to_where_we_do_not_call_is_refused(server: EffectsServer, execute: Execute, code: int, to: str) -> None:
    before = len(server.calls)

    error = failure(execute, "/redirect", method="POST", body={}, query={"code": code, "to": to}, follow_redirects=True)

    assert (error.code, error.details, error.retryable) == ("blocked_address", {"reason": "redirect"}, False)
    assert "127.0" not in error.message
    assert len(server.calls) == before + 1


def test_three_hops_are_followed_and_no_fourth(server: EffectsServer, execute: Execute) -> None:
    before = len(server.calls)

    error = failure(execute, "/redirect", follow_redirects=True)

    assert (error.code, error.details) == ("blocked_address", {"reason": "redirect"})
    assert len(server.calls) == before + 4


def test_secrets_do_not_follow_to_another_port(server: EffectsServer) -> None:
    headers = {"Authorization": "Bearer s", "Cookie": "a=b", "X-Api-Key": "k", "X-Odd": "has s3cret", "X-Plain": "p"}
    config = {"url": f"{server.url}/redirect", "headers": headers, "follow_redirects": True}
    with EffectsServer() as other, closing(HttpExecutor(AllowList.parse([server.netloc, other.netloc]))) as executor:

        def redirected(to: str) -> Any:
            return executor.execute(call(config | {"query": {"to": to}}, secrets=("s3cret",)))["body"]

        away, home = redirected(f"{other.url}/echo-headers"), redirected("/echo-headers")

    assert {"authorization", "cookie", "x-api-key", "x-odd"} & set(away) == set()
    assert (away["x-plain"], away["host"]) == ("p", other.netloc)
    assert home["authorization"] == "Bearer s"


# Row 32: what may not stand in a request.


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"},
        {"X": "a\n"},
        {"X": "a\x00"},
        {"X": "a\tb"},
        {"X": " a"},
        {"X": "\u2028"},
        {"X\r\nY": "a"},
        {"X Y": "a"},
        {"X:": "a"},
        {"X\x00": "a"},
        {"": "a"},
        {"Ü": "a"},
        {"Host": "other.example"},
        {"content-length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Upgrade": "h2c"},
        {"X": "a" * 100_000},
    ],
)
def test_a_header_that_could_forge_a_request_is_refused(
    server: EffectsServer, execute: Execute, headers: dict[str, str]
) -> None:
    before = len(server.calls)

    error = failure(execute, "/ok", headers=headers)

    assert (error.code, error.details, error.retryable) == ("blocked_address", {"reason": "header"}, False)
    assert len(server.calls) == before


@pytest.mark.parametrize("url", ["/ok\r\nX: y", "/ok\x00", "/ok\t", "/o k", "/\\ok"])
def test_a_url_that_could_forge_a_request_is_refused(execute: Execute, url: str) -> None:
    error = failure(execute, url)

    assert (error.code, error.details) == ("blocked_address", {"reason": "form"})


def test_a_query_is_escaped_and_bounded(execute: Execute) -> None:
    assert execute("/echo", query={"a": "\r\n&b=c#"})["body"]["query"] == [["a", "\r\n&b=c#"]]
    for length in (9_000, 70_000):
        assert failure(execute, "/ok", query={"a": "x" * length}).details == {"reason": "form"}


def test_an_address_that_is_not_allowed_is_refused(executor: HttpExecutor) -> None:
    error = failure(executor.execute, call({"url": "http://127.0.0.1:1/"}))

    assert (error.code, error.details, error.retryable) == ("blocked_address", {"reason": "port"}, False)


@pytest.mark.parametrize(
    "config",
    [
        {"method": "CONNECT"}, {"method": 5}, {"url": None}, {"url": 5}, {"url": ""}, {"headers": []},
        {"headers": {"X": ["a"]}}, {"headers": {"X": "a", "x": "b"}}, {"query": "a=b"}, {"query": {"a": {}}},
        {"query": {"a": [[1]]}}, {"body": 1, "text": "a"}, {"text": 5}, {"body": {"a": float("nan")}},
        {"expect_status": []}, {"expect_status": "2xx"}, {"expect_status": [True]}, {"expect_status": ["6xx"]},
        {"expect_status": [99]}, {"expect_status": ["all"]}, {"follow_redirects": "yes"},
        {"max_response_bytes": 0}, {"max_response_bytes": 1024 * 1024 + 1}, {"max_response_bytes": True},
        {"verify": False},
    ],
)  # fmt: skip
def test_a_config_of_wrong_types_is_an_expression_error(execute: Execute, config: dict[str, Any]) -> None:
    error = failure(execute, "/ok", **config)

    assert (error.code, error.retryable) == ("expression_error", False)


@pytest.mark.parametrize("config", [None, [], "x"])
def test_a_config_that_is_no_object_is_an_expression_error(executor: HttpExecutor, config: Any) -> None:
    assert failure(executor.execute, call(config)).code == "expression_error"


def test_a_body_that_may_not_be_there_is_not_taken_for_the_next_answer(execute: Execute) -> None:
    assert [execute("/status?code=204")["body"], execute("/ok")["status"]] == [None, 200]


def test_many_threads_share_the_executor(execute: Execute) -> None:
    outputs: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: outputs.append(execute("/echo", query={"n": n})["body"]["query"]))
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(int(output[0][1]) for output in outputs) == list(range(40))
