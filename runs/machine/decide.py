"""The one function that says what a run does next. Pure: no clock, no chance, no I/O."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from runs.machine import attempts, commands, retrying, starting
from runs.machine.decision import Decision
from runs.machine.draft import Draft
from runs.machine.ending import end_if_done
from runs.machine.snapshot import Snapshot
from runs.machine.states import Reason, StepState
from runs.machine.stimuli import (
    BreakerClosed,
    Cancel,
    Due,
    EngineError,
    Failed,
    Lost,
    ManualTransition,
    PutBack,
    RetryRun,
    RetryStep,
    Start,
    StartReady,
    Stimulus,
    Succeeded,
    TakeApart,
)  # fmt: skip


def decide(run: Snapshot, stimulus: Stimulus, now: datetime) -> Decision:
    """What follows from one stimulus. `now` is aware UTC, the database's.

    The same arguments always give the same answer, and `run` is not changed. A stimulus that is
    late or comes twice gives a decision without changes. Raises IllegalTransition (commands only).
    """
    return decide_all(run, (stimulus,), now)


def decide_all(run: Snapshot, stimuli: Iterable[Stimulus], now: datetime) -> Decision:
    """What follows from several stimuli of one run, as one decision."""
    draft = Draft(run, now)
    stopping = run.run.stopping
    if stopping is not None and stopping.get("corr_id"):
        draft.corr_id = stopping["corr_id"]
    for stimulus in stimuli:
        _HANDLERS[type(stimulus)](draft, stimulus)
    for i in draft.late:
        row = draft.step(i)
        if row is not None and row.state is StepState.QUEUED and row.reason is Reason.BACKOFF:
            starting.make_ready(draft, i)
    if draft.decision.events:
        end_if_done(draft)
    return draft.decision


def _on_due(draft: Draft, stimulus: Due) -> None:
    if stimulus.step is None:
        commands.on_run_due(draft)
    else:
        attempts.on_due(draft, stimulus)


def _on_breaker_closed(draft: Draft, stimulus: BreakerClosed) -> None:
    row = draft.step(stimulus.step)
    if row is not None and row.state is StepState.QUEUED and row.reason is Reason.CIRCUIT_OPEN:
        starting.make_ready(draft, stimulus.step)


_HANDLERS: dict[type[Any], Callable[[Draft, Any], None]] = {
    Start: lambda draft, _: commands.on_start(draft),
    TakeApart: starting.take_apart,
    StartReady: starting.start_ready,
    Succeeded: attempts.on_succeeded,
    Failed: attempts.on_failed,
    Lost: attempts.on_lost,
    PutBack: attempts.on_put_back,
    Due: _on_due,
    BreakerClosed: _on_breaker_closed,
    Cancel: commands.on_cancel,
    RetryRun: retrying.on_retry_run,
    RetryStep: retrying.on_retry_step,
    ManualTransition: commands.on_manual_transition,
    EngineError: commands.on_engine_error,
}
