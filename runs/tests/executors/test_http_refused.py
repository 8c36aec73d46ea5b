"""What HttpCall refuses to send: RELIABILITY 4.3, rows 32 to 34, and configs that are none."""

from contextlib import closing
from typing import Any

import pytest

from runs.executors.http_call import HttpExecutor
from runs.tests.executors.calls import failure_of, http_call
from runs.tests.executors.conftest import Execute
from staterail.core.net.guard import AllowList
from staterail.testing.effects import EffectsServer
from workflows.definition.templates import compile_template


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
        {"TE": "trailers"},
        {"Expect": "100-continue"},
        {"Proxy-Connection": "close"},
        {"staterail-depth": "0"},
        {"X": "a" * 100_000},
    ],
)
def test_a_header_that_could_forge_a_request_is_refused(
    server: EffectsServer, execute: Execute, headers: dict[str, str]
) -> None:
    before = len(server.calls)

    error = failure_of(execute, "/ok", headers=headers)

    assert (error.code, error.details, error.retryable) == ("blocked_address", {"reason": "header"}, False)
    assert len(server.calls) == before


@pytest.mark.parametrize("url", ["/ok\r\nX: y", "/ok\x00", "/ok\t", "/o k", "/\\ok"])
def test_a_url_that_could_forge_a_request_is_refused(execute: Execute, url: str) -> None:
    error = failure_of(execute, url)

    assert (error.code, error.details) == ("blocked_address", {"reason": "form"})


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "127.1", "0", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]",
        "169.254.169.254", "10.0.0.1", "①②⑦.⓪.⓪.①", "user:pass@public.example", "public.example\\@127.0.0.1",
        "127.0.0.1#", "127.0.0.1/?", "public.example:22", "public.example:6379", "127.0.0.1:80/#", "a b", "a\r\nX: y",
        "rebind.example", "", "/", "..",
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", ["http://${input.host}/", "https://${input.host}/", "http://${input.host}"])
def test_a_host_from_the_input_is_judged_as_one_that_was_written_there(
    server: EffectsServer, executor: HttpExecutor, host: str, url: str
) -> None:
    """Row 33."""
    before = len(server.calls)
    config = compile_template({"url": url}, {}).render({"input": {"host": host}})

    error = failure_of(executor.execute, http_call(config))

    assert (error.code, error.retryable) == ("blocked_address", False)
    assert len(server.calls) == before


@pytest.mark.parametrize("path", ["/ok\r\nX: y", "/a b", "\\@127.0.0.1/", "/\u2028"])
def test_a_path_from_the_input_is_judged_too(executor: HttpExecutor, server: EffectsServer, path: str) -> None:
    before = len(server.calls)
    config = compile_template({"url": server.url + "${input.path}"}, {}).render({"input": {"path": path}})

    assert failure_of(executor.execute, http_call(config)).code == "blocked_address"
    assert len(server.calls) == before


def test_a_host_of_ours_is_refused_wherever_it_resolves_to(server: EffectsServer) -> None:
    """Row 34: our public name, our database, our Redis."""
    allow = AllowList.parse([], own=["staterail.example", ".internal.example"])
    with closing(HttpExecutor(allow, resolver=lambda host, port: ["93.184.216.34"])) as executor:
        for host in ("staterail.example", "STATERAIL.example.", "db.internal.example", "internal.example"):
            error = failure_of(executor.execute, http_call({"url": f"http://{host}/"}))
            assert (error.code, error.details) == ("blocked_address", {"reason": "address"})


def test_runs_that_start_one_another_end_at_the_fifth(server: EffectsServer, executor: HttpExecutor) -> None:
    """Row 34: a workflow that calls its own trigger is no endless chain."""
    before = len(server.calls)

    error = failure_of(executor.execute, http_call({"url": server.url + "/ok"}, depth=5))

    assert (error.code, error.details, error.retryable) == ("blocked_address", {"reason": "depth"}, False)
    assert len(server.calls) == before


def test_a_query_is_escaped_and_bounded(execute: Execute) -> None:
    assert execute("/echo", query={"a": "\r\n&b=c#"})["body"]["query"] == [["a", "\r\n&b=c#"]]
    for length in (9_000, 70_000):
        assert failure_of(execute, "/ok", query={"a": "x" * length}).details == {"reason": "form"}


def test_an_address_that_is_not_allowed_is_refused(executor: HttpExecutor) -> None:
    error = failure_of(executor.execute, http_call({"url": "http://127.0.0.1:1/"}))

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
    error = failure_of(execute, "/ok", **config)

    assert (error.code, error.retryable) == ("expression_error", False)


@pytest.mark.parametrize("config", [None, [], "x"])
def test_a_config_that_is_no_object_is_an_expression_error(executor: HttpExecutor, config: Any) -> None:
    assert failure_of(executor.execute, http_call(config)).code == "expression_error"
