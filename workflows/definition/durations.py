"""Durations of the definition language: `500ms`, `30s`, `5m`, `2h`, `1d`, joined (`1h30m`), or seconds as a number."""

import math
import re
from datetime import timedelta

_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
PATTERN = r"^([0-9]{1,12}(\.[0-9]{1,6})?(ms|s|m|h|d))+$"
_WHOLE = re.compile(PATTERN)
MAX = timedelta(days=365)


def parse_duration(value: object) -> timedelta:
    """Raises ValueError, with a message for the author."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a duration is text such as 30s or 1h30m, or a number of seconds")
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            raise ValueError(f"{value[:50]!r} is no duration: write 500ms, 30s, 5m, 2h, 1d or 1h30m")
        millis = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    else:
        millis = float(value) * 1000
    if not math.isfinite(millis) or millis < 0:
        raise ValueError("a duration is not negative")
    if millis > MAX / timedelta(milliseconds=1):
        raise ValueError("a duration is 365 days at most")
    return timedelta(milliseconds=millis)


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads as `value`, to the millisecond."""
    millis = round(value / timedelta(milliseconds=1))
    parts = []
    for unit, size in _UNITS.items():
        count, millis = divmod(millis, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
