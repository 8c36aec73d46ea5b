"""How the transitions of a step that has ended come out: taken or not, and why (SEMANTICS 3)."""

from typing import Any

from runs.machine.context import context_of
from runs.machine.draft import Draft
from runs.machine.plan import Edge
from staterail.core.strict_json import dumps_known
from workflows.definition.expressions import ExpressionError
from workflows.definition.model import matches_code

JSON = Any
MAX_OPERANDS = 64 * 1024  # characters of JSON in one event
LEFT_OUT = "…"
_TYPES = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}


class Operands:
    """What the conditions of one event read, as far as its budget goes; past that, how many values are left out."""

    __slots__ = ("_budget", "_last", "_left_out")

    def __init__(self) -> None:
        self._budget, self._left_out = MAX_OPERANDS, 0
        self._last: dict[str, JSON] = {}

    def of(self, edge: Edge, context: dict[str, JSON]) -> dict[str, JSON] | None:
        if edge.when is None:
            return None
        if self._left_out:
            return self._leave_out({}, len(edge.when.reads))
        operands = edge.when.operands(context)
        size = len(dumps_known(operands))
        if size <= self._budget:
            self._budget -= size
            return operands
        kept = {}
        for path, value in operands.items():
            size = len(dumps_known(path)) + len(dumps_known(value)) + 2
            if size <= self._budget:
                self._budget -= size
                kept[path] = value
        if len(kept) == len(operands):
            return kept
        self._last = kept
        return self._leave_out(kept, len(operands) - len(kept))

    def _leave_out(self, operands: dict[str, JSON], count: int) -> dict[str, JSON]:
        self._left_out += count
        self._last[LEFT_OUT] = f"({self._left_out} values of this event are left out)"
        return operands


class Failing(Exception):
    """A `when` that failed; `context` is what it read."""

    def __init__(self, edge: Edge, error: str, context: dict[str, JSON]) -> None:
        super().__init__(f"the condition of {edge.id} failed: {error}")
        self.edge, self.context = edge, context

    def told(self, operands: Operands) -> dict[str, JSON]:
        return self.edge.told(False, "expression_error", operands.of(self.edge, self.context))


def _holds(draft: Draft, edge: Edge, operands: Operands) -> tuple[bool, dict[str, JSON] | None]:
    """Whether the edge's condition holds, and what it read. Raises Failing."""
    if edge.when is None:
        return True, None
    context = context_of(draft, edge.when.references)
    try:
        value = edge.when.evaluate(context)
    except ExpressionError as error:
        raise Failing(edge, str(error), context) from None
    if not isinstance(value, bool):
        raise Failing(edge, f"it gives {_TYPES.get(type(value), 'null')}, not a bool", context)
    return value, operands.of(edge, context)


def resolve_success(draft: Draft, i: int) -> tuple[tuple[int, ...], list[dict[str, JSON]]]:
    """Positions taken, and what to tell. Raises Failing: then the step does not succeed."""
    taken: list[int] = []
    told: dict[int, dict[str, JSON]] = {}
    another, operands = False, Operands()
    for edge in draft.plan.outgoing[i]:
        if edge.on == "failure":
            told[edge.position] = edge.told_other
        elif not edge.default:
            holds, read = _holds(draft, edge, operands)
            told[edge.position] = edge.told(holds, edge.on if holds else "condition_false", read)
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
    operands = Operands()
    for edge in draft.plan.outgoing[i]:
        if broken is not None and edge is broken.edge and edge.on != "always":
            told.append(broken.told(operands))
        elif edge.on == "success":
            told.append(edge.told_other)
        elif edge.on == "failure" and edge.errors is not None and not any(matches_code(e, code) for e in edge.errors):
            told.append(edge.told(False, "code_not_listed"))
        else:
            holds, entry, wrong = _try(draft, edge, operands)
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
    operands = Operands()
    for edge in draft.plan.outgoing[i]:
        if edge.on != "always":
            told.append(edge.told(False, "source_skipped"))
            continue
        holds, entry, wrong = _try(draft, edge, operands)
        told.append(entry)
        fault = fault or wrong
        if holds:
            taken.append(edge.position)
    return tuple(taken), told, fault


def _try(draft: Draft, edge: Edge, operands: Operands) -> tuple[bool, dict[str, JSON], str | None]:
    """Resolve an edge whose source stays as it is even if the condition fails."""
    try:
        holds, read = _holds(draft, edge, operands)
    except Failing as failing:
        return False, failing.told(operands), str(failing)
    return holds, edge.told(holds, edge.on if holds else "condition_false", read), None
