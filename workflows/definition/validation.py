"""Everything that is wrong with a definition, all of it and not the first only (SEMANTICS 1)."""

from collections.abc import Mapping, Sequence
from inspect import Signature
from typing import Any

from staterail.core.strict_json import MAX_DEPTH, dumps, problem_in
from workflows.definition.configs import check_config, check_schema, check_shape
from workflows.definition.graph_checks import check_graph
from workflows.definition.model import never_retryable
from workflows.definition.problems import Problems
from workflows.definition.shape import (
    BREAKER,
    CONFIG,
    DEFINITION,
    KINDS,
    POSITION,
    RETRY,
    STEP,
    TRANSITION,
    Shape,
)

JSON = Any
Path = tuple[str | int, ...]
MAX_BYTES = 1024 * 1024
MAX_STEPS = 5_000
MAX_TRANSITIONS = 20_000
DRAFT_REFUSALS = frozenset({"not_an_object", "too_large", "too_deep"})
"""Codes that refuse even the saving of a draft."""


def validate(document: JSON, *, tasks: Mapping[str, Signature]) -> list[dict[str, JSON]]:
    """The problems of a definition, errors first, at most 100: {severity, code, path, message, step_id, transition_id}.

    `tasks` are the registered Tasks, with what their functions take.
    """
    found = Problems()
    if not isinstance(document, dict):
        found.add("not_an_object", (), "a definition is a JSON object")
        return found.listed()
    if not _fits(document, found):
        return found.listed()
    _check_top(document, found)
    steps = document.get("steps")
    transitions = document.get("transitions", [])
    known = _check_steps(steps, found, tasks) if isinstance(steps, list) else {}
    named = _check_transitions(transitions, known, found) if isinstance(transitions, list) else []
    check_graph(document, known, named, found)
    return found.listed()


def _fits(document: dict[str, JSON], found: Problems) -> bool:
    """Whether the document is small and shallow enough to look into it."""
    if depth_of(document) > MAX_DEPTH:
        found.add("too_deep", (), f"the definition is nested more than {MAX_DEPTH} deep")
        return False
    wrong = problem_in(document)
    if wrong is not None:
        found.add("bad_value", (), wrong)
        return False
    try:
        size = len(dumps(document).encode())
    except (ValueError, TypeError):
        found.add("bad_value", (), "the definition has a value that is no JSON (NaN or Infinity)")
        return False
    if size > MAX_BYTES:
        found.add("too_large", (), f"the definition has {size} bytes; 1 MiB ({MAX_BYTES}) is the most")
        return False
    for key, most in (("steps", MAX_STEPS), ("transitions", MAX_TRANSITIONS)):
        items = document.get(key)
        if isinstance(items, list) and len(items) > most:
            found.add("too_large", (key,), f"there are {len(items)} {key}; {most} is the most")
            return False
    return True


def depth_of(value: JSON) -> int:
    """How deep arrays and objects are nested; counts no further than one past the limit."""
    level, deepest = [value], 0
    while level and deepest <= MAX_DEPTH:
        inner: list[JSON] = []
        nested = False
        for item in level:
            if isinstance(item, dict):
                nested = True
                inner.extend(item.values())
            elif isinstance(item, list):
                nested = True
                inner.extend(item)
        deepest += nested
        level = inner
    return deepest


def _check_top(document: dict[str, JSON], found: Problems) -> None:
    if document.get("schema") != "staterail.workflow/v1":
        if "schema" in document:
            found.add("bad_schema_version", ("schema",), "`schema` is staterail.workflow/v1")
        else:
            found.add("bad_schema_version", (), "`schema` is missing: write staterail.workflow/v1")
    check_shape(document, Shape(DEFINITION.rules, ("steps",)), (), found, besides=("schema",))
    if "steps" in document and not isinstance(document["steps"], list):
        found.add("bad_value", ("steps",), "`steps` is a list")
    if isinstance(document.get("steps"), list) and not document["steps"]:
        found.add("no_steps", ("steps",), "a workflow has at least one step")
    if not isinstance(document.get("transitions", []), list):
        found.add("bad_value", ("transitions",), "`transitions` is a list")
    check_schema(document.get("input_schema"), ("input_schema",), found)


def _check_steps(steps: Sequence[JSON], found: Problems, tasks: Mapping[str, Signature]) -> dict[str, int]:
    """Positions by id, of the steps that have a usable one."""
    known: dict[str, int] = {}
    for n, step in enumerate(steps):
        path: Path = ("steps", n)
        if not isinstance(step, dict):
            found.add("bad_value", path, "a step is an object")
            continue
        id = step.get("id")
        found.step_id = id[:63] if isinstance(id, str) else None
        if isinstance(id, str):
            if STEP.rules["id"].check(id) is not None:
                message = "an id begins with a small letter and has letters a to z, digits and _ only, 63 at most"
                found.add("bad_id", (*path, "id"), message)
            elif id in known:
                found.add("duplicate_id", (*path, "id"), f"there is another step {id!r}: ids are unique")
            known.setdefault(id, n)
        _check_step(step, path, found, tasks)
    found.step_id = None
    return known


def _check_step(step: dict[str, JSON], path: Path, found: Problems, tasks: Mapping[str, Signature]) -> None:
    kind = step.get("kind")
    judged = ("kind", "id") if isinstance(step.get("id"), str) else ("kind",)
    check_shape(step, STEP, path, found, besides=judged)
    if "kind" in step and kind not in KINDS:
        found.add("unknown_kind", (*path, "kind"), f"there is no such kind; there are {', '.join(KINDS)}")
    for key, shape in (("retry", RETRY), ("circuit_breaker", BREAKER), ("position", POSITION)):
        if isinstance(step.get(key), dict):
            check_shape(step[key], shape, (*path, key), found)
    _check_retry(step.get("retry"), (*path, "retry"), found)
    if kind in ("Delay", "HumanApproval") and "circuit_breaker" in step:
        found.add("bad_value", (*path, "circuit_breaker"), f"a {kind} calls nobody: it has no circuit breaker")
    config = step.get("config")
    if isinstance(config, dict) and isinstance(kind, str) and kind in CONFIG:
        check_config(kind, config, (*path, "config"), found, tasks)


def _check_retry(retry: JSON, path: Path, found: Problems) -> None:
    errors = retry.get("errors") if isinstance(retry, dict) else None
    for n, code in enumerate(errors if isinstance(errors, list) else ()):
        if isinstance(code, str) and never_retryable(code):
            found.add("bad_value", (*path, "errors", n), f"an error `{code[:60]}` is never retried")


def _check_transitions(
    transitions: Sequence[JSON], known: dict[str, int], found: Problems
) -> list[tuple[int, str, bool]]:
    """(position, id, whether it is between steps that exist) of each."""
    named: list[tuple[int, str, bool]] = []
    ids: set[str] = set()
    defaults: dict[str, str] = {}  # the default transition of each source
    for n, (transition, id) in enumerate(zip(transitions, transition_ids(transitions), strict=True)):
        path: Path = ("transitions", n)
        if not isinstance(transition, dict):
            found.add("bad_value", path, "a transition is an object")
            continue
        found.transition_id = id[:160]
        check_shape(transition, TRANSITION, path, found)
        if id in ids:
            found.add("duplicate_id", (*path, "id"), f"there is another transition {id[:60]!r}: ids are unique")
        ids.add(id)
        ends = [transition.get("from"), transition.get("to")]
        for key, end in zip(("from", "to"), ends, strict=True):
            if isinstance(end, str) and end not in known:
                found.add("unknown_step", (*path, key), f"there is no step {end[:63]!r}")
        named.append((n, id, all(isinstance(end, str) and end in known for end in ends)))
        _check_combination(transition, path, found)
        if transition.get("default") is True and isinstance(ends[0], str):
            if ends[0] in defaults:
                message = f"step {ends[0][:63]!r} has a default transition already, {defaults[ends[0]][:160]!r}"
                found.add("bad_value", (*path, "default"), f"{message}: one at most")
            defaults.setdefault(ends[0], id)
        found.transition_id = None
    return named


def _check_combination(transition: dict[str, JSON], path: Path, found: Problems) -> None:
    on = transition.get("on", "success")
    if "errors" in transition and on != "failure":
        found.add("bad_value", (*path, "errors"), "`errors` goes with `on: failure` only")
    if transition.get("default") is True and on != "success":
        found.add("bad_value", (*path, "default"), "`default` goes with `on: success` only")
    if transition.get("default") is True and "when" in transition:
        found.add("bad_value", (*path, "default"), "a default transition has no `when`")


def transition_ids(transitions: Sequence[JSON]) -> list[str]:
    """The ids, made where they are missing: `<from>:<to>`, with `:2`, `:3` … for further ones between the two."""
    pairs: dict[str, int] = {}
    ids = []
    for transition in transitions:
        if not isinstance(transition, dict):
            ids.append("")
            continue
        name = f"{transition.get('from')}:{transition.get('to')}"
        pairs[name] = pairs.get(name, 0) + 1
        given = transition.get("id")
        ids.append(given if isinstance(given, str) else f"{name}:{pairs[name]}" if pairs[name] > 1 else name)
    return ids
