"""Plans by version: compiled once in a process, for a published version never changes."""

from collections import OrderedDict
from threading import Lock
from typing import Any
from uuid import UUID

from runs.machine.plan import Plan
from workflows.definition.model import Definition, RetryPolicy, Step
from workflows.definition.parsing import BrokenDefinition, load
from workflows.models import WorkflowVersion

MAX_STEPS = 100_000  # in all cached plans together

_plans: "OrderedDict[UUID, Plan]" = OrderedDict()
_lock = Lock()


def plans_of(version_ids: set[UUID]) -> dict[UUID, Plan | BrokenDefinition]:
    """The plans of published versions, one query for those that are not cached."""
    found: dict[UUID, Plan | BrokenDefinition] = {}
    with _lock:
        for id in version_ids & _plans.keys():
            _plans.move_to_end(id)
            found[id] = _plans[id]
    missing = version_ids - found.keys()
    if missing:
        rows = WorkflowVersion.objects.filter(id__in=missing).values_list("id", "definition", "published_at")
        for id, definition, published_at in rows:
            found[id] = plan = compiled(definition)
            if published_at is not None and isinstance(plan, Plan):
                _keep(id, plan)
    return found


def compiled(definition: Any) -> Plan | BrokenDefinition:
    """The plan of a definition, or why there is none."""
    try:
        return Plan(load(definition))
    except BrokenDefinition as error:
        return error
    except Exception as error:  # a row of an older or newer release must fail its run, not this process
        return BrokenDefinition(f"{type(error).__name__}: {error}")


def bare_plan(step_ids: list[str]) -> Plan:
    """A plan without transitions, for a run whose definition cannot be read: enough to end it."""
    steps = tuple(
        Step(id, "Task", id, {"name": "core.noop", "args": {}}, "all", RetryPolicy(), None, None, None)
        for id in step_ids
    )
    return Plan(Definition(steps, (), None, None, None, "stop", None, None, False))


def _keep(id: UUID, plan: Plan) -> None:
    with _lock:
        _plans[id] = plan
        while len(_plans) > 1 and sum(len(p.steps) for p in _plans.values()) > MAX_STEPS:
            _plans.popitem(last=False)
