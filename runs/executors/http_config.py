"""The config of an HttpCall, checked: its expressions are resolved only when the step starts."""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from runs.executors.base import JSON, StepFailure
from staterail.core.net.guard import Blocked

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KEYS = frozenset(
    "method url headers query body text expect_status follow_redirects max_response_bytes".split()  # noqa: SIM905
)
MAX_RESPONSE = 1024 * 1024  # bytes, after decompression
MAX_HEADERS = 64 * 1024  # bytes, of a request or a response

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# These frame the message or name its receiver: whoever sets them can smuggle a second request, or call in a circle.
_OURS = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
    "proxy-connection", "staterail-depth",
})  # fmt: skip
_CLASS = re.compile(r"[1-5]xx")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    method: str
    url: str
    headers: dict[str, str]  # as the user wrote the names
    query: list[tuple[str, str | int | float | bool | None]]
    content: bytes | None
    content_type: str | None
    expected: frozenset[str]  # "2xx" or "204"
    follow_redirects: bool
    max_bytes: int

    def expects(self, status: int) -> bool:
        return str(status) in self.expected or f"{status // 100}xx" in self.expected


def parse_config(config: JSON) -> HttpConfig:
    """Check a resolved config. Raises StepFailure `expression_error`, or Blocked for a header."""
    if not isinstance(config, dict):
        _refuse("The config must be an object.")
    if unknown := sorted(set(config) - KEYS):
        _refuse(f"The config has unknown keys: {', '.join(str(key)[:50] for key in unknown[:5])}.")
    method, url = config.get("method", "GET"), config.get("url")
    if not isinstance(method, str) or method.upper() not in METHODS:
        _refuse(f"`method` must be one of {', '.join(METHODS)}.")
    if not isinstance(url, str) or not url:
        _refuse("`url` must be a text.")
    follow = config.get("follow_redirects", False)
    if not isinstance(follow, bool):
        _refuse("`follow_redirects` must be true or false.")
    limit = config.get("max_response_bytes", MAX_RESPONSE)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= MAX_RESPONSE:
        _refuse(f"`max_response_bytes` must be a whole number from 1 to {MAX_RESPONSE}.")
    content, content_type = _content(config)
    return HttpConfig(
        method=method.upper(),
        url=url,
        headers=_headers(_or_empty(config.get("headers"))),
        query=_query(_or_empty(config.get("query"))),
        content=content,
        content_type=content_type,
        expected=_expected(config.get("expect_status", ["2xx"])),
        follow_redirects=follow,
        max_bytes=limit,
    )


def _refuse(message: str) -> NoReturn:
    raise StepFailure("expression_error", message, retryable=False)


def _or_empty(value: JSON) -> JSON:
    return {} if value is None else value


def _content(config: dict[str, Any]) -> tuple[bytes | None, str | None]:
    body, text = config.get("body"), config.get("text")
    if body is not None and text is not None:
        _refuse("The config may have `body` or `text`, not both.")
    if text is not None:
        if not isinstance(text, str):
            _refuse("`text` must be a text; use `body` for JSON.")
        return text.encode("utf-8", "replace"), "text/plain; charset=utf-8"
    if body is not None:
        try:
            dumped = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            _refuse("`body` is no JSON.")
        return dumped.encode("utf-8", "replace"), "application/json"
    return None, None


def _headers(headers: JSON) -> dict[str, str]:
    if not isinstance(headers, dict):
        _refuse("`headers` must be an object.")
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if value is None:
            continue
        if not isinstance(value, (str, int, float)):
            _refuse(f"The header {str(name)[:50]!r} must be a text or a number.")
        checked[str(name)] = text = _plain(value)
        if not _TOKEN.fullmatch(str(name)):
            raise Blocked("header", "A header's name contains a character that may not stand there.")
        if str(name).lower() in _OURS:
            raise Blocked("header", f"The header {str(name)!r} is set by StateRail.")
        if not text.isprintable() or text != text.strip():
            raise Blocked(
                "header", f"The value of the header {str(name)[:50]!r} has a line break or control character."
            )
    if len({name.lower() for name in checked}) != len(checked):
        _refuse("`headers` has the same name twice, in other letter case.")
    return checked


def _query(query: JSON) -> list[tuple[str, str | int | float | bool | None]]:
    if not isinstance(query, dict):
        _refuse("`query` must be an object.")
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in query.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, (dict, list)):
                _refuse(f"`query`: {str(name)[:50]!r} must be a text, a number, true, false or a list of these.")
            if item is not None:
                pairs.append((str(name), _plain(item)))
    return pairs


def _expected(expected: JSON) -> frozenset[str]:
    if not isinstance(expected, list) or not expected:
        _refuse('`expect_status` must be a list like ["2xx", 404].')
    for item in expected:
        number = str(item)
        ok = isinstance(item, (int, str)) and not isinstance(item, bool)
        if not ok or not (_CLASS.fullmatch(number.lower()) or (re.fullmatch("[1-5][0-9][0-9]", number))):
            _refuse('`expect_status` takes classes like "2xx" and numbers from 100 to 599.')
    return frozenset(str(item).lower() for item in expected)


def _plain(value: str | int | float) -> str:
    return value if isinstance(value, str) else json.dumps(value)
