"""What only the whole graph tells: cycles, expressions against the steps there are, ways that lead nowhere."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workflows.definition.expressions import BadExpression, Expression, ExpressionError, compile_expression
from workflows.definition.graph import Certainty, shortest_cycle, topological_order
from workflows.definition.problems import Problems
from workflows.definition.templates import find_expressions

JSON = Any
Path = tuple[str | int, ...]
MAX_SHOWN = 501  # ids of a cycle in its message
SECRETS = frozenset({"HttpCall", "Task"})  # kinds whose config may read secrets


def check_graph(
    document: dict[str, JSON], known: dict[str, int], told: Sequence[tuple[int, str, bool]], found: Problems
) -> None:
    """`known`: positions by step id; `told`: (position, id, whether its steps exist) of the transitions."""
    steps, transitions = document.get("steps"), document.get("transitions", [])
    steps = steps if isinstance(steps, list) else []
    transitions = transitions if isinstance(transitions, list) else []
    ids, named = list(known), [(n, id) for n, id, joined in told if joined]
    edges = [(transitions[n]["from"], transitions[n]["to"]) for n, _ in named]
    cycle = shortest_cycle(ids, edges)
    if cycle is not None:
        found.step_id = cycle[0]
        more = f" → … ({len(cycle) - 1} in all)" if len(cycle) > MAX_SHOWN else ""
        names = " → ".join(cycle[:MAX_SHOWN])
        found.add("cycle", ("transitions",), f"these steps wait for one another: {names}{more}")
        found.step_id = None
    certainty = None if cycle is not None else _certainty(steps, transitions, known, named, edges)
    for n, step in enumerate(steps):
        if isinstance(step, dict):
            _check_config(step, n, known, certainty, found)
    _check_conditions(transitions, known, told, certainty, found)
    if "output" in document:
        for path, expression in _compiled(document["output"], ("output",), known, False, found):
            for step in _unguarded(expression):
                if certainty is not None and not certainty.at_end(step):
                    _warn_maybe(found, path, step)
    _check_defaults(transitions, known, named, found)


def _check_config(
    step: dict[str, JSON], n: int, known: dict[str, int], certainty: Certainty | None, found: Problems
) -> None:
    id, kind = step.get("id"), str(step.get("kind"))
    found.step_id = id[:63] if isinstance(id, str) else None
    placed = isinstance(id, str) and known.get(id) == n  # not so: another one of the same id, or none at all
    for path, expression in _compiled(step.get("config"), ("steps", n, "config"), known, kind in SECRETS, found):
        for read in _unguarded(expression):
            if certainty is not None and placed and not certainty.before(str(id), read):
                _warn_maybe(found, path, read)
    found.step_id = None


def _certainty(
    steps: Sequence[JSON], transitions: Sequence[JSON], known: dict[str, int], named: Sequence[tuple[int, str]],
    edges: Sequence[tuple[str, str]],
) -> Certainty:  # fmt: skip
    plain = [
        transitions[n].get("on", "success") == "success"
        and "when" not in transitions[n]
        and transitions[n].get("default") is not True
        for n, _ in named
    ]
    joins = {id: str(steps[n].get("join", "all")) for id, n in known.items()}
    marked = [(source, target, is_plain) for (source, target), is_plain in zip(edges, plain, strict=True)]
    ends = _ends([transitions[n] for n, _ in named], joins)
    return Certainty(topological_order(list(known), edges), marked, joins, ends)


def _ends(transitions: Sequence[JSON], joins: Mapping[str, str]) -> list[str]:
    """Steps after which a way may end: without a transition that is sure to be taken to a step that then runs."""
    incoming = Counter(transition["to"] for transition in transitions)
    onward, has_default, may_skip = set(), set(), set()
    for transition in transitions:
        source, on = transition["from"], transition.get("on", "success")
        sure_to_run = joins[transition["to"]] != "strict_all" or incoming[transition["to"]] == 1
        if transition.get("default") is True:
            has_default.add(source)
        elif on in ("success", "always") and "when" not in transition and sure_to_run:
            onward.add(source)
        if on == "success" and not sure_to_run:
            may_skip.add(source)
    return [id for id in joins if id not in onward and (id not in has_default or id in may_skip)]


def _check_conditions(
    transitions: Sequence[JSON], known: dict[str, int], told: Sequence[tuple[int, str, bool]],
    certainty: Certainty | None, found: Problems,
) -> None:  # fmt: skip
    for n, id, joined in told:
        when = transitions[n].get("when")
        if not isinstance(when, str) or not when:  # told already
            continue
        found.transition_id, source = id[:160], transitions[n].get("from")
        path: Path = ("transitions", n, "when")
        try:
            expression = compile_expression(when, known, expect_bool=True)
        except BadExpression as error:
            found.add(error.code, path, str(error))
        else:
            for step in _unguarded(expression):
                if certainty is not None and joined and not certainty.after(source, step):
                    _warn_maybe(found, path, step)
            if _never(expression):
                found.warn("never_taken", path, "this condition is always false: the transition is never taken")
        found.transition_id = None


def _check_defaults(
    transitions: Sequence[JSON], known: dict[str, int], named: Sequence[tuple[int, str]], found: Problems
) -> None:
    success: dict[str, list[JSON]] = {}
    for n, _ in named:
        if transitions[n].get("on", "success") == "success":
            success.setdefault(transitions[n]["from"], []).append(transitions[n])
    for id, its in success.items():
        if all("when" in transition for transition in its):
            found.step_id = id
            message = "every transition on success has a condition and none is the default: the way may end here"
            found.warn("no_default", ("steps", known[id]), message)
            found.step_id = None


def _compiled(
    value: JSON, path: Path, known: dict[str, int], secrets: bool, found: Problems
) -> Iterator[tuple[Path, Expression]]:
    """Every expression in the strings of `value`; what does not compile is told."""
    waiting: list[tuple[Path, JSON]] = [(path, value)]
    while waiting:
        place, item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(reversed([((*place, key), inner) for key, inner in item.items()]))
        elif isinstance(item, list):
            waiting.extend(reversed([((*place, n), inner) for n, inner in enumerate(item)]))
        elif isinstance(item, str) and "${" in item:
            try:
                parts = list(find_expressions(item))
            except BadExpression as error:
                found.add(error.code, place, str(error))
                continue
            for is_expression, part in parts:
                if is_expression:
                    try:
                        yield place, compile_expression(part.strip(), known, secrets=secrets)
                    except BadExpression as error:
                        found.add(error.code, place, str(error))


def _unguarded(expression: Expression) -> list[str]:
    """Steps whose output or error is read without a look at their state."""
    fields: dict[str, set[str]] = {}
    for name in expression.references:
        root, _, rest = name.partition(".")
        if root == "steps":
            id, _, field = rest.partition(".")
            fields.setdefault(id, set()).add(field)
    return sorted(id for id, read in fields.items() if read & {"output", "error"} and "state" not in read)


def _never(expression: Expression) -> bool:
    """Constantly false: false whatever it reads."""
    try:
        return expression.evaluate({}) is False
    except ExpressionError:
        return False


def _warn_maybe(found: Problems, path: Path, step: str) -> None:
    guard = f"steps.{step}.state == 'succeeded' ? … : …"
    found.warn("maybe_not_run", path, f"step {step} may not have run by then: guard it with {guard}")
