"""What the cases share: the definition that is run, and quantiles."""

from collections.abc import Sequence
from typing import Any


def sequence(steps: int) -> dict[str, Any]:
    """A definition of so many no-op steps, one after the other."""
    ids = [f"s{n}" for n in range(steps)]
    return {
        "schema": "staterail.workflow/v1",
        "steps": [{"id": id, "kind": "Task", "config": {"name": "core.noop", "args": {}}} for id in ids],
        "transitions": [{"from": a, "to": b} for a, b in zip(ids, ids[1:], strict=False)],
    }


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a share of `q` of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
