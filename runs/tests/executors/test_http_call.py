"""HttpCall over loopback: what it sends, and what it makes of an answer."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from runs.executors.http_call import HttpExecutor
from runs.tests.executors.calls import RUN, TRACE, failure_of, http_call
from runs.tests.executors.conftest import Execute
from staterail.testing.effects import EffectsServer


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


@pytest.mark.parametrize("depth", [0, 4])
def test_a_request_says_how_deep_its_run_stands(server: EffectsServer, executor: HttpExecutor, depth: int) -> None:
    """Row 34: what it starts in another StateRail, or in this one, stands one deeper."""
    output = executor.execute(http_call({"url": server.url + "/echo-headers"}, depth=depth))

    assert output["body"]["staterail-depth"] == str(depth + 1)


def test_a_header_of_the_users_own_wins(execute: Execute) -> None:
    mine = {"idempotency-key": "mine", "CONTENT-TYPE": "text/csv", "User-Agent": "me"}

    sent = execute("/echo-headers", method="POST", text="a,b", headers=mine)["body"]

    assert (sent["idempotency-key"], sent["content-type"], sent["user-agent"]) == ("mine", "text/csv", "me")


def test_without_a_trace_no_traceparent_is_sent(server: EffectsServer, executor: HttpExecutor) -> None:
    output = executor.execute(http_call({"url": server.url + "/echo-headers"}, trace_id="not hex"))

    assert "traceparent" not in output["body"]


def test_cookies_are_not_kept_between_calls(execute: Execute) -> None:
    execute("/ok", headers={"Cookie": "a=b"})

    assert "cookie" not in execute("/echo-headers")["body"]


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 425, 429, 500, 501, 502, 503, 504, 505, 302, 204])
def test_an_unexpected_status_fails_and_some_may_be_tried_again(execute: Execute, status: int) -> None:
    error = failure_of(execute, f"/status?code={status}", expect_status=[200])

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
    assert failure_of(execute, f"/status?code={status}&retry_after={value}").retry_after == seconds


def test_retry_after_may_be_a_date(execute: Execute) -> None:
    at = datetime.now(UTC) + timedelta(seconds=60)

    error = failure_of(execute, "/status", query={"code": 503, "retry_after": format_datetime(at, usegmt=True)})

    assert error.retry_after == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Mon, 01 Jan 10000 00:00:00 GMT", None),
        ("Mon, 01 Jan 2020 00:00:00 +99999999999999", None),
        ("Mon, 01 Jan 2020 00:00:00 -2460", None),
        ("1e9", None),
        ("0x10", None),
        ("\u0662", None),
        ("2, 3", None),
    ],
)
def test_an_odd_retry_after_asks_for_nothing(execute: Execute, value: str, seconds: float | None) -> None:
    config = {"query": {"code": 503, "retry_after": value.encode().decode("latin-1")}}

    error = failure_of(execute, "/status", **config)

    assert (error.code, error.retry_after) == ("http_503", seconds)


def test_retry_after_of_another_status_is_nothing(execute: Execute) -> None:
    assert failure_of(execute, "/status?code=500&retry_after=2").retry_after is None


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


# What is made of a body.


@pytest.mark.parametrize(
    ("kind", "sent", "body"),
    [
        ("application/json", '{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("application/problem+json; charset=utf-8", '{"a": 1}', {"a": 1}),
        ("APPLICATION/JSON", "[]", []),
        ("application/json", "\ufeff[1]", [1]),
        ("application/json", "<html>503</html>", "<html>503</html>"),
        ("application/json", '{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ("application/json", "[NaN]", "[NaN]"),
        ("application/json", "[1e999]", "[1e999]"),
        ("application/json", str(2**64), str(2**64)),
        ("application/json", r'["\u0000"]', r'["\u0000"]'),
        ("application/json", r'["\ud800"]', r'["\ud800"]'),
        ("application/json", "[" * 100_000, "[" * 100_000),
        ("text/html", "<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("text/plain", "[1]", "[1]"),
        ("", "a", "a"),
        ("text/plain; charset=no-such", "ü", "ü"),
        ("text/plain; charset=utf-7", "+AG8-", "+AG8-"),
        ("text/plain; charset=zlib", "a", "a"),
        ("text/plain; charset=iso-8859-1", "ü", "Ã¼"),
        ("text/plain", "a\x00b", "a\ufffdb"),
    ],
)
def test_a_body_is_json_where_it_is_and_text_elsewhere(execute: Execute, kind: str, sent: str, body: Any) -> None:
    assert execute("/mirror", method="POST", query={"type": kind}, text=sent)["body"] == body


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "identity"])
def test_an_encoding_that_was_not_asked_for_is_not_undone(execute: Execute, encoding: str) -> None:
    """Row 35: no bomb goes off that nobody opens."""
    output = execute("/mirror", method="POST", query={"encoding": encoding}, text="as it is")

    assert output["body"] == "as it is"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_encoding_that_is_none_is_a_network_error(execute: Execute, encoding: str) -> None:
    error = failure_of(execute, "/mirror", method="POST", query={"encoding": encoding}, text="this is not compressed")

    assert (error.code, error.retryable) == ("network", True)


@pytest.mark.parametrize("raw", ["grüße".encode(), "grüße".encode("latin-1")])
def test_a_header_is_read_in_either_of_its_encodings(execute: Execute, raw: bytes) -> None:
    query = {"to": "/" + raw.decode("latin-1")}

    assert execute("/redirect", query=query, expect_status=[302])["headers"]["location"] == "/grüße"


def test_a_secret_in_an_unexpected_answer_is_gone_before_that_is_cut(execute: Execute) -> None:
    secret = "s3cret-" + "z" * 60
    sent = "x" * 2020 + secret + "y" * 100

    error = failure_of(execute, "/mirror", method="POST", query={"status": 400}, text=sent, secrets=(secret,))

    assert error.details is not None
    assert error.details["body"] == "x" * 2020 + "***" + "y" * 25
