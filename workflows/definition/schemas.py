"""JSON Schemas that authors write: for a run's input, for an approval's form.

They are a stranger's programs: a reference could fetch a file, a pattern take hours (Python's
`re` backtracks; RE2, which CEL brings, does not), references that double grow without end, and
`uniqueItems` compare all with all. So references stay inside, and the work is counted.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import jsonschema
from cel_expr_python import cel
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from workflows.definition.problems import MAX_PROBLEMS, pointer

JSON = Any
Path = tuple[str | int, ...]
Found = Iterator[tuple[Path, str]]
Keyword = Callable[[Any, JSON, JSON, JSON], Any]
MAX_CHECKS = 1_000_000  # keywords applied to one value, about a second
COSTS = {"$ref": 10, "$dynamicRef": 10, "allOf": 5, "anyOf": 5, "oneOf": 5}
MAX_SHOWN = 100  # characters of a value that a message repeats

_NOWHERE: Any = Registry()  # the default one fetches what a `$ref` names: from anywhere, files too
_checks: ContextVar[list[int]] = ContextVar("checks")
_UNICODE = re.compile(r"(\\\\)|\\u([0-9A-Fa-f]{4})")
_MATCHES: Any = cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING}).compile(
    "text.matches(pattern)"
)


class _TooMuch(Exception):
    pass


def schema_problems(schema: Mapping[str, JSON]) -> Found:
    """(path, message) of what is wrong with a schema itself."""
    errors = list(jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA).iter_errors(schema))
    for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path]):
        yield tuple(error.absolute_path), f"this is no JSON Schema: {_said(error)}"
    if not errors:
        yield from _reference_problems(schema)
        yield from _pattern_problems(schema)


def check_values(schema: Mapping[str, JSON], value: JSON, root: str) -> list[dict[str, JSON]]:
    """How `value` breaks a JSON Schema: problems with paths under the JSON pointer `root`, at most 100."""
    problems: list[dict[str, JSON]] = []
    codes = {"required": "missing_key", "additionalProperties": "unknown_key"}
    spent = _checks.set([0])
    try:
        for error in _Validator(schema, registry=_NOWHERE).iter_errors(value):
            code, path = codes.get(str(error.validator), "bad_value"), root + pointer(list(error.absolute_path))
            problems.append({"severity": "error", "code": code, "path": path, "message": _said(error)})
            if len(problems) >= MAX_PROBLEMS:
                break
    except _TooMuch:
        problems.append(_unusable(root, "it takes too long"))
    except Exception as error:  # a schema that refers to itself without end
        problems.append(_unusable(root, type(error).__name__))
    finally:
        _checks.reset(spent)
    return problems


def _unusable(root: str, why: str) -> dict[str, JSON]:
    message = f"The schema cannot be applied: {why}."
    return {"severity": "error", "code": "bad_value", "path": root, "message": message}


def _said(error: ValidationError) -> str:
    """The library's message, which repeats the value however large it is."""
    shown = repr(error.instance)
    message = error.message.replace(shown, shown[:MAX_SHOWN] + "…") if len(shown) > MAX_SHOWN else error.message
    return message[: 2 * MAX_SHOWN]


def _reference_problems(schema: Mapping[str, JSON]) -> Found:
    """References that leave the schema, or lead nowhere."""
    inside = list(_objects(schema))
    named = any("$id" in item for _, item in inside)  # then `#` may mean a part: only its use tells
    resolver = _NOWHERE.with_resource("", DRAFT202012.create_resource(schema)).resolver("")
    for path, item in inside:
        for key in ("$ref", "$dynamicRef"):
            reference = item.get(key)
            if not isinstance(reference, str):
                continue
            if not reference.startswith("#"):
                yield (*path, key), "a `$ref` may point into this schema only (#/…)"
            elif not named and key == "$ref":
                try:
                    resolver.lookup(reference)
                except (Unresolvable, ValueError, LookupError, TypeError):
                    yield (*path, key), f"`$ref` leads nowhere: there is no {reference[:MAX_SHOWN]!r}"


def _pattern_problems(schema: Mapping[str, JSON]) -> Found:
    for path, item in _objects(schema):
        pattern = item.get("pattern")
        if isinstance(pattern, str) and not _usable(pattern):
            yield (*path, "pattern"), "this is no pattern of RE2: it has no look-around and no back references"
        patterns = item.get("patternProperties")
        for each in patterns if isinstance(patterns, dict) else ():
            if not _usable(each):
                yield (*path, "patternProperties", each), "this is no pattern of RE2"
        if patterns and "unevaluatedProperties" in item:
            yield (*path, "unevaluatedProperties"), "this does not go together with patternProperties here"


def _objects(schema: JSON) -> Iterator[tuple[Path, dict[str, JSON]]]:
    waiting: list[tuple[Path, JSON]] = [((), schema)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, dict):
            yield path, item
            waiting.extend(((*path, key), inner) for key, inner in item.items())
        elif isinstance(item, list):
            waiting.extend(((*path, n), inner) for n, inner in enumerate(item))


def _matches(pattern: str, text: str) -> bool:
    value = _MATCHES.eval(data={"text": text, "pattern": _re2(pattern)})
    if value.type().name() != "BOOL":
        raise ValueError("no pattern of RE2")
    return bool(value.plain_value())


@lru_cache(maxsize=10_000)
def _usable(pattern: str) -> bool:
    try:
        _matches(pattern, "")
    except Exception:
        return False
    return True


def _re2(pattern: str) -> str:
    """ECMAScript's `\\u00e9` is written `\\x{00e9}` there."""
    return _UNICODE.sub(lambda match: match.group(1) or f"\\x{{{match.group(2)}}}", pattern)


# Keywords that are done otherwise than by the library


def _pattern(_: Any, pattern: str, instance: JSON, __: JSON) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, JSON], instance: JSON, _: JSON) -> Iterator[Any]:
    for pattern, inner in patterns.items() if isinstance(instance, dict) else ():
        for key, item in instance.items():
            if _matches(pattern, key):
                yield from validator.descend(item, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, rule: JSON, instance: JSON, schema: Mapping[str, JSON]) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), list(schema.get("patternProperties", {}))
    extra = [key for key in instance if key not in known and not any(_matches(p, key) for p in patterns)]
    if rule is False and extra:
        names = ", ".join(repr(key[:MAX_SHOWN]) for key in extra[:10])
        yield ValidationError(f"Additional properties are not allowed ({names})")
    elif isinstance(rule, dict):
        for key in extra:
            yield from validator.descend(instance[key], rule, path=key)


def _unique_items(_: Any, wanted: bool, instance: JSON, __: JSON) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list) and len({_canonical(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _canonical(value: JSON) -> str:
    """The same text for what JSON Schema holds to be equal: 1 and 1.0 are."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: JSON) -> JSON:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _counted(keyword: Keyword, cost: int) -> Keyword:
    def apply(validator: Any, rule: JSON, instance: JSON, schema: JSON) -> Any:
        spent = _checks.get()
        spent[0] += cost
        if spent[0] > MAX_CHECKS:
            raise _TooMuch
        return keyword(validator, rule, instance, schema)

    return apply


_keywords: dict[str, Keyword] = {
    **jsonschema.Draft202012Validator.VALIDATORS,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
_extend: Any = jsonschema.validators.extend
_Validator = _extend(
    jsonschema.Draft202012Validator,
    {name: _counted(keyword, COSTS.get(name, 1)) for name, keyword in _keywords.items()},
)
