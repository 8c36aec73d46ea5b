"""Secrets never reach a log, an event or a response: one place that takes them out.

By the value of every secret an attempt was given (in the forms in which it may come back), by the
name of a field, and by the look of well-known credentials.
"""

import base64
import html
import json
import logging
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from staterail.core.strict_json import dumps

JSON = Any
MASK = "***"
MIN_SECRET = 4  # characters; shorter values would garble what they happen to occur in

_FIELDS = frozenset({
    "authorization", "proxy_authorization", "cookie", "set_cookie", "x_api_key", "api_key", "apikey", "password",
    "passwd", "private_key", "client_secret", "access_token", "refresh_token", "secret_key",
})  # fmt: skip
_TEXT_FIELDS = frozenset({"token", "secret"})  # names of much else too: masked only where they hold a text
_LOOKS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|$)"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|\bsrt_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{20,}",
    re.DOTALL,
)
# A password may hold an unescaped @, and redis:// has no user: up to the last @ before the path.
_USERINFO = re.compile(r"(?<=://)[^/\s:@\"'<>?#]*:[^/\s\"'<>?#]+(?=@)")

# The cheap first question, for every output at thousands a second (2 µs for 80 characters).
_LOOK_TRIGGER = r"PRIVATE KEY|A[KS]IA|gh[pousr]_|github_pat_|xox[abeprs]-|eyJ|srt_|://[^/\s]*@"
_TEXT_TRIGGER = re.compile(_LOOK_TRIGGER)
_JSON_TRIGGER = re.compile(
    # A quoted name, whether key or value; escapes that could spell a name or a URL in another way
    rf'"(?i:{"|".join(name.replace("_", "[_-]") for name in sorted(_FIELDS | _TEXT_FIELDS))})"|\\[u/]|{_LOOK_TRIGGER}'
)


def redact_text(text: str, secrets: Sequence[str] = ()) -> str:
    """`text` without the values of `secrets` (from 4 characters) and without what looks like a credential."""
    pattern = _pattern(tuple(secrets)) if secrets else None
    if pattern is not None:
        text = pattern.sub(MASK, text)
    if _TEXT_TRIGGER.search(text) is None:
        return text
    return _USERINFO.sub(MASK, _LOOKS.sub(MASK, text))


def redact(value: JSON, secrets: Sequence[str] = ()) -> JSON:
    """A copy of JSON without credentials: those of `redact_text`, and what fields like `password` hold."""
    if isinstance(value, str):
        return redact_text(value, secrets)
    if isinstance(value, Mapping):
        return {
            redact_text(key, secrets) if isinstance(key, str) else key: (
                MASK if _is_secret(key, item) else redact(item, secrets)
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item, secrets) for item in value]
    if secrets and isinstance(value, int | float) and len(text := str(value)) >= MIN_SECRET and text in secrets:
        return MASK  # a secret of digits that came back as a number
    return value


def redact_json_text(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The same for JSON text; text with nothing suspicious in it comes back as it is, unparsed.

    Raises ValueError where suspicious text is no JSON.
    """
    if _JSON_TRIGGER.search(text) is None:
        pattern = _pattern(secrets) if secrets else None
        # Escapes of JSON hide a form that has escapes itself: then only the parsed value tells.
        if pattern is None or ("\\" not in text and pattern.search(text) is None):
            return text
    return dumps(redact(json.loads(text), secrets))


def _is_secret(key: Any, item: JSON) -> bool:
    """Whether the field's name gives its value away. Objects are walked: `password` may be a form's description."""
    if not isinstance(key, str) or item is None or item == "" or isinstance(item, bool):
        return False
    name = key.lower().replace("-", "_")
    if isinstance(item, str):
        return name in _FIELDS or name in _TEXT_FIELDS
    return name in _FIELDS and (
        isinstance(item, int | float) or (isinstance(item, list) and not any(isinstance(i, dict | list) for i in item))
    )


@lru_cache(maxsize=256)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    forms: set[str] = set()
    for secret in secrets:
        if len(secret) >= MIN_SECRET:
            forms |= _forms(secret)
    if not forms:
        return None
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def _forms(secret: str) -> set[str]:
    """A value as it may come back: plain, in a URL, in JSON, in HTML, in base64 (alone or within a longer text)."""
    raw = secret.encode("utf-8", "surrogatepass")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    forms = quoted | {
        secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1],
        html.escape(secret), html.escape(secret).replace("&#x27;", "&#39;"), raw.hex(), raw.hex().upper(),
    }  # fmt: skip
    forms |= {re.sub(r"%[0-9A-F]{2}", lambda escape: escape.group().lower(), form) for form in quoted}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms.add(encode(raw).decode())
        forms.add(encode(raw).decode().rstrip("="))
        for before in range(3):
            text = encode(b"\0" * before + raw).decode().rstrip("=")
            spill = (len(raw) + before) % 3  # characters at the ends depend on the neighbours
            inner = text[[0, 2, 3][before] : len(text) - (1 if spill else 0)]
            if len(inner) >= 6:
                forms.add(inner)
    return {form for form in forms if len(form) >= MIN_SECRET}


class RedactingFilter(logging.Filter):
    """Takes credentials out of log records. It belongs on handlers: a logger's filter misses its children's records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true: a record is cleaned, never dropped. Must not raise: handlers do not guard their filters."""
        if isinstance(record.args, Mapping):
            args: Any = redact(record.args)
        else:
            args = tuple(redact(arg) if isinstance(arg, dict | list) else arg for arg in record.args or ())
        try:
            plain = record.getMessage()
            clean = redact_text(str(record.msg) % args if args else plain)
        except Exception:  # the arguments do not fit their format: logging would print them as they are
            plain, clean = "", redact_text(f"{record.msg} {args!r}")
        if clean != plain:  # else left alone: uvicorn's access formatter reads the arguments
            record.msg, record.args = clean, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact_text(record.exc_text)
        if record.stack_info:
            record.stack_info = redact_text(record.stack_info)
        return True
