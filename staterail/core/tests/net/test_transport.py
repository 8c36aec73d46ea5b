"""The pinned transport over loopback: what it resolves, where it connects, when it gives up."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from staterail.core.net.guard import AllowList, Blocked
from staterail.core.net.transport import Cancelled, PinnedTransport, Watch, watching
from staterail.testing.effects import EffectsServer

PUBLIC = "93.184.216.34"


class Answers:
    """A resolver that gives one answer after the other, then the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@pytest.fixture
def server() -> Iterator[EffectsServer]:
    with EffectsServer() as server:
        yield server


def client(resolver: Callable[[str, int], list[str]], *allow: str) -> httpx.Client:
    return httpx.Client(transport=PinnedTransport(AllowList.parse(allow), resolver), timeout=5)


def test_a_name_is_resolved_once_and_the_answer_is_what_gets_connected(server: EffectsServer) -> None:
    resolver = Answers(["127.0.0.1"], ["127.0.0.2"])

    with client(resolver, "127.0.0.1") as http:
        response = http.get(f"http://rebind.example:{server.port}/echo-headers")

    assert response.json()["host"] == f"rebind.example:{server.port}"
    assert resolver.asked == 1


def test_each_request_is_judged_anew_although_a_connection_is_alive(server: EffectsServer) -> None:
    resolver = Answers(["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"])
    url = f"http://rebind.example:{server.port}/ok"

    with client(resolver, "127.0.0.1") as http:
        assert [http.get(url).status_code, http.get(url).status_code] == [200, 200]
        with pytest.raises(Blocked):
            http.get(url)

    assert resolver.asked == 3
    assert len(server.calls) == 2


@pytest.mark.parametrize("addresses", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], ["::1"], ["::ffff:127.0.0.1"]])
def test_one_address_that_does_not_pass_refuses_all(addresses: list[str]) -> None:
    with client(Answers(addresses)) as http, pytest.raises(Blocked) as caught:
        http.get("http://mixed.example/")

    assert caught.value.reason == "address"


def test_the_next_address_is_tried_where_the_first_does_not_answer(server: EffectsServer) -> None:
    resolver = Answers(["127.0.0.9", "127.0.0.1"])  # the server listens on the second only

    with client(resolver, f"both.example:{server.port}") as http:
        assert http.get(f"http://both.example:{server.port}/ok").status_code == 200


def test_a_name_without_an_answer_is_a_connect_error() -> None:
    def broken(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    for resolver in (broken, Answers([])):
        with client(resolver) as http, pytest.raises(httpx.ConnectError):
            http.get("http://nowhere.example/")


def test_proxy_variables_are_ignored(server: EffectsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    with client(Answers([]), server.netloc) as http:
        assert http.get(server.url + "/ok").status_code == 200


def test_a_resolver_that_hangs_ends_with_the_watch() -> None:
    release, started = threading.Event(), time.monotonic()

    def hangs(host: str, port: int) -> list[str]:
        release.wait(10)
        return []

    with client(hangs) as http, watching(Watch(0.5)), pytest.raises(httpx.TimeoutException):
        http.get("http://slow.example/")
    release.set()

    assert time.monotonic() - started < 1.5


def test_a_watch_ends_many_small_waits(server: EffectsServer) -> None:
    started = time.monotonic()

    with client(Answers([]), server.netloc) as http, watching(Watch(0.6)), pytest.raises(httpx.TimeoutException):
        http.get(server.url + "/slow?bps=20")

    assert 0.5 < time.monotonic() - started < 1.5


def test_a_cancelled_watch_ends_the_wait(server: EffectsServer) -> None:
    cancelled, started = threading.Event(), time.monotonic()
    threading.Timer(0.3, cancelled.set).start()

    with client(Answers([]), server.netloc) as http, watching(Watch(None, cancelled)), pytest.raises(Cancelled):
        http.get(server.url + "/hang")

    assert time.monotonic() - started < 0.9


def test_a_full_pool_ends_with_the_watch_too(server: EffectsServer) -> None:
    ended = threading.Event()

    def hang(http: httpx.Client) -> None:
        with watching(Watch(None, ended)), pytest.raises(Cancelled):
            http.get(server.url + "/hang")

    with client(Answers([]), server.netloc) as http:
        threads = [threading.Thread(target=hang, args=(http,)) for _ in range(100)]
        for thread in threads:
            thread.start()
        while len(server.calls) < 100:
            time.sleep(0.02)
        with watching(Watch(0.5)), pytest.raises(httpx.TimeoutException):
            http.get(server.url + "/ok")
        ended.set()
        for thread in threads:
            thread.join(5)
        assert http.get(server.url + "/ok").status_code == 200


# TLS: the address is pinned, and the certificate must still be the name's.


def certificate(folder: Path, name: str, *, days: int = 1) -> Path:
    """A self-signed certificate of `name` with its key, in one file; past its time if `days` is negative."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start, end = sorted([now - timedelta(minutes=5), now + timedelta(days=days)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), start, end)
    signed = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(pem + signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def get_over_tls(pem: Path, url_host: str, server_context: ssl.SSLContext | None = None) -> httpx.Response:
    context = server_context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    trusting = ssl.create_default_context(cafile=str(pem))
    with EffectsServer(tls=context) as server:
        transport = PinnedTransport(AllowList.parse(["127.0.0.1"]), Answers(["127.0.0.1"]), tls=trusting)
        with httpx.Client(transport=transport) as http:
            http.get(f"https://{url_host}:{server.port}/ok")
            return http.get(f"https://{url_host}:{server.port}/big?mb=3")


def test_the_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    assert len(get_over_tls(certificate(tmp_path, "tls.example"), "tls.example").content) == 3 * 1024 * 1024


def test_the_name_is_sent_for_the_server_to_choose_its_certificate(tmp_path: Path) -> None:
    asked: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda sock, name, _: asked.append(name)

    get_over_tls(certificate(tmp_path, "tls.example"), "tls.example", context)

    assert set(asked) == {"tls.example"}


def test_another_names_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(httpx.ConnectError):
        get_over_tls(certificate(tmp_path, "other.example"), "tls.example")


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(httpx.ConnectError):
        get_over_tls(certificate(tmp_path, "tls.example", days=-1), "tls.example")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the module deprecates what this asks for
def test_old_tls_is_refused(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(httpx.ConnectError):
        get_over_tls(certificate(tmp_path, "tls.example"), "tls.example", context)


def test_a_handshake_that_hangs_ends_with_the_watch() -> None:
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        netloc = f"127.0.0.1:{silent.getsockname()[1]}"
        with client(Answers([]), netloc) as http, watching(Watch(0.5)), pytest.raises(httpx.TimeoutException):
            http.get(f"https://{netloc}/")

    assert time.monotonic() - started < 1.2


def test_the_effects_ledger_outlives_its_server(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with EffectsServer(ledger) as server, client(Answers([]), server.netloc) as http:
        codes = [http.get(server.url + "/500?n=2&key=k").status_code for _ in range(3)]

    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert codes == [500, 500, 200]
    assert [(line["key"], line["attempt"]) for line in lines] == [("k", 1), ("k", 2), ("k", 3)]
