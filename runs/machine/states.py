"""The states of a run and of a step, and every legal change of them: all else is refused."""

from enum import StrEnum


class RunState(StrEnum):
    CREATED = "created"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why something is in its state. No nuance becomes a state of its own."""

    CONCURRENCY = "concurrency"  # run pending
    ACTIVE = "active"  # run running …
    CANCELLING = "cancelling"
    STEP_FAILED = "step_failed"  # run failed …
    RUN_TIMEOUT = "run_timeout"
    ENGINE_ERROR = "engine_error"
    OPERATOR = "operator"  # run cancelled
    READY = "ready"  # step queued …
    BACKOFF = "backoff"
    CIRCUIT_OPEN = "circuit_open"
    EXECUTING = "executing"  # step running …
    WAITING_TIMER = "waiting_timer"
    WAITING_APPROVAL = "waiting_approval"
    ERROR = "error"  # step failed …
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    EXPRESSION_ERROR = "expression_error"  # of a run too
    POISON = "poison"
    INTERRUPTED = "interrupted"
    CONDITION = "condition"  # step skipped …
    DEAD_PATH = "dead_path"
    RUN_FAILED = "run_failed"
    RUN_CANCELLED = "run_cancelled"


R = RunState  # short, for the tables only
RUN_CHANGES: dict[RunState | None, frozenset[RunState]] = {
    None: frozenset({R.CREATED}),
    R.CREATED: frozenset({R.PENDING, R.FAILED, R.CANCELLED}),
    R.PENDING: frozenset({R.RUNNING, R.FAILED, R.CANCELLED}),
    R.RUNNING: frozenset({R.COMPLETED, R.FAILED, R.CANCELLED, R.RUNNING}),  # running: a cancel that must wait
    R.COMPLETED: frozenset(),
    R.FAILED: frozenset({R.PENDING}),  # by retry_run and retry_step
    R.CANCELLED: frozenset({R.PENDING}),  # by retry_run
}

S = StepState
STEP_CHANGES: dict[StepState, frozenset[StepState]] = {
    S.IDLE: frozenset({S.QUEUED, S.SKIPPED}),
    S.QUEUED: frozenset({S.RUNNING, S.SKIPPED, S.FAILED, S.QUEUED}),  # queued: waits for another reason
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.QUEUED}),  # queued: the next attempt
    S.SUCCEEDED: frozenset({S.IDLE, S.QUEUED}),  # from here on only by retry_run and retry_step
    S.FAILED: frozenset({S.IDLE, S.QUEUED}),
    S.SKIPPED: frozenset({S.IDLE, S.QUEUED}),
}

RUN_FINAL = frozenset({R.COMPLETED, R.FAILED, R.CANCELLED})
STEP_FINAL = frozenset({S.SUCCEEDED, S.FAILED, S.SKIPPED})
STEP_OPEN = frozenset({S.QUEUED, S.RUNNING})
