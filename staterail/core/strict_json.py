"""JSON as a stranger may send it: what Python's parser would let pass quietly is refused here.

Duplicate keys, NaN and Infinity (also as 1e999), integers past 64 bits, lone surrogates, NUL,
depth and size: PostgreSQL, JavaScript and CEL each take these differently, so nobody gets them.
"""

import json
import math
import re
from typing import Any, NoReturn

import orjson

JSON = Any
MAX_DEPTH = 32
MAX_INT, MIN_INT = 2**63 - 1, -(2**63)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class StrictJSONError(ValueError):
    """`code` is `too_large`, `too_deep` or `bad_value`."""

    def __init__(self, message: str, code: str = "bad_value") -> None:
        super().__init__(message)
        self.message, self.code = message, code


def loads(data: bytes | str, *, max_bytes: int | None = None, max_depth: int | None = MAX_DEPTH) -> JSON:
    """Parse UTF-8 JSON. Raises StrictJSONError, with a message for the sender.

    `max_depth` counts nested arrays and objects and is checked before parsing (a deep document
    would raise RecursionError); None lifts it.
    """
    size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "surrogatepass"))
    if max_bytes is not None and size > max_bytes:
        raise StrictJSONError(f"The document has {size} bytes; {max_bytes} is the most.", "too_large")
    text = _decoded(data)
    deepest = 500 if max_depth is None else max_depth
    if text.count("[") + text.count("{") > deepest and _depth(text) > deepest:
        raise StrictJSONError(f"The document is nested more than {deepest} deep.", "too_deep")
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_bounded
        )
    except StrictJSONError:
        raise
    except json.JSONDecodeError as error:
        raise StrictJSONError(f"This is no JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except (ValueError, RecursionError):
        raise StrictJSONError("This is no JSON.") from None
    if "\\u" in text or _LONE_SURROGATE.search(text):
        _check_text(value)
    return value


def dumps(value: JSON) -> str:
    """Compact JSON text. Raises ValueError for NaN and Infinity, TypeError for what is no JSON."""
    return _encode(value)


def dumps_known(value: JSON) -> str:
    """The same text for a value that is known to be JSON: made by us, or parsed before. Ten times as fast."""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, orjson.JSONEncodeError):  # nested deeper, or integers larger, than orjson takes
        return dumps(value)


def problem_in(value: JSON) -> str | None:
    """What makes a parsed value no acceptable JSON (text with NUL or lone surrogates, big integers), or None."""
    try:
        _check_text(value)
    except StrictJSONError as error:
        return error.message
    return None


def _decoded(data: bytes | str) -> str:
    if isinstance(data, str):
        return data
    if data[:3] == b"\xef\xbb\xbf":
        raise StrictJSONError("The document begins with a byte order mark: send plain UTF-8.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJSONError(f"The document is not UTF-8 (byte {error.start}).") from None


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        bracket = match.group()
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise StrictJSONError(f"The key {key[:100]!r} stands twice in one object.")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise StrictJSONError(f"{name} is no JSON number.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise StrictJSONError(f"The number {text[:30]} is too large.")
    return value


def _bounded(text: str) -> int:
    if len(text) > 20 or not MIN_INT <= (value := int(text)) <= MAX_INT:
        raise StrictJSONError(f"The number {text[:30]} does not fit 64 bits.")
    return value


def _check_text(value: JSON) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\x00" in item:
                raise StrictJSONError("A text contains the character NUL, which cannot be stored.")
            if _LONE_SURROGATE.search(item):
                raise StrictJSONError("A text contains half of a surrogate pair, which is no character.")
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, int) and not MIN_INT <= item <= MAX_INT:
            raise StrictJSONError("A number does not fit 64 bits.")
