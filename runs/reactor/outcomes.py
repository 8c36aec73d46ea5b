"""How attempts behind circuit breakers ended, told to the breakers once the end is stored."""

import logging
from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runs import breakers
from runs.machine.snapshot import Snapshot, StepRow
from runs.machine.states import Reason, StepState
from runs.machine.stimuli import Due, Failed, Lost, PutBack, Stimulus, Succeeded
from runs.store.safely import DATA_FAULTS
from runs.wakers import wake_waiting
from workflows.definition.model import CircuitBreakerPolicy

logger = logging.getLogger(__name__)
Ends = Succeeded | Failed | Lost | PutBack | Due


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt's end, as its breaker sees it."""

    tenant_id: UUID
    policy: CircuitBreakerPolicy
    failed: bool
    at: datetime


class Outcomes:
    """Only the reactor's thread uses it. What the database did not take is told again."""

    def __init__(self) -> None:
        self._untold: deque[Outcome] = deque()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        self._untold.extend(outcomes)

    def tell(self, mine: Container[UUID]) -> Iterator[tuple[UUID, str]]:
        """Tell the breakers; yields (run, step) of `mine` that waited for one that closed."""
        while self._untold:
            outcome = self._untold[0]
            try:
                closed = _record(outcome)
            except DATA_FAULTS as error:
                logger.error("breaker %s cannot be told: %s", outcome.policy.key, error)
                closed = False
            self._untold.popleft()
            if closed:
                yield from wake_waiting(outcome.tenant_id, outcome.policy.key, mine)


def outcomes_of(snapshot: Snapshot, stimuli: Iterable[Stimulus], now: datetime) -> list[Outcome]:
    """What these stimuli say of breakers. Asked of the run as it was before: a late word says nothing."""
    plan, found = snapshot.plan, []
    if not plan.guarded or snapshot.run.stopping is not None:  # at a stop they end because they are told to
        return []
    ended: set[int | None] = set()
    for stimulus in stimuli:
        if not isinstance(stimulus, Ends) or stimulus.step is None or stimulus.step in ended:
            continue
        row, policy = snapshot.steps.get(stimulus.step), plan.guarded.get(stimulus.step)
        if row is None or policy is None or not _is_live(row, stimulus, now):
            continue
        ended.add(stimulus.step)
        failed = _failed(stimulus)
        if failed is not None:
            found.append(Outcome(snapshot.head.tenant_id, policy, failed, now))
    return found


def _failed(stimulus: Ends) -> bool | None:
    """Whether it speaks against the dependency; None where it never got that far."""
    if isinstance(stimulus, Failed):
        code = str(stimulus.error.get("code"))
        return None if breakers.says_nothing(code) else breakers.is_failure(code)
    return None if isinstance(stimulus, Lost | PutBack) else isinstance(stimulus, Due)


def _is_live(row: StepRow, stimulus: Ends, now: datetime) -> bool:
    """Whether this ends the attempt that executes here."""
    if row.state is not StepState.RUNNING or row.reason is not Reason.EXECUTING or row.holder is not None:
        return False
    if isinstance(stimulus, Due):
        return row.wake_at is not None and row.wake_at <= now
    return stimulus.attempt == row.attempt


def _record(outcome: Outcome) -> bool:
    """Whether it closed the breaker."""
    if outcome.failed:
        breakers.record_failure(outcome.tenant_id, outcome.policy, outcome.at)
        return False
    return breakers.record_success(outcome.tenant_id, outcome.policy)
