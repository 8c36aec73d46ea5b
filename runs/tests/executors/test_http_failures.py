"""HttpCall against an upstream that misbehaves: RELIABILITY 4.3, rows 35 and 36, deadlines and cancels."""

import ssl
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runs.executors.http_call import HttpExecutor
from runs.tests.executors.calls import failure_of, http_call
from runs.tests.executors.conftest import Execute
from staterail.core.net.guard import AllowList
from staterail.testing.effects import EffectsServer


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

    error = failure_of(execute, path)

    assert (error.code, error.retryable) == (code, retryable)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("path", ["/hang", "/slow?bps=10", "/slow?bps=50&part=headers"])
def test_the_deadline_is_for_the_whole_call(execute: Execute, path: str) -> None:
    started = time.monotonic()

    error = failure_of(execute, path, timeout=0.7)

    assert (error.code, error.retryable) == ("timeout", True)
    assert 0.6 < time.monotonic() - started < 1.4


@pytest.mark.parametrize("path", ["/hang", "/slow?bps=10"])
def test_a_cancelled_call_ends_soon(server: EffectsServer, executor: HttpExecutor, path: str) -> None:
    attempt = http_call({"url": server.url + path})
    threading.Timer(0.3, attempt.cancelled.set).start()
    started = time.monotonic()

    error = failure_of(executor.execute, attempt)

    assert (error.code, error.retryable) == ("interrupted", False)
    assert time.monotonic() - started < 0.3 + 0.5


def test_nothing_listens(executor: HttpExecutor) -> None:
    server = EffectsServer().__enter__()
    server.close()
    with closing(HttpExecutor(AllowList.parse([server.netloc]))) as lonely:
        error = failure_of(lonely.execute, http_call({"url": server.url}))

    assert (error.code, error.retryable) == ("network", True)


def test_the_limit_may_be_lowered(execute: Execute) -> None:
    assert execute("/gzip-bomb?mb=1")["status"] == 200
    assert failure_of(execute, "/ok", max_response_bytes=10).code == "response_too_large"


def test_a_status_that_fails_is_told_although_its_body_never_ends(execute: Execute, server: EffectsServer) -> None:
    error = failure_of(execute, "/slow?bps=10", timeout=0.5, expect_status=[201])

    assert error.code == "http_200"


def test_a_zero_byte_in_a_text_is_replaced(execute: Execute) -> None:
    assert set(execute("/gzip-bomb?mb=1")["body"]) == {"\ufffd"}


def test_a_self_signed_certificate_is_a_network_error(tmp_path: Path) -> None:
    with EffectsServer(tls=_self_signed(tmp_path)) as server:
        with closing(HttpExecutor(AllowList.parse([server.netloc]))) as executor:
            error = failure_of(executor.execute, http_call({"url": server.url + "/ok"}))

        assert (error.code, error.retryable) == ("network", True)
        assert server.calls == []


def test_https_against_a_server_that_speaks_http_is_a_network_error(
    server: EffectsServer, executor: HttpExecutor
) -> None:
    error = failure_of(executor.execute, http_call({"url": f"https://{server.netloc}/ok"}))

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
