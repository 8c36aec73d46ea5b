"""Definitions in a few words, for tests that drive a server."""

from typing import Any

JSON = Any


def workflow(steps: list[JSON], transitions: list[JSON] | None = None, **rest: JSON) -> JSON:
    """A whole definition."""
    return {"schema": "staterail.workflow/v1", "steps": steps, "transitions": transitions or [], **rest}


def step(id: str, kind: str, config: JSON, **rest: JSON) -> JSON:
    return {"id": id, "kind": kind, "config": config, **rest}


def task(id: str, name: str, /, *, step: JSON = None, **args: JSON) -> JSON:
    """A Task; `step` holds what else stands on the step (`retry`, `join`, `timeout`)."""
    return {"id": id, "kind": "Task", "config": {"name": name, "args": args}, **(step or {})}


def echo(id: str, /, *, step: JSON = None, **args: JSON) -> JSON:
    """A Task that gives back its args."""
    return task(id, "core.echo", step=step, **args)


def edge(source: str, target: str, /, **rest: JSON) -> JSON:
    return {"from": source, "to": target, **rest}


def chain(*ids: str) -> list[JSON]:
    """One after the other."""
    return [edge(source, target) for source, target in zip(ids, ids[1:], strict=False)]
