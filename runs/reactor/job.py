"""An attempt to execute, and what came of it: pure of threads and of the database."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from runs.executors.base import Call, StepFailure
from runs.executors.isolated import ChildDied
from runs.executors.logs import LogLine
from runs.machine.stimuli import Failed, Lost, Succeeded
from staterail.core.redaction import redact_json_text, redact_text
from staterail.core.strict_json import dumps, problem_in
from workflows.definition.expressions import ExpressionError
from workflows.definition.templates import Template

JSON = Any
OUTPUT_LIMIT_BYTES = 1024 * 1024
_LONG_NUMBER = re.compile(r"\d{19}")


@dataclass(slots=True)
class Job:
    """An attempt to execute. With a `template`, the config is rendered here, with the secrets' values."""

    step: int
    call: Call
    template: Template | None = None
    context: dict[str, JSON] = field(default_factory=dict)
    told_at: float | None = None  # monotonic: when it was told to end
    given_up: bool = False


@dataclass(slots=True)
class Result:
    """How an attempt ended."""

    run_id: UUID
    job: Job
    stimulus: Succeeded | Failed | Lost
    logs: list[LogLine]


def outcome_of(job: Job, execute: Callable[[Call], JSON]) -> Succeeded | Failed | Lost:
    """Execute the attempt: how it ended, secrets masked. Never raises StepFailure, whatever the executor does else."""
    call = job.call
    try:
        if job.template is not None:
            call.config = job.template.render(job.context)
        output = execute(call)
    except StepFailure as error:
        return failed(
            job, error.code, error.message, retryable=error.retryable, details=error.details,
            retry_after=error.retry_after,
        )  # fmt: skip
    except ChildDied as error:
        call.log.write(str(error), "error")
        return Lost(job.step, call.attempt, alone=True)
    except ExpressionError as error:
        return failed(job, "expression_error", f"config: {error}", retryable=False)
    try:
        text = dumps(output)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:  # half of a surrogate pair too: no database stores it
        return failed(job, "bad_output", f"The output is no JSON: {error}", retryable=False)
    suspicious = (
        "\\u0000" in text or _LONG_NUMBER.search(text) is not None
    )  # a look at all of it would cost a large one
    problem = problem_in(output) if suspicious else None
    if problem is not None:
        return failed(job, "bad_output", f"The output is no JSON: {problem}", retryable=False)
    if size > OUTPUT_LIMIT_BYTES:
        return failed(job, "output_too_large", "The output is larger than 1 MiB.", retryable=False)
    return Succeeded(job.step, call.attempt, redact_json_text(text, call.secrets))


def failed(
    job: Job, code: str, message: str, *, retryable: bool, details: dict[str, JSON] | None = None,
    retry_after: float | None = None,
) -> Failed:  # fmt: skip
    secrets = job.call.secrets
    error: dict[str, JSON] = {
        "code": code[:100], "message": redact_text(message, secrets)[:2000], "retryable": retryable,
    }  # fmt: skip
    if details:
        error["details"] = details
    try:
        error = json.loads(redact_json_text(dumps(error), secrets).encode())
    except (TypeError, ValueError, RecursionError):
        error.pop("details", None)
    # jitter spreads retries; it is no secret
    return Failed(job.step, job.call.attempt, error, draw=random.random(), retry_after=retry_after)  # noqa: S311


def lines_of(call: Call) -> list[LogLine]:
    """What the attempt has written since the last time, secrets masked."""
    lines = call.log.drain()
    return [line._replace(message=redact_text(line.message, call.secrets)) for line in lines]
