"""A run folded from its event log alone, and what the log says against itself.

The log is the truth: every state, reason, attempt, time and error of a run and its steps can be
read off it. `check_invariants` and the tests hold the rows against this fold.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runs.machine.states import RUN_CHANGES, RUN_FINAL, STEP_CHANGES, STEP_FINAL, RunState, StepState

JSON = Any


@dataclass(slots=True)
class FoldedStep:
    state: StepState = StepState.IDLE
    reason: str | None = None
    attempt: int = 0
    generation: int = 1
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: JSON = None
    taken: list[str] | None = None


@dataclass(slots=True)
class FoldedRun:
    """`wrong` lists what the log breaks, in words."""

    state: RunState | None = None
    reason: str | None = None
    generation: int = 1
    seq: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: JSON = None
    steps: dict[str, FoldedStep] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def fold(events: Iterable[Mapping[str, Any]]) -> FoldedRun:
    """Fold events (columns of `Event`, in `seq` order) into what the run's rows must say."""
    run, last_ts, keys = FoldedRun(), None, set()
    for event in events:
        where = f"seq {event['seq']}"
        if event["seq"] != run.seq + 1:
            run.wrong.append(f"{where} follows {run.seq}")
        if last_ts is not None and event["ts"] < last_ts:
            run.wrong.append(f"{where}: time runs back")
        run.seq, last_ts = event["seq"], event["ts"]
        if event["event_type"] == "alert_triggered":
            continue
        if event["state_before"] != event["state_after"]:
            key = tuple(
                event[name]
                for name in ("step_id", "item_index", "generation", "attempt", "event_type", "state_after", "corr_id")
            )
            if key in keys:
                run.wrong.append(f"{where}: told twice: {key}")
            keys.add(key)
        if event["step_id"] is None:
            _fold_run(run, event, where)
        else:
            _fold_step(run, event, where)
    return run


def _fold_run(run: FoldedRun, event: Mapping[str, Any], where: str) -> None:
    before, after = event["state_before"], RunState(event["state_after"])
    if before != run.state or after not in RUN_CHANGES[run.state]:
        run.wrong.append(f"{where}: run {before} -> {after}, but it was {run.state}")
    if event["generation"] != run.generation + (run.state in RUN_FINAL):
        run.wrong.append(f"{where}: generation {event['generation']} after {run.generation}")
    payload = event["payload"]
    if after is RunState.PENDING:
        run.started_at = run.completed_at = run.error = None
    elif after is RunState.RUNNING and run.state is not RunState.RUNNING:
        run.started_at = event["ts"]
    elif after in RUN_FINAL:
        run.completed_at, run.error = event["ts"], payload.get("error")
        open_steps = [id for id, step in run.steps.items() if step.state not in STEP_FINAL]
        if open_steps:
            run.wrong.append(f"{where}: the run ends with open steps {open_steps[:5]}")
    run.state, run.generation = after, event["generation"]
    run.reason = payload.get("reason") if after is not RunState.RUNNING else None


def _fold_step(run: FoldedRun, event: Mapping[str, Any], where: str) -> None:
    step = run.steps.setdefault(event["step_id"], FoldedStep())
    before, after, payload = event["state_before"], StepState(event["state_after"]), event["payload"]
    if before != step.state or after not in STEP_CHANGES[step.state]:
        run.wrong.append(f"{where}: {event['step_id']} {before} -> {after}, but it was {step.state}")
    if run.state in RUN_FINAL or run.state is None:
        run.wrong.append(f"{where}: {event['step_id']} changes while the run is {run.state}")
    if event["generation"] - run.generation not in ((0, 1) if step.state in STEP_FINAL else (0,)):
        run.wrong.append(f"{where}: generation {event['generation']} after {run.generation}")
    was, step.state, step.reason = step.state, after, payload.get("reason")
    run.generation = event["generation"]
    if after is StepState.RUNNING:
        if event["attempt"] != step.attempt + 1:
            run.wrong.append(f"{where}: attempt {event['attempt']} after {step.attempt}")
        step.attempt, step.started_at, step.completed_at, step.error = event["attempt"], event["ts"], None, None
    elif event["attempt"] != step.attempt:
        run.wrong.append(f"{where}: attempt {event['attempt']}, but it is {step.attempt}")
    if after is StepState.QUEUED and was is StepState.RUNNING:
        step.queued_at, step.error = event["ts"], payload.get("error")
    elif after is StepState.QUEUED and was is not StepState.QUEUED:
        step.generation, step.queued_at = event["generation"], event["ts"]
        step.started_at = step.completed_at = step.error = step.taken = None
    elif after is StepState.IDLE:
        step.queued_at = step.started_at = step.completed_at = step.error = step.taken = None
    elif after in STEP_FINAL:
        step.completed_at = event["ts"]
        step.error = payload.get("error") if after is StepState.FAILED else None
        if "resolved" not in payload:
            run.wrong.append(f"{where}: {event['step_id']} does not tell how its transitions came out")
        step.taken = [entry["transition"] for entry in payload.get("resolved", []) if entry["taken"]]
