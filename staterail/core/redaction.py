"""Secrets never reach a log, an event or a response: one place that takes them out.

By the value of every secret an attempt was given (in the forms in which it may come back), by the
name of a field, and by the look of well-known credentials.
"""

import base64
import html
import json
import logging
import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from staterail.core.strict_json import dumps

JSON = Any
MASK = "***"
MIN_SECRET = 4  # shorter values would garble what they happen to occur in

_FIELDS = (
    "authorization", "proxy_authorization", "cookie", "set_cookie", "x_api_key", "api_key", "apikey", "password",
    "passwd", "private_key", "client_secret", "access_token", "refresh_token", "secret_key", "token", "secret",
)  # fmt: skip
_LOOKS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
    r"|\bsrt_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{20,}",
    re.DOTALL,
)
_USERINFO = re.compile(r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)")
_TRIGGER = re.compile(
    "|".join([f.replace("_", "[_-]?") for f in _FIELDS])
    + r"|PRIVATE KEY|AKIA|ASIA|gh[pousr]_|github_pat_|xox[abeprs]-|eyJ|srt_|://[^/\s]*@",
    re.IGNORECASE,
)


def redact_text(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` without the values of `secrets` and without what looks like a credential."""
    if secrets:
        text = _without(text, secrets)
    if _TRIGGER.search(text) is None:
        return text
    return _USERINFO.sub(MASK, _LOOKS.sub(MASK, text))


def redact(value: JSON, secrets: tuple[str, ...] = ()) -> JSON:
    """The same for JSON, by the names of fields too."""
    if isinstance(value, str):
        return redact_text(value, secrets)
    if isinstance(value, dict):
        return {
            redact_text(key, secrets): MASK if isinstance(item, str) and item and _is_secret(key) else redact(item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redact(item, secrets) for item in value]
    return value


def redact_json_text(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The same for JSON text; text with nothing suspicious in it comes back as it is, at the cost of one search."""
    if not secrets and _TRIGGER.search(text) is None:
        return text
    return dumps(redact(json.loads(text), secrets))


def _is_secret(key: str) -> bool:
    return key.lower().replace("-", "_") in _FIELDS


def _without(text: str, secrets: tuple[str, ...]) -> str:
    pattern = _pattern(secrets)
    return pattern.sub(MASK, text) if pattern is not None else text


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
    forms = {
        secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1], html.escape(secret), repr(secret)[1:-1], raw.hex(),
    }  # fmt: skip
    for before in range(3):
        for encoded in (base64.b64encode(b"\0" * before + raw), base64.urlsafe_b64encode(b"\0" * before + raw)):
            text = encoded.decode().rstrip("=")
            spill = (len(raw) + before) % 3  # characters at the ends depend on the neighbours
            inner = text[[0, 2, 3][before] : len(text) - (1 if spill else 0)]
            if len(inner) >= 6:
                forms.add(inner)
    return {form for form in forms if len(form) >= MIN_SECRET}


class RedactingFilter(logging.Filter):
    """Takes credentials out of log records by their look."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        clean = redact_text(message)
        if clean != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_text is None:
            record.exc_text = redact_text(logging.Formatter().formatException(record.exc_info))
        elif record.exc_text:
            record.exc_text = redact_text(record.exc_text)
        return True
