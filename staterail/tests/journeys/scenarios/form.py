"""What workflows come to, each in a few lines: the definition, what people do meanwhile, and the outcome.

A step's outcome is its state, then its reason where it has one, then its attempt: `failed timeout 2`.
All steps are told. `doings` wait until the step is in that state (or has that reason; "" waits for the
run's end), then ask.
"""

from dataclasses import dataclass, field
from typing import Any

from staterail.testing.definitions import edge, step, task

JSON = Any
QUICK = {"max_attempts": 3, "initial_interval": "20ms", "jitter": "none"}


@dataclass(frozen=True)
class Do:
    """POST /runs/{id}{path} once `step` is `when`; `status` and `code` of the answer."""

    path: str
    body: JSON = field(default_factory=dict)
    step: str = ""
    when: str = ""
    status: int = 200
    code: str = ""


@dataclass(frozen=True)
class Scenario:
    rule: str
    definition: JSON
    steps: dict[str, str]
    state: str = "completed"
    error: str | None = None
    output: JSON = None
    outputs: dict[str, JSON] = field(default_factory=dict)  # of steps
    input: JSON = field(default_factory=dict)
    doings: tuple[Do, ...] = ()
    takes: float = 0.0  # seconds at least
    logs: dict[str, list[str]] = field(default_factory=dict)  # lines of steps
    generation: int = 1


def fail(id: str, code: str = "no_stock", **rest: JSON) -> JSON:
    return task(id, "core.fail", code=code, step=rest)


def approval(id: str, **rest: JSON) -> JSON:
    timeout = {"timeout": rest.pop("timeout")} if "timeout" in rest else {}
    return step(id, "HumanApproval", {"title": "May it?", **rest}, **timeout)


def approve(id: str, **rest: JSON) -> Do:
    asked = {name: rest.pop(name) for name in ("status", "code") if name in rest}
    return Do(f"/steps/{id}/transition", {"action": "approve", **rest}, id, "waiting_approval", **asked)


def reject(id: str, **rest: JSON) -> Do:
    return Do(f"/steps/{id}/transition", {"action": "reject", **rest}, id, "waiting_approval")


def fork(*ids: str) -> list[JSON]:
    return [edge(ids[0], id) for id in ids[1:]]


OK = "succeeded 1"
BRANCH = {"when": "input.n > 1"}
