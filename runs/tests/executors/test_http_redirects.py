"""HttpCall and redirects: RELIABILITY 4.3, row 28."""

from contextlib import closing
from typing import Any

import pytest

from runs.executors.http_call import HttpExecutor
from runs.tests.executors.calls import failure_of, http_call
from runs.tests.executors.conftest import Execute
from staterail.core.net.guard import AllowList
from staterail.testing.effects import EffectsServer


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_only_on_request(execute: Execute, code: int) -> None:
    assert failure_of(execute, f"/redirect?code={code}&to=/ok").code == f"http_{code}"
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

    error = failure_of(
        execute, "/redirect", method="POST", body={}, query={"code": code, "to": to}, follow_redirects=True
    )

    assert (error.code, error.details, error.retryable) == ("blocked_address", {"reason": "redirect"}, False)
    assert "127.0" not in error.message
    assert len(server.calls) == before + 1


def test_three_hops_are_followed_and_no_fourth(server: EffectsServer, execute: Execute) -> None:
    before = len(server.calls)

    error = failure_of(execute, "/redirect", follow_redirects=True)

    assert (error.code, error.details) == ("blocked_address", {"reason": "redirect"})
    assert len(server.calls) == before + 4


def test_secrets_do_not_follow_to_another_port(server: EffectsServer) -> None:
    headers = {"Authorization": "Bearer s", "Cookie": "a=b", "X-Api-Key": "k", "X-Odd": "has s3cret", "X-Plain": "p"}
    config = {"url": f"{server.url}/redirect", "headers": headers, "follow_redirects": True}
    with EffectsServer() as other, closing(HttpExecutor(AllowList.parse([server.netloc, other.netloc]))) as executor:

        def redirected(to: str) -> Any:
            return executor.execute(http_call(config | {"query": {"to": to}}, secrets=("s3cret",)))["body"]

        away, home = redirected(f"{other.url}/echo-headers"), redirected("/echo-headers")

    assert {"authorization", "cookie", "x-api-key", "x-odd"} & set(away) == set()
    assert (away["x-plain"], away["host"]) == ("p", other.netloc)
    assert home["authorization"] == "Bearer s"
