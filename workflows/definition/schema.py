"""The JSON Schema of the language, made from the table that validation reads."""

from typing import Any

from workflows.definition.shape import BREAKER, CONFIG, DEFINITION, POSITION, RETRY, STEP, TRANSITION

JSON = Any


def json_schema() -> dict[str, JSON]:
    """JSON Schema 2020-12. Strings of a config may be templates: its values are loose where they are strings."""
    step = STEP.schema()
    step["properties"] |= {
        "retry": RETRY.schema(), "circuit_breaker": BREAKER.schema(), "position": POSITION.schema(),
    }  # fmt: skip
    step["allOf"] = [
        {"if": {"properties": {"kind": {"const": kind}}}, "then": {"properties": {"config": _config(kind)}}}
        for kind in CONFIG
    ]
    definition = DEFINITION.schema()
    definition["properties"] |= {
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1, "maxItems": 5000},
        "transitions": {"type": "array", "items": {"$ref": "#/$defs/transition"}, "maxItems": 20000},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/api/v1/definitions/schema.json",
        "title": "StateRail workflow definition, v1",
        **definition,
        "$defs": {"step": step, "transition": _transition()},
    }


def _config(kind: str) -> dict[str, JSON]:
    schema = _loose(CONFIG[kind].schema())
    if kind == "Delay":
        schema["oneOf"] = [{"required": ["for"]}, {"required": ["until"]}]
    elif kind == "HttpCall":
        schema["not"] = {"required": ["body", "text"]}
    return schema


def _loose(schema: dict[str, JSON]) -> dict[str, JSON]:
    """A value, or an entry of a list, may also be a string with an expression in it."""
    return {**schema, "properties": {key: _or_template(rule) for key, rule in schema["properties"].items()}}


def _or_template(rule: dict[str, JSON]) -> dict[str, JSON]:
    template = {"type": "string", "pattern": r"\$\{"}
    if not rule.keys() - {"description"}:
        return rule
    if "items" in rule:
        rule = {**rule, "items": {"anyOf": [rule["items"], template]}}
    return {"anyOf": [rule, template]}


def _transition() -> dict[str, JSON]:
    """`errors` goes with `on: failure` only; `default` with `on: success` and without `when`."""
    success = {"properties": {"on": {"const": "success"}}, "not": {"required": ["when"]}}
    failure = {"properties": {"on": {"const": "failure"}}, "required": ["on"]}
    default = {"properties": {"default": {"const": True}}, "required": ["default"]}
    return {
        **TRANSITION.schema(),
        "allOf": [{"if": default, "then": success}, {"if": {"required": ["errors"]}, "then": failure}],
    }
