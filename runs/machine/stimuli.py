"""What can happen to a run. A stimulus that comes late or twice changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

JSON = Any


@dataclass(frozen=True, slots=True)
class Start:
    """The run was accepted."""


@dataclass(slots=True)
class StartReady:
    """The owner has `room` free threads: start that many queued steps, but those `apart`.

    `secrets` are the names that the tenant has. A step with a circuit breaker starts only where
    `gates` has it, with None; a time there says until when the breaker lets nothing through.
    """

    room: int
    worker: str
    secrets: frozenset[str] = frozenset()
    gates: Mapping[int, datetime | None] = field(default_factory=dict)
    apart: frozenset[int] = frozenset()  # isolated steps, which workers of their own take


@dataclass(frozen=True, slots=True)
class TakeApart:
    """A worker for isolated tasks takes one queued step, with a lease of its own. The rest as in StartReady."""

    step: int
    holder: str
    lease: timedelta
    start: StartReady


@dataclass(slots=True)
class Succeeded:
    """An attempt returned; `output` is JSON text of at most 1 MiB."""

    step: int
    attempt: int
    output: str


@dataclass(slots=True)
class Failed:
    """An attempt failed. `retry_after` in seconds; `draw` in [0, 1) is the jitter's chance."""

    step: int
    attempt: int
    error: dict[str, JSON]  # {code, message, retryable, details?}
    draw: float = 0.0
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker of an attempt is gone. `alone`: it was a child of its own that died."""

    step: int
    attempt: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class PutBack:
    """An orderly stop could not wait for this attempt: neither a loss nor a try."""

    step: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Due:
    """A time has come: a step's `wake_at`, or (None) the run's deadline or the end of a cancel's patience."""

    step: int | None
    draw: float = 0.0


@dataclass(frozen=True, slots=True)
class BreakerClosed:
    """The circuit breaker that this step waits for lets calls through again."""

    step: int


@dataclass(frozen=True, slots=True)
class Cancel:
    corr_id: str | None = None
    reason: str | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class RetryRun:
    corr_id: str | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class RetryStep:
    """`input` (JSON text) stands in place of the resolved config, for all attempts of this generation."""

    step_id: str
    input: str | None = None
    corr_id: str | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class ManualTransition:
    """A person approves or rejects; assignees and form were checked."""

    step_id: str
    action: str  # approve | reject
    actor: str
    comment: str | None = None
    data: JSON = None
    corr_id: str | None = None


@dataclass(frozen=True, slots=True)
class EngineError:
    """The engine cannot go on with this run."""

    message: str


Stimulus = (
    Start | StartReady | TakeApart | Succeeded | Failed | Lost | PutBack | Due | BreakerClosed | Cancel | RetryRun
    | RetryStep
    | ManualTransition | EngineError
)  # fmt: skip
