"""The config of a step, by its kind: as it is written, with expressions in it, and as it is once they are resolved."""

from collections.abc import Collection, Mapping
from inspect import Parameter, Signature
from types import MappingProxyType
from typing import Any

from workflows.definition.problems import Problems
from workflows.definition.schemas import schema_problems
from workflows.definition.scripts import source_problems
from workflows.definition.shape import CONFIG, Rule, Shape
from workflows.definition.templates import has_expression

JSON = Any
Path = tuple[str | int, ...]
_ABSENT: Mapping[str, Collection[str]] = MappingProxyType(
    {
        "HttpCall": ("headers", "query", "body", "text"),
        "Task": ("args",),
        "Delay": ("for", "until"),
    }
)  # keys that say as much with null as without it
NO_TASKS: Mapping[str, Signature] = MappingProxyType({})


def resolved_problems(
    kind: str, config: JSON, *, tasks: Mapping[str, Signature] = NO_TASKS, path: Path = ()
) -> list[dict[str, JSON]]:
    """What is wrong with a config in which nothing is an expression any more, located under `path`.

    Executors take somewhat more than an author may write, for an expression may have made it.
    """
    found = Problems()
    if isinstance(config, dict):
        check_config(kind, _as_executed(kind, config), path, found, tasks, templated=False)
    else:
        found.add("bad_value", path, f"the config of a {kind} is an object")
    return found.listed()


def _as_executed(kind: str, config: dict[str, JSON]) -> dict[str, JSON]:
    """The config as its author could have written it."""
    known = {key: item for key, item in config.items() if item is not None or key not in _ABSENT.get(kind, ())}
    if kind == "Script":
        known.pop("args", None)  # any JSON
    if kind == "HttpCall":
        if isinstance(known.get("method"), str):
            known["method"] = known["method"].upper()
        if isinstance(known.get("expect_status"), list):
            known["expect_status"] = [s.lower() if isinstance(s, str) else s for s in known["expect_status"]]
    return known


def check_config(
    kind: str,
    config: dict[str, JSON],
    path: Path,
    found: Problems,
    tasks: Mapping[str, Signature],
    *,
    templated: bool = True,
) -> None:  # fmt: skip
    """What is wrong with the config of a step of this kind."""
    check_shape(config, CONFIG[kind], path, found, templated=templated)
    if kind == "Task":
        name = config.get("name")
        if isinstance(name, str) and not (templated and has_expression(name)):
            if name in tasks:
                _check_args(name, tasks[name], config.get("args", {}), (*path, "args"), found)
            else:
                some = ", ".join(sorted(tasks)[:20])
                found.add("unknown_task", (*path, "name"), f"no Task {name[:60]!r} is registered; there are {some}")
    elif kind == "Delay":
        if "for" in config and "until" in config:
            found.add("bad_value", path, "a Delay has either `for` or `until`, not both")
        elif "for" not in config and "until" not in config:
            found.add("missing_key", path, "a Delay needs `for` (a duration) or `until` (a time)")
    elif kind == "HttpCall":
        if "body" in config and "text" in config:
            found.add("bad_value", path, "an HttpCall sends either `body` or `text`, not both")
    elif kind == "Script":
        source = config.get("source")
        if isinstance(source, str) and source and not (templated and has_expression(source)):
            for wrong in source_problems(source):
                found.add("bad_value", (*path, "source"), wrong)
    elif kind == "HumanApproval":
        check_schema(config.get("form_schema"), (*path, "form_schema"), found)


def _check_args(name: str, signature: Signature, args: JSON, path: Path, found: Problems) -> None:
    """Args that the task's function does not take, and those that it wants. The first parameter is its context."""
    parameters = list(signature.parameters.values())
    named = {p.name: p for p in parameters[1:] if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)}
    takes_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters)
    if not isinstance(args, dict):
        return
    for key in args:
        if key not in named and not takes_any:
            known = ", ".join(named) or "none"
            found.add("unknown_key", (*path, key), f"the Task {name} takes no argument {key[:60]!r}; there are {known}")
    for key, parameter in named.items():
        if parameter.default is Parameter.empty and key not in args:
            found.add("missing_key", (*path, key), f"the Task {name} wants the argument `{key}`")


def check_shape(
    value: dict[str, JSON], shape: Shape, path: Path, found: Problems, *, templated: bool = False,
    besides: Collection[str] = (),
) -> None:  # fmt: skip
    """Unknown, missing and bad keys of one object.

    `templated`: strings with expressions are not judged yet. `besides`: keys whose values others judge.
    """
    for key, item in value.items():
        rule = shape.rules.get(key)
        if rule is None:
            known = ", ".join(shape.rules)
            found.add("unknown_key", (*path, key), f"{key[:60]!r} is not known here; there are {known}")
        elif key not in besides and not (templated and has_expression(item)):
            wrong = rule.check(item)
            if wrong is not None:
                found.add("bad_value", (*path, key), f"`{key}`: {wrong}")
            elif rule.item is not None:
                _check_entries(item, key, rule.item, (*path, key), found, templated)
    for key in shape.required:
        if key not in value:
            found.add("missing_key", (*path, key), f"`{key}` is missing")


def _check_entries(items: list[JSON], key: str, rule: Rule, path: Path, found: Problems, templated: bool) -> None:
    for n, item in enumerate(items):
        wrong = None if templated and has_expression(item) else rule.check(item)
        if wrong is not None:
            found.add("bad_value", (*path, n), f"`{key}`: {wrong}")


def check_schema(schema: JSON, path: Path, found: Problems) -> None:
    if isinstance(schema, dict):
        for place, message in schema_problems(schema):
            found.add("bad_value", (*path, *place), message)
