"""HttpCall: one request, guarded, bounded in time and size. It never retries: the engine does.

A response may already have had its effect when it is lost, so each attempt of a step sends the same
Idempotency-Key.
"""

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from runs.executors.base import JSON, Call, StepFailure
from runs.executors.http_body import TooLarge, Undecodable, inflated, parsed, read, text
from runs.executors.http_config import MAX_HEADERS, HttpConfig, parse_config
from staterail.core.net.guard import AllowList, Blocked, Target, check_url
from staterail.core.net.transport import Cancelled, PinnedTransport, Resolver, Watch, watching
from staterail.core.redaction import redact_text

DEFAULT_TIMEOUT = 30.0  # seconds, all in all
MAX_HOPS = 3
MAX_DEPTH = 5  # of runs that start runs by calling StateRail
ERROR_BODY = 2048  # characters of an unexpected response that are kept
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_SECRET_NAME = re.compile("auth|cookie|token|secret|key|password|session|signature|credential", re.IGNORECASE)
_TRACE_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class _Hop:
    target: Target
    method: str
    headers: dict[str, str]
    content: bytes | None


class HttpExecutor:
    """Thread-safe: all calls share one pool of connections, and nothing else."""

    def __init__(self, allow: AllowList, *, resolver: Resolver | None = None) -> None:
        self._allow = allow
        self._transport = PinnedTransport(allow, resolver)

    def close(self) -> None:
        self._transport.close()

    def execute(self, call: Call) -> JSON:
        """Send the request; the output is {status, headers, body}.

        Raises StepFailure `http_<status>`, `timeout`, `network`, `blocked_address`,
        `response_too_large`, `interrupted`, or `expression_error` for a config that is none.
        """
        with _failures(call):
            config = parse_config(call.config)
            hop = self._first_hop(call, config)
            with watching(Watch(DEFAULT_TIMEOUT if call.timeout is None else call.timeout, call.cancelled)):
                for hops in range(MAX_HOPS + 1):
                    with _as_redirect() if hops else nullcontext():
                        response = self._send(hop)
                    try:
                        location = response.headers.get("location")
                        if not (config.follow_redirects and response.status_code in REDIRECTS and location):
                            return _output(call, config, response)
                    finally:
                        response.close()
                    with _as_redirect():
                        hop = self._next_hop(call, hop, response.status_code, location)
                raise Blocked("redirect", f"The server redirected more than {MAX_HOPS} times.")

    def _first_hop(self, call: Call, config: HttpConfig) -> _Hop:
        if call.depth >= MAX_DEPTH:
            raise Blocked("depth", f"Runs that start one another by HttpCall may stand {MAX_DEPTH} deep.")
        target = check_url(config.url, self._allow)
        if config.query:
            url = target.url.copy_merge_params(httpx.QueryParams(config.query))
            target = check_url(str(url), self._allow)
        own = {name.lower() for name in config.headers}
        headers = {
            "User-Agent": "StateRail",
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            "Idempotency-Key": f"{call.run_id}:{call.step_id}:{call.generation}",
            "StateRail-Depth": str(call.depth + 1),
        }
        if config.content_type:
            headers["Content-Type"] = config.content_type
        if _TRACE_ID.fullmatch(call.trace_id):
            headers["traceparent"] = f"00-{call.trace_id}-{secrets.token_hex(8)}-01"
        headers = {name: value for name, value in headers.items() if name.lower() not in own} | config.headers
        if sum(len(name) + len(value.encode("utf-8", "replace")) + 4 for name, value in headers.items()) > MAX_HEADERS:
            raise Blocked("header", "The headers are larger than 64 kB.")
        return _Hop(target, config.method, headers, config.content)

    def _send(self, hop: _Hop) -> httpx.Response:
        headers = [(name.encode("ascii"), value.encode("utf-8", "replace")) for name, value in hop.headers.items()]
        response = self._transport.handle_request(
            httpx.Request(hop.method, hop.target.url, headers=headers, content=hop.content)
        )
        if sum(len(name) + len(value) + 4 for name, value in response.headers.raw) > MAX_HEADERS:
            response.close()
            raise _too_large("The response's headers are larger than 64 kB.")
        return response

    def _next_hop(self, call: Call, hop: _Hop, status: int, location: str) -> _Hop:
        """The request that follows a redirect. Raises Blocked where the guard refuses it."""
        if not location.isprintable() or " " in location or "\\" in location:
            raise Blocked("form", "")
        try:
            target = check_url(str(hop.target.url.join(location)), self._allow)
        except httpx.InvalidURL:
            raise Blocked("form", "") from None
        if hop.target.scheme == "https" and target.scheme == "http":
            raise Blocked("scheme", "")
        headers, method, content = dict(hop.headers), hop.method, hop.content
        if status == 303 or (status in (301, 302) and method == "POST"):
            method, content = ("HEAD" if method == "HEAD" else "GET"), None
            headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        if (target.host, target.port) != (hop.target.host, hop.target.port):
            headers = {name: value for name, value in headers.items() if not _is_secret(call, name, value)}
        return _Hop(target, method, headers, content)


def _is_secret(call: Call, name: str, value: str) -> bool:
    if name.lower() == "idempotency-key":
        return False
    return bool(_SECRET_NAME.search(name)) or any(secret and secret in value for secret in call.secrets)


def _output(call: Call, config: HttpConfig, response: httpx.Response) -> JSON:
    status, headers = response.status_code, _header_texts(response)
    if not config.expects(status):
        raise _unexpected(call, status, headers, response)
    try:
        body = read(inflated(response), config.max_bytes)
    except TooLarge:
        raise _too_large(f"The response is larger than {config.max_bytes} bytes.") from None
    return {"status": status, "headers": headers, "body": parsed(body, response.headers.get("content-type", ""))}


def _header_texts(response: httpx.Response) -> dict[str, str]:
    texts: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), text(raw_value, _charset_of(raw_value))
        texts[name] = f"{texts[name]}, {value}" if name in texts else value
    return texts


def _charset_of(raw_value: bytes) -> str:
    """Headers may be either; a replacement character within a secret would hide it from redaction."""
    try:
        raw_value.decode()
    except UnicodeDecodeError:
        return "iso-8859-1"
    return "utf-8"


def _unexpected(call: Call, status: int, headers: dict[str, str], response: httpx.Response) -> StepFailure:
    kept = bytearray()
    try:
        for piece in inflated(response):
            kept += piece
            if len(kept) >= 3 * ERROR_BODY:
                break
    except (httpx.TransportError, Undecodable):
        pass  # the status says what happened; the rest of the page would only illustrate it
    # First redacted, then cut: half of a secret would be known to no one for what it is.
    shown = redact_text(text(bytes(kept[: 3 * ERROR_BODY])), call.secrets)[:ERROR_BODY]
    phrase = next((item.phrase for item in HTTPStatus if item == status), "")
    return StepFailure(
        f"http_{status}",
        f"The server answered {status} {phrase}".rstrip() + ".",
        retryable=status in RETRYABLE,
        details={"status": status, "headers": headers, "body": shown},
        retry_after=_retry_after(headers.get("retry-after", "")) if status in (429, 503) else None,
    )


def _retry_after(value: str) -> float | None:
    """Seconds from a number or an HTTP date; None for anything else."""
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def _too_large(message: str) -> StepFailure:
    return StepFailure("response_too_large", message, retryable=False)


@contextmanager
def _as_redirect() -> Iterator[None]:
    try:
        yield
    except Blocked:
        raise Blocked("redirect", "The server redirected to where StateRail does not call.") from None


@contextmanager
def _failures(call: Call) -> Iterator[None]:
    """Every refusal and every network error as the StepFailure that the step stores."""
    started = time.monotonic()
    try:
        yield
    except Blocked as error:
        raise StepFailure("blocked_address", error.message, retryable=False, details={"reason": error.reason}) from None
    except Cancelled:
        raise StepFailure("interrupted", "The attempt was interrupted.", retryable=False) from None
    except (httpx.TimeoutException, TimeoutError) as error:
        what = "Connecting" if isinstance(error, httpx.ConnectTimeout) else "The call"
        taken = time.monotonic() - started
        raise StepFailure("timeout", f"{what} took too long: given up after {taken:.1f} s.", retryable=True) from None
    except Undecodable:
        raise StepFailure("network", "The response's compression is broken or cut short.", retryable=True) from None
    except httpx.InvalidURL:
        raise StepFailure(
            "blocked_address", "The URL with its query is too long.", retryable=False, details={"reason": "form"}
        ) from None
    except httpx.TransportError as error:
        if "Receive buffer too long" in str(error):  # the parser's own limit, 100 kB, comes before ours
            raise _too_large("The response's headers are larger than 64 kB.") from None
        raise StepFailure("network", _explained(error), retryable=True) from None


def _explained(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"No connection: {error}"
    if isinstance(error, httpx.ProtocolError):
        return f"The server broke the HTTP protocol: {error}"
    return "The connection broke before the response was complete."
