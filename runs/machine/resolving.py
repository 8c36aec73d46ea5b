"""How the transitions of a step that has ended come out: taken or not, and why (SEMANTICS 3)."""

from typing import Any

from runs.machine.context import context_of
from runs.machine.draft import Draft
from runs.machine.plan import Edge
from workflows.definition.expressions import ExpressionError
from workflows.definition.model import matches_code

JSON = Any
_TYPES = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}


class Failing(Exception):
    """A `when` that failed; `operands` is what it read."""

    def __init__(self, edge: Edge, error: str, operands: dict[str, JSON]) -> None:
        super().__init__(f"the condition of {edge.id} failed: {error}")
        self.edge, self.operands = edge, operands

    def told(self) -> dict[str, JSON]:
        return self.edge.told(False, "expression_error", self.operands)


def _holds(draft: Draft, edge: Edge) -> tuple[bool, dict[str, JSON] | None]:
    """Whether the edge's condition holds, and what it read. Raises Failing."""
    if edge.when is None:
        return True, None
    context = context_of(draft, edge.when.references)
    operands = edge.when.operands(context)
    try:
        value = edge.when.evaluate(context)
    except ExpressionError as error:
        raise Failing(edge, str(error), operands) from None
    if not isinstance(value, bool):
        raise Failing(edge, f"it gives {_TYPES.get(type(value), 'null')}, not a bool", operands)
    return value, operands


def resolve_success(draft: Draft, i: int) -> tuple[tuple[int, ...], list[dict[str, JSON]]]:
    """Positions taken, and what to tell. Raises Failing: then the step does not succeed."""
    taken: list[int] = []
    told: dict[int, dict[str, JSON]] = {}
    another = False
    for edge in draft.plan.outgoing[i]:
        if edge.on == "failure":
            told[edge.position] = edge.told_other
        elif not edge.default:
            holds, operands = _holds(draft, edge)
            told[edge.position] = edge.told(holds, edge.on if holds else "condition_false", operands)
            if holds:
                taken.append(edge.position)
                another = another or edge.on == "success"
    for edge in draft.plan.outgoing[i]:
        if edge.default:
            told[edge.position] = edge.told(not another, "other_outcome" if another else "default")
            if not another:
                taken.append(edge.position)
    return tuple(sorted(taken)), [told[edge.position] for edge in draft.plan.outgoing[i]]


def resolve_failure(
    draft: Draft, i: int, code: str, broken: Failing | None
) -> tuple[tuple[int, ...], list[dict[str, JSON]], str | None]:
    """Positions taken, what to tell, and the message of a condition that failed itself."""
    taken: list[int] = []
    told: list[dict[str, JSON]] = []
    fault: str | None = None
    for edge in draft.plan.outgoing[i]:
        if broken is not None and edge is broken.edge and edge.on != "always":
            told.append(broken.told())
        elif edge.on == "success":
            told.append(edge.told_other)
        elif edge.on == "failure" and edge.errors is not None and not any(matches_code(e, code) for e in edge.errors):
            told.append(edge.told(False, "code_not_listed"))
        else:
            holds, entry, wrong = _try(draft, edge)
            told.append(entry)
            fault = fault or wrong
            if holds:
                taken.append(edge.position)
    return tuple(taken), told, fault


def resolve_always(draft: Draft, i: int) -> tuple[tuple[int, ...], list[dict[str, JSON]], str | None]:
    """The same for a skipped step, of which only `always` transitions may be taken."""
    taken: list[int] = []
    told: list[dict[str, JSON]] = []
    fault: str | None = None
    for edge in draft.plan.outgoing[i]:
        if edge.on != "always":
            told.append(edge.told(False, "source_skipped"))
            continue
        holds, entry, wrong = _try(draft, edge)
        told.append(entry)
        fault = fault or wrong
        if holds:
            taken.append(edge.position)
    return tuple(taken), told, fault


def _try(draft: Draft, edge: Edge) -> tuple[bool, dict[str, JSON], str | None]:
    """Resolve an edge whose source stays as it is even if the condition fails."""
    try:
        holds, operands = _holds(draft, edge)
    except Failing as failing:
        return False, failing.told(), str(failing)
    return holds, edge.told(holds, edge.on if holds else "condition_false", operands), None
