"""JSON Schemas of authors: applied to what strangers send, so nothing in them may run away."""

import time

import pytest

from workflows.definition.schemas import check_values, schema_problems

QUICK = 30.0  # seconds: not stuck
DOUBLING = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {}}


def _broken(schema, value):
    return [(problem["code"], problem["path"]) for problem in check_values(schema, value, "/input")]


def test_a_value_that_fits_has_no_problems():
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string", "minLength": 1}}}
    assert check_values(schema, {"id": "x", "more": 1}, "/input") == []


def test_what_breaks_the_schema_is_told_at_its_place():
    schema = {
        "type": "object", "required": ["id"], "additionalProperties": False,
        "properties": {"id": {}, "qty": {"type": "integer"}, "a/b": {"items": {"enum": [1, 2]}}},
    }  # fmt: skip
    problems = check_values(schema, {"qty": "x", "a/b": [1, 3], "odd": 1}, "/input")
    assert sorted((p["severity"], p["code"], p["path"], p["message"]) for p in problems) == [
        ("error", "bad_value", "/input/a~1b/1", "3 is not one of [1, 2]"),
        ("error", "bad_value", "/input/qty", "'x' is not of type 'integer'"),
        ("error", "missing_key", "/input", "'id' is a required property"),
        ("error", "unknown_key", "/input", "Additional properties are not allowed ('odd')"),
    ]


def test_a_hundred_problems_are_told_and_no_more():
    assert len(_broken({"items": {"type": "integer"}}, ["x"] * 1000)) == 100


def test_a_message_repeats_a_hundred_characters_of_a_value_at_most():
    (problem,) = check_values({"type": "integer"}, "x" * 5000, "")
    assert problem["message"] == f"'{'x' * 99}… is not of type 'integer'"


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"pattern": "^a+$"}, "aa", []),
        ({"pattern": "b"}, "abc", []),
        ({"pattern": "^a+$"}, "aa\n", [("bad_value", "/input")]),
        ({"pattern": "^\\u00e9$"}, "é", []),
        ({"pattern": "^\\\\u00e9$"}, "\\u00e9", []),
        ({"pattern": "^x"}, 5, []),
        ({"patternProperties": {"^x": {"type": "integer"}}}, {"x1": "a", "y": "a"}, [("bad_value", "/input/x1")]),
        ({"patternProperties": {"x": {}}, "additionalProperties": False}, {"x": 1, "": 1}, [("unknown_key", "/input")]),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}}, {"b": 1}, [("bad_value", "/input/b")]),
        ({"additionalProperties": False}, [], []),
        ({"uniqueItems": True}, [1, True, "1", None, [], {}], []),
        ({"uniqueItems": True}, [1, 1.0], [("bad_value", "/input")]),
        ({"uniqueItems": True}, [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}], [("bad_value", "/input")]),
        ({"uniqueItems": False}, [1, 1], []),
        ({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}, [1, "x"], [("bad_value", "/input/1")]),
        ({"$defs": {"n": {"$anchor": "n", "type": "integer"}}, "$ref": "#n"}, "x", [("bad_value", "/input")]),
        ({"$ref": "#"}, 1, [("bad_value", "/input")]),
        ({"$ref": "file:///etc/passwd"}, 1, [("bad_value", "/input")]),
        ({"$ref": "http://127.0.0.1:9/x"}, 1, [("bad_value", "/input")]),
    ],
)  # fmt: skip
def test_keywords_that_are_done_our_way(schema, value, expected):
    assert _broken(schema, value) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as it is outside of tests: the library would only warn
def test_a_reference_is_not_fetched_even_where_it_could_be(tmp_path):
    (tmp_path / "any.json").write_text("{}")
    assert _broken({"$ref": (tmp_path / "any.json").as_uri()}, 1) == [("bad_value", "/input")]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 100_000 + "b"),
        ({"patternProperties": {"^(a+)+$": {}}, "additionalProperties": {}}, {"a" * 100 + "b": 1}),
        ({"uniqueItems": True}, [{"n": n} for n in range(50_000)]),
        ({"$defs": DOUBLING, "$ref": "#/$defs/d0"}, 1),
        ({"items": {"required": ["n"], "properties": {"n": {"type": "integer"}}}}, [{"n": 1}] * 50_000),
    ],
)  # fmt: skip
def test_a_schema_ends_within_a_moment_whatever_it_says(schema, value):
    begun = time.perf_counter()
    check_values(schema, value, "")
    assert time.perf_counter() - begun < QUICK


def test_a_schema_that_takes_too_long_is_no_permission():
    (problem,) = check_values({"$defs": DOUBLING, "$ref": "#/$defs/d0"}, 1, "/input")
    assert (problem["path"], problem["message"]) == ("/input", "The schema cannot be applied: it takes too long.")


@pytest.mark.parametrize(
    ("schema", "path", "says"),
    [
        ({"type": "odd"}, ("type",), "'odd' is not valid"),
        ({"properties": {"a": {"minimum": "x"}}}, ("properties", "a", "minimum"), "'x' is not of type 'number'"),
        ({"properties": []}, ("properties",), "is not of type 'object'"),
        ({"$ref": "other.json"}, ("$ref",), "into this schema only"),
        ({"items": {"$dynamicRef": "http://x/#y"}}, ("items", "$dynamicRef"), "into this schema only"),
        ({"$ref": "#/$defs/none"}, ("$ref",), "leads nowhere"),
        ({"$ref": "#none"}, ("$ref",), "leads nowhere"),
        ({"pattern": "("}, ("pattern",), "no pattern of RE2"),
        ({"required": "x"}, ("required",), "is not of type"),
        ({"pattern": "(?=x)"}, ("pattern",), "no look-around"),
        ({"pattern": "(a)\\1"}, ("pattern",), "no back references"),
        ({"patternProperties": {"(?!x)": {}}}, ("patternProperties", "(?!x)"), "no pattern of RE2"),
        ({"patternProperties": {"x": {}}, "unevaluatedProperties": False}, ("unevaluatedProperties",), "together"),
    ],
)
def test_a_schema_that_cannot_be_used_is_told_before_it_is(schema, path, says):
    ((place, message),) = schema_problems(schema)
    assert place == path
    assert says in message


@pytest.mark.parametrize(
    "schema",
    [
        {}, {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}}, {"pattern": "^\\d{3}$"},
        {"$defs": {"a": {"$anchor": "a"}}, "$ref": "#a"}, {"$ref": "#"}, {"default": {"x": [1]}, "examples": ["x"]},
    ],
)  # fmt: skip
def test_a_schema_that_can_be_used_has_no_problems(schema):
    assert list(schema_problems(schema)) == []
