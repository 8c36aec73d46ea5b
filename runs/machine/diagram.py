"""The state tables as Mermaid diagrams: what the docs show is printed from what the engine obeys."""

from collections.abc import Mapping
from typing import Any

from runs.machine.states import RUN_CHANGES, STEP_CHANGES


def diagrams() -> str:
    """Both state machines, as Markdown with Mermaid blocks."""
    return f"## A run\n\n{_diagram(RUN_CHANGES)}\n\n## A step\n\n{_diagram(STEP_CHANGES)}\n"


def _diagram(changes: Mapping[Any, frozenset[Any]]) -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    for before, after in changes.items():
        for state in sorted(after, key=lambda s: list(s.__class__).index(s)):
            lines.append(f"    {before.value if before is not None else '[*]'} --> {state.value}")
    return "\n".join([*lines, "```"])
