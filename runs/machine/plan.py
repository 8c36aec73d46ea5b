"""A definition made ready to run: steps and transitions by position, templates and conditions compiled.

Made once for a version and shared by all its runs; nothing in it changes.
"""

from datetime import timedelta
from typing import Any

from staterail.core.strict_json import dumps
from workflows.definition.expressions import Expression, compile_expression
from workflows.definition.graph import topological_order
from workflows.definition.model import CircuitBreakerPolicy, Definition, Step, Transition
from workflows.definition.templates import Template, compile_template

ROWS = frozenset({"Delay", "HumanApproval"})  # kinds that no thread executes: they are rows


class Edge:
    """A transition, by positions."""

    __slots__ = ("position", "id", "source", "target", "on", "when", "default", "errors", "told_taken", "told_other")

    def __init__(
        self, position: int, source: int, target: int, transition: Transition, when: Expression | None
    ) -> None:
        self.position, self.source, self.target, self.when = position, source, target, when
        self.id, self.on, self.default = transition.id, transition.on, transition.default
        self.errors = transition.errors
        self.told_taken = self.told(True, self.on)
        self.told_other = self.told(False, "other_outcome")

    def told(self, taken: bool, reason: str, operands: dict[str, Any] | None = None) -> dict[str, Any]:
        """An entry of an event's `resolved`."""
        when = self.when.source if self.when is not None else None
        return {"transition": self.id, "taken": taken, "reason": reason, "when": when, "operands": operands}


class Plan:
    """What `decide` knows of a definition. Steps are their positions in `steps`, edges likewise."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.steps: tuple[Step, ...] = definition.steps
        self.ids: tuple[str, ...] = tuple(step.id for step in self.steps)
        self.index: dict[str, int] = {id: i for i, id in enumerate(self.ids)}
        self.executed: tuple[bool, ...] = tuple(step.kind not in ROWS for step in self.steps)
        self.special: frozenset[int] = frozenset(
            i for i, step in enumerate(self.steps) if not self.executed[i] or step.circuit_breaker is not None
        )  # what may change without a free thread: rows, and what a breaker holds back
        self.stops = definition.on_failure == "stop"
        self.timeout: timedelta | None = definition.timeout
        self.edges: tuple[Edge, ...] = tuple(self._edges())
        self.edge_index: dict[str, int] = {edge.id: edge.position for edge in self.edges}
        self.outgoing: list[list[Edge]] = [[] for _ in self.steps]
        self.incoming: list[list[Edge]] = [[] for _ in self.steps]
        for edge in self.edges:
            self.outgoing[edge.source].append(edge)
            self.incoming[edge.target].append(edge)
        self.plain: tuple[bool, ...] = tuple(
            all(e.on == "success" and e.when is None and not e.default for e in out) for out in self.outgoing
        )  # every outgoing transition is an unconditional success: the common case, resolved without a look
        self.plainly_taken = [tuple(e.position for e in out) for out in self.outgoing]
        self.plainly_told = [[e.told_taken for e in out] for out in self.outgoing]
        self.starts: tuple[int, ...] = tuple(i for i, into in enumerate(self.incoming) if not into)
        self.configs: list[Template] = [
            compile_template(s.config, self.index, secrets=s.kind in ("HttpCall", "Task")) for s in self.steps
        ]
        self.config_texts: list[str | None] = [
            dumps(template.render({})) if template.constant else None for template in self.configs
        ]
        self.output: Template | None = (
            compile_template(definition.output, self.index) if definition.has_output else None
        )
        self.secret_names: frozenset[str] = frozenset().union(*(template.secrets for template in self.configs))
        self.guarded: dict[int, CircuitBreakerPolicy] = {
            i: step.circuit_breaker for i, step in enumerate(self.steps) if step.circuit_breaker is not None
        }
        self.readers: dict[str, Reader] = {}

    def _edges(self) -> list[Edge]:
        edges = []
        for position, t in enumerate(self.definition.transitions):
            when = compile_expression(t.when, self.index, expect_bool=True) if t.when is not None else None
            edges.append(Edge(position, self.index[t.source], self.index[t.target], t, when))
        return edges

    def topological(self) -> list[int]:
        """Positions of the steps, sources first."""
        order = topological_order(self.ids, [(self.ids[e.source], self.ids[e.target]) for e in self.edges])
        return [self.index[id] for id in order]

    def reader(self, reference: str) -> "Reader":
        """Where a dotted name (`steps.a.output`, `input`, `run.id`) is read from: (step, field), or (None, name)."""
        found = self.readers.get(reference)
        if found is None:
            root, _, rest = reference.partition(".")
            if root == "steps":
                id, _, field = rest.partition(".")
                found = (self.index[id], field)
            else:
                found = (None, reference)
            self.readers[reference] = found
        return found


Reader = tuple[int | None, str]
