"""The shape of a definition: which keys an object has, and what each may hold.

One table for three readers: the validator, the JSON Schema of the language, and the parser,
which takes the defaults from `model`. A rule is a JSON Schema beside a check that says in words
what is wrong.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from workflows.definition import durations

JSON = Any
Check = Callable[[JSON], str | None]
"""What is wrong with a value, in words for its author, or None."""

STEP_ID = r"^[a-z][a-z0-9_]{0,62}$"
TRANSITION_ID = r"^[A-Za-z0-9_.:\-]{1,160}$"
CODE = r"^[A-Za-z][A-Za-z0-9_.\-]{0,99}$"
KINDS = ("HttpCall", "Task", "Delay", "HumanApproval", "Script")
UNSHOWN = "\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\u202a-\\u202e\\u2066-\\u2069"  # controls, text direction overrides
_CONTROL = re.compile(f"[{UNSHOWN}\\ud800-\\udfff]")
_LINE = re.compile(r"[\t\r\n]")
TIMESTAMP = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?(Z|[+\-][0-9]{2}:?[0-9]{2})?)?$"
)


@dataclass(frozen=True, slots=True)
class Rule:
    schema: dict[str, JSON]
    check: Check
    help: str = ""
    item: "Rule | None" = None  # what each entry of a list may be

    def described(self) -> dict[str, JSON]:
        return {**self.schema, "description": self.help} if self.help else self.schema


def text(maximum: int, help: str = "", *, lines: bool = False, pattern: str | None = None, empty: bool = False) -> Rule:
    def check(value: JSON) -> str | None:
        if not isinstance(value, str):
            return f"this is text, not {_kind(value)}"
        if not value and not empty:
            return "this may not be empty"
        if len(value) > maximum:
            return f"this has {len(value)} characters; {maximum} is the most"
        if _CONTROL.search(value) or (not lines and _LINE.search(value)):
            return "this has characters that cannot be shown (control characters or text direction overrides)"
        if pattern is not None and not re.fullmatch(pattern, value):
            return f"this does not match {pattern}"
        return None

    unshown = f"[{UNSHOWN}]" if lines else rf"[{UNSHOWN}\t\r\n]"
    schema: dict[str, JSON] = {"type": "string", "maxLength": maximum, "not": {"pattern": unshown}}
    if not empty:
        schema["minLength"] = 1
    if pattern is not None:
        schema["pattern"] = pattern
    return Rule(schema, check, help)


def duration(minimum: timedelta, maximum: timedelta, help: str = "") -> Rule:
    def check(value: JSON) -> str | None:
        try:
            parsed = durations.parse_duration(value)
        except ValueError as error:
            return str(error)
        if parsed < minimum:
            return f"this is shorter than {durations.format_duration(minimum)}"
        return f"this is longer than {durations.format_duration(maximum)}" if parsed > maximum else None

    seconds = {"type": "number", "minimum": minimum.total_seconds(), "maximum": maximum.total_seconds()}
    return Rule({"anyOf": [{"type": "string", "pattern": durations.PATTERN}, seconds]}, check, help)


def integer(minimum: int, maximum: int, help: str = "") -> Rule:
    def check(value: JSON) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"this is a whole number, not {_kind(value)}"
        return None if minimum <= value <= maximum else f"this is between {minimum} and {maximum}"

    return Rule({"type": "integer", "minimum": minimum, "maximum": maximum}, check, help)


def number(minimum: float, maximum: float, help: str = "") -> Rule:
    def check(value: JSON) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"this is a number, not {_kind(value)}"
        return None if minimum <= value <= maximum else f"this is between {minimum} and {maximum}"

    return Rule({"type": "number", "minimum": minimum, "maximum": maximum}, check, help)


def boolean(help: str = "") -> Rule:
    def check(value: JSON) -> str | None:
        return None if isinstance(value, bool) else f"this is true or false, not {_kind(value)}"

    return Rule({"type": "boolean"}, check, help)


def one_of(*values: str, help: str = "") -> Rule:
    def check(value: JSON) -> str | None:
        return None if isinstance(value, str) and value in values else f"this is one of {', '.join(values)}"

    return Rule({"enum": list(values)}, check, help)


def anything(help: str = "") -> Rule:
    return Rule({}, lambda _: None, help)


def mapping(help: str = "") -> Rule:
    def check(value: JSON) -> str | None:
        return None if isinstance(value, dict) else f"this is an object, not {_kind(value)}"

    return Rule({"type": "object"}, check, help)


def list_of(item: Rule, maximum: int, help: str = "") -> Rule:
    def check(value: JSON) -> str | None:
        if not isinstance(value, list):
            return f"this is a list, not {_kind(value)}"
        return f"this has {maximum} entries at most" if len(value) > maximum else None

    return Rule({"type": "array", "items": item.schema, "maxItems": maximum}, check, help, item)


def either(*rules: Rule, otherwise: str) -> Rule:
    """One of several; `otherwise` says what it is not."""

    def check(value: JSON) -> str | None:
        return None if any(rule.check(value) is None for rule in rules) else otherwise

    return Rule({"anyOf": [rule.schema for rule in rules]}, check)


def _kind(value: JSON) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _timestamp(value: JSON) -> str | None:
    wrong = "this is a time such as 2026-01-31T08:00:00Z"
    if not isinstance(value, str) or not re.fullmatch(TIMESTAMP, value):
        return wrong
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return wrong
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    """An object: its keys, and which of them must be there."""

    rules: dict[str, Rule]
    required: tuple[str, ...] = ()

    def schema(self) -> dict[str, JSON]:
        found: dict[str, JSON] = {
            "type": "object",
            "properties": {key: rule.described() for key, rule in self.rules.items()},
            "additionalProperties": False,
        }
        if self.required:
            found["required"] = list(self.required)
        return found


_DAY, _MS, _YEAR = timedelta(days=1), timedelta(milliseconds=1), timedelta(days=365)
_TIMEOUT = duration(10 * _MS, _YEAR)
_codes = list_of(text(100, pattern=CODE), 100, "Error codes; http_4xx and http_5xx mean a class.")
_position = Shape({"x": number(-1e9, 1e9), "y": number(-1e9, 1e9)}, ("x", "y"))
POSITION = _position

RETRY = Shape(
    {
        "max_attempts": integer(1, 100, "1 means none; counts the first."),
        "initial_interval": duration(timedelta(0), _DAY, "The wait after the first attempt."),
        "backoff_coefficient": number(1, 100, "How the wait grows from attempt to attempt."),
        "max_interval": duration(timedelta(0), _DAY, "The longest wait."),
        "jitter": one_of("full", "none", help="full: a draw between 0 and the wait."),
        "errors": _codes,
    }
)
BREAKER = Shape(
    {
        "key": text(200, "Steps of a tenant with the same key share a breaker."),
        "failure_threshold": integer(1, 10_000, "Failures in the window that open it."),
        "window": duration(timedelta(seconds=1), _DAY),
        "reset_timeout": duration(10 * _MS, _DAY, "After which one probe goes through."),
    },
    ("key",),
)
STEP = Shape(
    {
        "id": text(63, "Unique in the workflow.", pattern=STEP_ID),
        "kind": one_of(*KINDS),
        "name": text(200, "What people read."),
        "config": mapping("What the step does; its keys depend on the kind."),
        "join": one_of("all", "any", "strict_all", help="When the step runs, of its incoming transitions."),
        "retry": mapping(),
        "timeout": _TIMEOUT,
        "circuit_breaker": mapping(),
        "position": mapping("Where it stands on the canvas."),
    },
    ("id", "kind", "config"),
)
TRANSITION = Shape(
    {
        "id": text(160, pattern=TRANSITION_ID),
        "from": text(63),
        "to": text(63),
        "on": one_of("success", "failure", "always"),
        "when": text(1_000_000, "A CEL expression that gives a bool.", lines=True),
        "default": boolean("Taken when no other success transition of the step was."),
        "errors": _codes,
        "label": text(200, empty=True),
    },
    ("from", "to"),
)
DEFINITION = Shape(
    {
        "schema": one_of("staterail.workflow/v1"),
        "input_schema": mapping("JSON Schema (2020-12) that a run's input must fit."),
        "timeout": _TIMEOUT,
        "sla": duration(10 * _MS, _YEAR, "A run that takes longer is a breach."),
        "on_failure": one_of("stop", "continue"),
        "max_concurrent_runs": integer(1, 1_000_000),
        "steps": anything(),
        "transitions": anything(),
        "output": anything("Template of the run's output."),
    },
    ("schema", "steps"),
)

_status = either(
    integer(100, 599), text(3, pattern=r"^[1-5](xx|[0-9][0-9])$"), otherwise="this is a status, 200, or a class, 2xx"
)
CONFIG: dict[str, Shape] = {
    "HttpCall": Shape(
        {
            "method": one_of("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"),
            "url": text(8000),
            "headers": mapping("Header names and their values."),
            "query": mapping("Parameters of the query string."),
            "body": anything("Sent as JSON."),
            "text": text(1024 * 1024, "Sent as it is.", lines=True, empty=True),
            "expect_status": list_of(_status, 50, "Statuses that count as success: 200, or a class as 2xx."),
            "follow_redirects": boolean(),
            "max_response_bytes": integer(1, 1024 * 1024),
        },
        ("url",),
    ),
    "Task": Shape(
        {"name": text(200, "A registered Python function."), "args": mapping("Its keyword arguments.")}, ("name",)
    ),
    "Delay": Shape(
        {
            "for": duration(timedelta(0), _YEAR),
            "until": Rule({"type": "string", "pattern": TIMESTAMP}, _timestamp, "A time; in the past means now."),
        }
    ),
    "HumanApproval": Shape(
        {
            "title": text(500),
            "instructions": text(20_000, lines=True, empty=True),
            "assignees": list_of(text(300, pattern=r"^(user:.+|role:(viewer|operator|editor|admin))$"), 100),
            "form_schema": mapping("JSON Schema that the decision's data must fit."),
            "forbid_starter": boolean("Whoever started the run may not decide."),
        },
        ("title",),
    ),
    "Script": Shape(
        {
            "source": text(64 * 1024, "Python that defines main(args).", lines=True),
            "args": mapping(),
            "memory_mb": integer(1, 512),
            "time": duration(_MS, timedelta(seconds=60)),
        },
        ("source",),
    ),
}
