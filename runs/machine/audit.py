"""A run's event log held against its definition: what the fold alone cannot judge.

Joins, transitions that resolve once, budgets and waits of attempts, the stop after a failure, the
run's end. Written from the rules and apart from the machine, so that each checks the other.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from runs.machine.states import RUN_FINAL, STEP_FINAL, RunState, StepState
from workflows.definition.model import Definition, RetryPolicy, Step, Transition, matches_code

JSON = Any
Row = Mapping[str, Any]
ENDS = frozenset(state.value for state in STEP_FINAL)
RUN_ENDS = frozenset(state.value for state in RUN_FINAL)
_STOPPED_BY = frozenset({"run_failed", "run_cancelled"})
_TAKEN_ON = {"success": "succeeded", "failure": "failed"}


@dataclass(slots=True)
class Told:
    """What the log has told of a step so far."""

    step: Step
    state: str = StepState.IDLE.value
    failures: int = 0  # that cost a try, since it was last queued for a new budget
    losses: int = 0
    due_at: datetime | None = None
    fault: tuple[int, int, str] | None = None  # (seq, generation, code) of what fails the run
    into: list[Transition] = field(default_factory=list)
    out: list[Transition] = field(default_factory=list)


def audit(definition: Definition, events: Iterable[Row]) -> list[str]:
    """What a log (columns of `Event`, in `seq` order) breaks of the rules, in words."""
    audited = Audit(definition)
    for event in events:
        audited.take(event)
    return audited.wrong


class Audit:
    """Takes one event after the other; `wrong` lists what they break."""

    def __init__(self, definition: Definition) -> None:
        self.wrong: list[str] = []
        self.steps = {step.id: Told(step) for step in definition.steps}
        self.stops = definition.on_failure == "stop"
        self.taken: dict[str, bool] = {}  # transitions that are resolved
        for transition in definition.transitions:
            self.steps[transition.source].out.append(transition)
            self.steps[transition.target].into.append(transition)

    def take(self, event: Row) -> None:
        if event["event_type"] == "alert_triggered":
            return
        if event["step_id"] is None:
            found = self._run(event)
        elif event["step_id"] in self.steps:
            found = self._step(event, self.steps[event["step_id"]])
        else:
            found = iter(["there is no such step"])
        self.wrong += [f"seq {event['seq']}: {event['step_id'] or 'the run'}: {breach}" for breach in found]

    def _run(self, event: Row) -> Iterator[str]:
        after, payload = event["state_after"], event["payload"]
        faults = sorted((told.fault, id) for id, told in self.steps.items() if told.fault is not None)
        if after in RUN_ENDS:
            open_steps = [id for id, told in self.steps.items() if told.state not in ENDS]
            if open_steps:
                yield f"ends with open steps {open_steps[:5]}"
        if after == RunState.COMPLETED.value and faults:
            yield f"completes although {faults[0][1]} failed unhandled"
        if after == RunState.FAILED.value and payload.get("reason") == "step_failed":
            error = payload.get("error") or {}
            first = (faults[0][1], faults[0][0][2]) if faults else None
            if (error.get("step_id"), error.get("code")) != first:
                yield f"fails with {error.get('code')} of {error.get('step_id')}, the first failure is {first}"

    def _step(self, event: Row, told: Told) -> Iterator[str]:
        before, after = event["state_before"], event["state_after"]
        if before == StepState.IDLE.value:
            yield from self._leaves_idle(event, told)
        if before in ENDS:
            told.fault = None
            for transition in told.out:
                self.taken.pop(transition.id, None)
        if after == StepState.RUNNING.value and told.due_at is not None and event["ts"] < told.due_at:
            yield f"starts before {told.due_at}"
        told.due_at = None if after != StepState.QUEUED.value else told.due_at
        if after == StepState.QUEUED.value and before != after:
            yield from self._queued(event, told)
        told.state = after
        if after in ENDS:
            yield from self._ends(event, told)

    # Joins

    def _leaves_idle(self, event: Row, told: Told) -> Iterator[str]:
        known = [self.taken.get(transition.id) for transition in told.into]
        join = told.step.join
        if join == "any":
            ready = True in known
        else:
            ready = None not in known and (all(known) if join == "strict_all" else True in known)
        ready, reason = ready or not known, event["payload"].get("reason")
        if event["state_after"] == StepState.QUEUED.value:
            if not ready:
                yield f"is queued, but its transitions ({join}) are {known[:9]}"
            if self._stopped(event["generation"]) and not self._led_by_always(told):
                yield "is queued although a failure stopped the run"
        elif reason not in _STOPPED_BY:
            if ready or None in known:
                yield f"is skipped, but its transitions ({join}) are {known[:9]}"
            ran = any(
                not self.taken.get(t.id) and self.steps[t.source].state != StepState.SKIPPED.value for t in told.into
            )
            if reason != ("condition" if ran else "dead_path"):
                yield f"is skipped for {reason}"

    def _stopped(self, generation: int) -> bool:
        return self.stops and any(
            told.fault is not None and told.fault[1] == generation for told in self.steps.values()
        )

    def _led_by_always(self, told: Told) -> bool:
        return any(t.on == "always" and self.taken.get(t.id) for t in told.into)

    # Attempts

    def _queued(self, event: Row, told: Told) -> Iterator[str]:
        if event["state_before"] != StepState.RUNNING.value:
            told.failures = told.losses = 0
            return
        payload, retry = event["payload"], told.step.retry
        error = payload["error"]
        if self._stopped(event["generation"]) and not self._led_by_always(told):
            yield "is tried again although a failure stopped the run"
        if error["code"] == "worker_lost":
            told.losses += not (error.get("details") or {}).get("orderly")
            return
        told.failures += 1
        if told.step.kind == "HumanApproval" or told.failures >= retry.max_attempts:
            yield f"is tried again after {told.failures} of {retry.max_attempts} attempts"
        told.due_at = datetime.fromisoformat(payload["due_at"])
        yield from _wait(event, retry, told.failures, told.due_at)

    # Ends

    def _ends(self, event: Row, told: Told) -> Iterator[str]:
        payload, state = event["payload"], told.state
        entries: list[dict[str, JSON]] = payload.get("resolved") or []
        if [entry["transition"] for entry in entries] != [transition.id for transition in told.out]:
            yield "does not tell how each of its transitions came out"
            return
        error = payload.get("error") or {}
        broken = False
        for transition, entry in zip(told.out, entries, strict=True):
            if transition.id in self.taken:
                yield f"{transition.id} resolves twice"
            self.taken[transition.id] = entry["taken"]
            broken = broken or (entry["reason"] == "expression_error" and transition.on != "success")
            if entry["taken"] and not _may_be_taken(transition, state, str(error.get("code"))):
                yield f"{transition.id} is taken although the step {state}"
        unhandled = state == StepState.FAILED.value and not any(entry["taken"] for entry in entries)
        if unhandled or broken:
            code = str(error.get("code")) if unhandled else "expression_error"
            told.fault = (event["seq"], event["generation"], code)
        if payload.get("reason") == "poison" and told.losses < 2:
            yield f"is poison after {told.losses} losses"


def _may_be_taken(transition: Transition, state: str, code: str) -> bool:
    if transition.on == "always":
        return True
    listed = transition.errors is None or any(matches_code(pattern, code) for pattern in transition.errors)
    return _TAKEN_ON[transition.on] == state and (transition.on == "success" or listed)


def _wait(event: Row, retry: RetryPolicy, n: int, due_at: datetime) -> Iterator[str]:
    """The wait after the nth failure of a budget, as it was told."""
    payload = event["payload"]
    millisecond = timedelta(milliseconds=1)
    ceiling, most = retry.ceiling(n) / millisecond, retry.max_interval / millisecond
    if abs(payload["ceiling_ms"] - ceiling) > 1:
        yield f"ceiling_ms is {payload['ceiling_ms']}, by the rule {ceiling}"
    least = ceiling - 1 if retry.jitter == "none" else 0
    if not least <= payload["delay_ms"] <= max(ceiling, most) + 1:  # a Retry-After lifts it, up to max_interval
        yield f"delay_ms {payload['delay_ms']} is not in [{least}, {max(ceiling, most)}]"
    if abs((due_at - event["ts"]) / millisecond - payload["delay_ms"]) > 1:
        yield f"due_at is not {payload['delay_ms']} ms after its event"
