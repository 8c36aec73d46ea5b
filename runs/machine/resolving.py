"""How the transitions of a step that has ended come out: taken or not, and why (SEMANTICS 3)."""

from typing import Any

from runs.machine.context import context_of
from runs.machine.draft import Draft
from runs.machine.plan import Edge
from workflows.definition.expressions import ExpressionError
from workflows.definition.model import matches_code

JSON = Any


class Failing(Exception):
    """A `when` of a step that was to succeed failed."""

    def __init__(self, edge: Edge, error: ExpressionError) -> None:
        self.edge, self.error = edge, error


def _holds(draft: Draft, edge: Edge) -> tuple[bool, dict[str, JSON] | None]:
    """Whether the edge's condition holds, and what it read. Raises ExpressionError."""
    if edge.when is None:
        return True, None
    context = context_of(draft, edge.when.references)
    value = edge.when.evaluate(context)
    if not isinstance(value, bool):
        raise ExpressionError(f"it gives {type(value).__name__}, not a bool")
    return value, edge.when.operands(context)


def resolve_success(draft: Draft, i: int) -> tuple[tuple[int, ...], list[dict[str, JSON]]]:
    taken: list[int] = []
    told: dict[int, dict[str, JSON]] = {}
    another = False
    for edge in draft.plan.outgoing[i]:
        if edge.on == "failure":
            told[edge.position] = edge.told_other
        elif not edge.default:
            try:
                holds, operands = _holds(draft, edge)
            except ExpressionError as error:
                raise Failing(edge, error) from None
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
    draft: Draft, i: int, code: str, broken: Edge | None
) -> tuple[tuple[int, ...], list[dict[str, JSON]], str | None]:
    """Positions taken, what to tell, and the message of a condition that failed itself."""
    taken: list[int] = []
    told: list[dict[str, JSON]] = []
    fault: str | None = None
    for edge in draft.plan.outgoing[i]:
        if edge is broken and edge.on != "always":
            told.append(edge.told(False, "expression_error"))
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
    except ExpressionError as error:
        return False, edge.told(False, "expression_error"), f"the condition of {edge.id} failed: {error}"
    return holds, edge.told(holds, edge.on if holds else "condition_false", operands), None
