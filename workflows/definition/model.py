"""A definition as values: what a parsed and valid document says, defaults filled in."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

JSON = Any

RETRYABLE_HTTP = frozenset({408, 425, 429, 500, 502, 503, 504})
_NEVER = frozenset(
    {
        "expression_error", "rejected", "blocked_address", "script_error", "script_memory", "output_too_large",
        "bad_output", "response_too_large", "poison", "interrupted", "unknown_task",
    }
)  # fmt: skip


def matches_code(pattern: str, code: str) -> bool:
    """Whether an error code is meant by an entry of `errors`: itself, or its class (`http_5xx`, `http_4xx`)."""
    if pattern == code:
        return True
    if pattern in ("http_4xx", "http_5xx"):
        return len(code) == 8 and code.startswith(pattern[:6]) and code[6:].isdigit()
    return False


def never_retryable(code: str) -> bool:
    """Codes that no retry policy can make retryable."""
    if code in _NEVER:
        return True
    if code.startswith("http_4") and code[5:].isdigit():
        return int(code[5:]) not in RETRYABLE_HTTP
    return False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    max_attempts: int = 1
    initial_interval: timedelta = timedelta(seconds=1)
    backoff_coefficient: float = 2.0
    max_interval: timedelta = timedelta(minutes=1)
    jitter: str = "full"  # full | none
    errors: tuple[str, ...] | None = None  # None: every retryable one

    def ceiling(self, n: int) -> timedelta:
        """The longest wait after attempt `n` (from 1) of the budget."""
        initial = self.initial_interval.total_seconds()
        try:
            seconds = initial * self.backoff_coefficient ** (n - 1)
        except OverflowError:
            return self.max_interval
        return timedelta(seconds=min(self.max_interval.total_seconds(), seconds))

    def retries(self, code: str, retryable: bool) -> bool:
        """Whether an attempt that failed with `code` may be followed by another."""
        if never_retryable(code):
            return False
        if self.errors is None:
            return retryable
        return any(matches_code(pattern, code) for pattern in self.errors)


@dataclass(frozen=True, slots=True)
class CircuitBreakerPolicy:
    key: str
    failure_threshold: int = 5
    window: timedelta = timedelta(minutes=1)
    reset_timeout: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Step:
    id: str
    kind: str  # HttpCall | Task | Delay | HumanApproval | Script
    name: str
    config: dict[str, JSON]
    join: str  # all | any | strict_all
    retry: RetryPolicy
    timeout: timedelta | None
    circuit_breaker: CircuitBreakerPolicy | None
    position: dict[str, JSON] | None


@dataclass(frozen=True, slots=True)
class Transition:
    id: str
    source: str
    target: str
    on: str  # success | failure | always
    when: str | None
    default: bool
    errors: tuple[str, ...] | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Definition:
    steps: tuple[Step, ...]
    transitions: tuple[Transition, ...]
    input_schema: dict[str, JSON] | None
    timeout: timedelta | None
    sla: timedelta | None
    on_failure: str  # stop | continue
    max_concurrent_runs: int | None
    output: JSON
    has_output: bool
