import json

import pytest

from workflows.definition.expressions import BadExpression, ExpressionError, compile_expression

STEPS = frozenset({"a", "b"})
CONTEXT = {
    "input": {"qty": 2, "price": 9.5, "text": "é", "list": [{"id": 1}, {"id": 2}], "nil": None, "max": 2**63 - 1},
    "steps.a.output": {"x": 1},
    "steps.a.state": "succeeded",
    "steps.a.attempt": 3,
    "steps.b.output": None,
    "steps.b.error": {"code": "http_503"},
    "run.id": "r1",
    "run.corr_id": "c1",
    "run.metadata": {"from": "shop"},
    "secrets.TOKEN": "t0",
}


def _value(source):
    return compile_expression(source, STEPS, secrets=True).evaluate(CONTEXT)


def _refusal(source, **given):
    with pytest.raises(BadExpression) as caught:
        compile_expression(source, STEPS, **given)
    return caught.value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input", CONTEXT["input"]),
        ("input.list[1].id", 2),
        ("input['qty']", 2),
        (".input.qty", 2),
        (" input . qty ", 2),
        ("input.qty // the ordered ones", 2),
        ("input.nil", None),
        ("steps.a.output.x", 1),
        ("steps.a.attempt + 1", 4),
        ("steps.b.error.code", "http_503"),
        ("run.id + run.corr_id + run.metadata.from", "r1c1shop"),
        ("secrets.TOKEN", "t0"),
        ("double(input.qty) * 9.5", 19.0),
        ("input.qty < input.price", True),
        ("input.qty == 2.0", True),
        ("input.list.map(x, x.id)", [1, 2]),
        ("input.list.filter(x, x.id > 1)", [{"id": 2}]),
        ("{'k': input.qty, 'l': [input.text]}", {"k": 2, "l": ["é"]}),
        ("'steps.ghost.output'", "steps.ghost.output"),
        ('"""a"b"""', 'a"b'),
        (r"r'\d+'", r"\d+"),
        ("has(input.missing)", False),
        ("has(steps.a.output.x)", True),
        ("'qty' in input", True),
        ("input.missing == 1 || true", True),
        ("false && input.missing", False),
        ("steps.b.output == null ? 0 : 1", 0),
        ("3u", 3),
        ("string(timestamp('2026-01-31T00:00:00Z'))", "2026-01-31T00:00:00Z"),
        ("input.max", 2**63 - 1),
    ],
)
def test_a_value_keeps_its_type(source, expected):
    value = _value(source)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("source", "because"),
    [
        ("input.missing", "Key not found"),
        ("input.missing.deep > 1", "Key not found"),
        ("input.missing && true", "Key not found"),
        ("input.nil.x", "SELECT"),
        ("has(input.nil.x)", "SELECT"),
        ("steps.b.output.x", "SELECT"),
        ("input.list[5]", "Index error"),
        ("input.qty * 9.5", "No matching overloads"),
        ("input.max + 1", "overflow"),
        ("1 / 0", "divide by zero"),
        ("1.0 / 0.0", "inf is no JSON number"),
        ("0.0 / 0.0", "nan is no JSON number"),
        ("int('x')", "cannot convert"),
        ("uint('18446744073709551615')", "does not fit 64 bits"),
        ("b'x'", "bytes is no JSON"),
        ("timestamp('2026-01-31T00:00:00Z')", "timestamp is no JSON"),
        ("duration('1s')", "duration is no JSON"),
        ("type(1)", "type is no JSON"),
        ("[duration('1s')]", "timedelta is no JSON"),
        ("{1: 2}", "a key of a JSON object is text"),
        ("'\\x00'", "NUL"),
        ("['a' + string(b'\\x00')]", "NUL"),
        ("{'\\x00': 1}", "NUL"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_and_never_false(source, because):
    with pytest.raises(ExpressionError, match=because):
        _value(source)


def test_a_variable_that_is_not_there_is_an_error():
    with pytest.raises(ExpressionError):
        compile_expression("steps.a.output", STEPS).evaluate({})


@pytest.mark.parametrize(
    ("source", "code", "place", "says"),
    [
        ("", "bad_expression", (1, 1), "Syntax error"),
        ("input.x >", "bad_expression", (1, 10), "Syntax error"),
        ("input.x >\n input.y >", "bad_expression", (2, 11), "Syntax error"),
        ("'abc", "bad_expression", (1, 1), "Syntax error"),
        ("1 == 1.0", "bad_expression", (1, 3), "no matching overload"),
        ("input.x == 1 ? 1 : 'a'", "bad_expression", (1, 14), "no matching overload"),
        ("9**9**9", "bad_expression", (1, 3), "Syntax error"),
        ("has(input)", "bad_expression", (1, 1), "not for a whole variable"),
        ("true && has( steps.a.output )", "bad_expression", (1, 9), "not for a whole variable"),
        ("has(steps.a.state)", "bad_expression", (1, 1), "not for a whole variable"),
        ("1" + "+1" * 40, "bad_expression", None, "recursion depth of 32"),
        ("imput.x", "undeclared_name", (1, 1), "'imput.x' is not known"),
        ("'imput' + imput", "undeclared_name", (1, 11), "'imput' is not known"),
        ("input.a ==\n  imput.b", "undeclared_name", (2, 3), "'imput.b' is not known"),
        ("run.state", "undeclared_name", (1, 1), "'run.state' is not known"),
        ("steps", "undeclared_name", (1, 1), "of a step one reads output, state, error or attempt"),
        ("steps.a", "undeclared_name", (1, 1), "of a step one reads"),
        ("steps.a.result", "undeclared_name", (1, 1), "'steps.a.result' is not known"),
        ("steps['a'].output", "undeclared_name", (1, 1), "of a step one reads"),
        ("input.x.lower()", "undeclared_name", (1, 14), "There is no function 'lower'"),
        ("1 + steps.ghost.output", "unknown_reference", (1, 5), "There is no step 'ghost'"),
        ("secrets.TOKEN", "secret_not_allowed", (1, 1), "HttpCall and Task"),
    ],
)
def test_what_does_not_compile_says_why_and_where(source, code, place, says):
    refusal = _refusal(source)
    assert (refusal.code, refusal.place) == (code, place)
    assert says in str(refusal)


@pytest.mark.parametrize(
    ("place", "told"), [(None, "wrong"), ((1, 5), "wrong (column 5)"), ((2, 5), "wrong (line 2, column 5)")]
)
def test_a_message_ends_with_its_place(place, told):
    assert str(BadExpression("bad_expression", "wrong", place)) == told


def test_an_expression_has_1000_characters_at_most():
    assert compile_expression("'" + "é" * 998 + "'", STEPS).evaluate({}) == "é" * 998
    refusal = _refusal("'" + "é" * 999 + "'")
    assert (refusal.code, str(refusal)) == ("bad_expression", "An expression has 1000 characters at most.")


@pytest.mark.parametrize("source", ["1", "'true'", "null", "steps.a.attempt", "steps.a.state", "[true]", "{'a': true}"])
def test_a_condition_whose_type_is_known_and_not_bool_is_refused(source):
    refusal = _refusal(source, expect_bool=True)
    assert refusal.code == "bad_expression"
    assert str(refusal).startswith("A condition gives a bool; this gives ")


@pytest.mark.parametrize("source", ["true", "input.x", "steps.a.output", "steps.a.state == 'x'", "dyn(1)"])
def test_a_condition_that_may_give_a_bool_is_accepted(source):
    assert compile_expression(source, STEPS, expect_bool=True).source == source


def test_references_are_the_variables_that_are_read_and_reads_the_full_paths():
    source = "steps.a.output.x > 1 && input.items.size() > 0 && 'steps.b.state' != '' // steps.b.output"
    expression = compile_expression(source, STEPS)
    assert expression.references == {"steps.a.output", "input"}
    assert expression.reads == ("steps.a.output.x", "input.items")


def test_operands_are_what_it_read_and_large_ones_their_size():
    expression = compile_expression("input.a > 1 || input.b == '' || input.c.d || input.text == ''", STEPS)
    operands = expression.operands({"input": {"a": 1, "b": "x" * 2048, "text": "x" * 2049}})
    assert operands == {"input.a": 1, "input.b": "x" * 2048, "input.c.d": None, "input.text": "(2049 characters)"}


# Keys in their order

KEYS = ["zebra", "quick", "fox", "jumps", "over", "10", "9", "é"]
DEEP = {"o": {key: {"b": 1, "a": 2} for key in KEYS}, "l": [dict.fromkeys(KEYS, 1)]}


def _text(source, value):
    return json.dumps(compile_expression(source, STEPS).evaluate({"input": value, "steps.a.output": value}))


@pytest.mark.parametrize("path", ["input", " input.o ", "input.l", "steps.a.output", "steps . a.output.o.zebra"])
def test_what_a_path_leads_to_keeps_the_order_of_its_keys(path):
    read = DEEP
    for key in path.replace(" ", "").removeprefix("steps.a.output").removeprefix("input").split(".")[1:]:
        read = read[key]
    assert _text(path, DEEP) == json.dumps(read)


@pytest.mark.parametrize(
    "source", ["true ? input : null", "input.l.map(x, x)", "{'z': input, 'a': [{'y': 1, 'x': 2}]}"]
)
def test_what_cel_makes_has_its_keys_in_alphabetical_order_each_time(source):
    reversed_ = {key: DEEP[key] for key in reversed(DEEP)}
    assert _text(source, DEEP) == _text(source, reversed_)
    assert _text(source, DEEP) == json.dumps(json.loads(_text(source, DEEP)), sort_keys=True)


def test_what_cel_makes_may_be_nested_deep():
    value = 1
    for _ in range(900):
        value = [value]
    assert _text("true ? input : null", value) == json.dumps(value)
