"""Circuit breakers, per tenant and key: one row each, its changes by compare-and-set (SEMANTICS 4).

Closed lets all through and counts failures in a window. Open lets nothing through until its
time, then one probe: whoever sets the row to `half_open` first. The probe's outcome closes it
or opens it anew; a probe that never comes back counts as lost after the same time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from runs.models import CircuitBreaker, StepRun
from workflows.definition.model import CircuitBreakerPolicy

WAKE_BATCH = 200
_TRIES = 5  # of a compare-and-set before another's outcome is left to stand


@dataclass(frozen=True, slots=True)
class Waiting:
    """A step that waits for a breaker."""

    run_id: UUID
    step_id: str


class Verdict(NamedTuple):
    """Whether a call may go now. `until`: not before then; a `probe` is let through alone, and counts as lost then."""

    goes: bool
    until: datetime | None = None

    @property
    def probe(self) -> bool:
        return self.goes and self.until is not None


GOES = Verdict(goes=True)


def gate(tenant_id: UUID, policy: CircuitBreakerPolicy, now: datetime) -> Verdict:
    """Ask for one call. Whoever asks an open breaker after its time has the probe, and nobody else has."""
    for _ in range(_TRIES):
        row = CircuitBreaker.objects.filter(tenant_id=tenant_id, key=policy.key).first()
        if row is None or row.state == "closed":
            return GOES
        if row.probe_at is not None and row.probe_at > now:
            return Verdict(goes=False, until=row.probe_at)
        until = now + policy.reset_timeout
        if _set(row, state="half_open", probe_at=until):
            return Verdict(goes=True, until=until)
    return Verdict(goes=False, until=now + policy.reset_timeout)


def record_failure(tenant_id: UUID, policy: CircuitBreakerPolicy, now: datetime) -> None:
    """Count a failure; open the breaker with the one that fills the window, or with a probe's."""
    for _ in range(_TRIES):
        row, _made = CircuitBreaker.objects.get_or_create(tenant_id=tenant_id, key=policy.key)
        if row.state == "open":
            return
        since = (now - policy.window).timestamp()
        failures = [at for at in row.failures if at > since][-policy.failure_threshold :] + [now.timestamp()]
        opens = row.state == "half_open" or len(failures) >= policy.failure_threshold
        if opens:
            done = _set(row, state="open", failures=[], opened_at=now, probe_at=now + policy.reset_timeout)
        else:
            done = _set(row, failures=failures)
        if done:
            return


def record_success(tenant_id: UUID, policy: CircuitBreakerPolicy) -> bool:
    """Take a success into account; whether it closed the breaker, so that what waits may be woken."""
    row = CircuitBreaker.objects.filter(tenant_id=tenant_id, key=policy.key).first()
    if row is None or row.state != "half_open":
        return False
    return _set(row, state="closed", failures=[], opened_at=None, probe_at=None)


def waiting(tenant_id: UUID, key: str) -> Iterator[list[Waiting]]:
    """The steps that wait for a breaker, in batches."""
    last = UUID(int=0)
    while True:
        rows = StepRun.objects.filter(tenant_id=tenant_id, breaker=key, id__gt=last)
        batch = list(rows.order_by("id").values_list("id", "run_id", "step_id")[:WAKE_BATCH])
        if not batch:
            return
        yield [Waiting(run_id, step_id) for _, run_id, step_id in batch]
        last = batch[-1][0]


def _set(row: CircuitBreaker, **values: object) -> bool:
    """Change the row if nobody else did meanwhile."""
    same = CircuitBreaker.objects.filter(id=row.id, revision=row.revision)
    return same.update(revision=row.revision + 1, **values) == 1


def is_failure(code: str) -> bool:
    """Whether an error speaks against the dependency: network, timeout, 5xx."""
    return code in ("network", "timeout") or code.startswith("http_5")


def says_nothing(code: str) -> bool:
    """Whether an attempt ended so before it reached the dependency: neither for nor against it."""
    return code in ("expression_error", "blocked_address", "unknown_task")
