"""Chance out of a seed, and the workflows it makes."""

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from runs.tests.machine.random_graphs import a_graph

T = TypeVar("T")


class Seeded:
    """The same seed gives the same story."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.random = self._random.random

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.random() * len(choices))]

    def chance(self, share: float) -> bool:
        return self.random() < share

    def weighted(self, choices: Sequence[tuple[str, int]]) -> str:
        n = self.random() * sum(weight for _, weight in choices)
        for name, weight in choices:
            n -= weight
            if n < 0:
                return name
        return choices[-1][0]


def a_workflow(dice: Seeded) -> dict[str, Any]:
    """A random graph without what only the database has (breakers, secrets); approvals may wait for ever."""
    document = a_graph(dice)
    for step in document["steps"]:
        step.pop("circuit_breaker", None)
        if "KEY" in str(step["config"]):
            step["config"]["args"] = {}
        if step["kind"] == "HumanApproval" and dice.chance(0.5):
            del step["timeout"]
    return document
