"""A WfFormat instance (a workflow that really ran, with its measured runtimes) as a definition."""

from collections.abc import Mapping
from typing import Any

JSON = Any


class WfFormatError(ValueError):
    """The document is no WfFormat instance that we can read."""


def definition_of(instance: JSON, *, scale: float = 1.0) -> dict[str, JSON]:
    """A workflow whose Tasks sleep their measured runtime (seconds) times `scale`. Raises WfFormatError."""
    try:
        workflow = instance["workflow"]
        tasks = workflow["specification"]["tasks"]
        seconds = {task["id"]: _seconds(task) for task in workflow["execution"]["tasks"]}
        names = {task["id"]: f"t{n}" for n, task in enumerate(tasks)}
        if len(names) < len(tasks):
            raise WfFormatError("two of its tasks have one id")
        steps = [_step(task, names, seconds, scale) for task in tasks]
        edges = {(task["id"], child) for task in tasks for child in task.get("children", ())}
        edges |= {(parent, task["id"]) for task in tasks for parent in task.get("parents", ())}
        place = {id: n for n, id in enumerate(names)}
        in_order = sorted(edges, key=lambda edge: (place[edge[0]], place[edge[1]]))
        transitions = [{"from": names[source], "to": names[target]} for source, target in in_order]
    except WfFormatError:
        raise
    except KeyError as error:
        raise WfFormatError(f"this is no WfFormat instance: {error} is missing or unknown") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise WfFormatError(f"this is no WfFormat instance: {error}") from None
    return {"schema": "staterail.workflow/v1", "steps": steps, "transitions": transitions}


def _seconds(task: Mapping[str, JSON]) -> float:
    seconds = float(task["runtimeInSeconds"])
    if not 0 <= seconds < float("inf"):
        raise WfFormatError(f"task {str(task['id'])[:100]} has a runtime of {seconds} s")
    return seconds


def _step(task: Mapping[str, JSON], names: Mapping[str, str], seconds: Mapping[str, float], scale: float) -> JSON:
    return {
        "id": names[task["id"]],
        "name": str(task.get("name") or task["id"])[:200],
        "kind": "Task",
        "config": {"name": "core.sleep", "args": {"seconds": round(seconds[task["id"]] * scale, 4)}},
    }


def critical_path_seconds(definition: Mapping[str, JSON]) -> float:
    """The longest way through the sleeps of such a definition."""
    from workflows.definition.graph import topological_order

    cost = {step["id"]: step["config"]["args"]["seconds"] for step in definition["steps"]}
    edges = [(t["from"], t["to"]) for t in definition["transitions"]]
    incoming: dict[str, list[str]] = {id: [] for id in cost}
    for source, target in edges:
        incoming[target].append(source)
    ends: dict[str, float] = {}
    for id in topological_order(list(cost), edges):
        ends[id] = cost[id] + max((ends[source] for source in incoming[id]), default=0.0)
    return max(ends.values(), default=0.0)
