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
        {"if": {"properties": {"kind": {"const": kind}}}, "then": {"properties": {"config": _loose(shape.schema())}}}
        for kind, shape in CONFIG.items()
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
        "$defs": {"step": step, "transition": TRANSITION.schema()},
    }


def _loose(schema: dict[str, JSON]) -> dict[str, JSON]:
    """A value may also be a string with an expression in it."""
    template = {"type": "string", "pattern": r"\$\{"}
    properties = {key: {"anyOf": [rule, template]} if rule else rule for key, rule in schema["properties"].items()}
    return {**schema, "properties": properties}
