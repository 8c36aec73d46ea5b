"""A small expression over a large input ends quickly, and takes no memory to speak of."""

import time

import pytest

from workflows.definition.expressions import BadExpression, ExpressionError, compile_expression

QUICK = 1.0  # seconds; a bound that says "not stuck": each takes some milliseconds
INPUT = {
    "list": list(range(9_000)),
    "middle": list(range(1_000)),
    "text": "a" * 1_000_000,
    "half": "a" * 500_000 + "b",
    "orders": [{"id": n, "items": [{"sku": str(m)} for m in range(3)]} for n in range(1_000)],
}


def _evaluate(source):
    return compile_expression(source, ()).evaluate({"input": INPUT})


@pytest.mark.parametrize(
    ("source", "because"),
    [
        ("input.middle.all(x, input.middle.all(y, input.middle.all(z, true)))", "Iteration budget exceeded"),
        ("input.middle.map(x, input.middle.map(y, input.middle.map(z, 1)))", "too large to copy"),
        ("input.list.map(x, x)", "too large to copy"),
        ("input.list.filter(x, true).size() > 0", "too large to copy"),
        ("(input.middle + input.middle + input.middle).map(x, x)", "too large to copy"),
        ("input.middle.map(x, input.middle.filter(y, y > x))", "too large to copy"),
        ("(1 in input.middle.map(x, x) ? 1 : 0) + input.list.map(x, x).size()", "too large to copy"),
        ("input.middle.map(x, input.text)", "too long for macros"),
        ("input.middle.map(x, input.text + input.text).size()", "too long for macros"),
        ("input.middle.exists(x, input.text.contains(string(x)))", "too long for macros"),
        ("[input.text].map(a, [a + a].map(b, [b + b].map(c, [c + c].map(d, d + d))))", "too long"),
        ("input.middle.map(x, input.middle)", "larger than 1 MiB"),
        ("[input.text, input.text]", "larger than 1 MiB"),
        ("{'a': input.text, 'b': {'c': input.text}}", "larger than 1 MiB"),
        ("input.text.contains(input.half)", "too long"),
        ("input.text.contains(input['half'])", "too long"),
        ("input.text.contains((input.half))", "too long"),
    ],
)
def test_a_bomb_is_an_error_within_a_moment(source, because):
    begun = time.perf_counter()
    with pytest.raises(ExpressionError, match=because):
        _evaluate(source)
    assert time.perf_counter() - begun < QUICK


def test_text_that_doubles_from_macro_to_macro_does_not_compile():
    source = "a + a + a + a"
    for _ in range(4):
        source = f"['x'].map(a, {source} + a)"
    with pytest.raises(BadExpression, match="grow without bound"):
        compile_expression(source, ())


@pytest.mark.parametrize("source", ["(" * 40 + "1" + ")" * 40, "[" * 40 + "]" * 40, "input" + ".a" * 200])
def test_deep_expressions_do_not_compile(source):
    with pytest.raises(BadExpression, match="recursion"):
        compile_expression(source, ())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.list.all(x, x >= 0)", True),
        ("input.list.exists(x, x == 8999)", True),
        ("input.middle.map(x, x * 2)", [2 * n for n in range(1_000)]),
        ("input.middle.filter(x, x > 997)", [998, 999]),
        ("input.middle.map(x, [1, 2, 3].map(y, y)).size()", 1_000),
        ("input.orders.map(o, o.items.map(i, i.sku))[999]", ["0", "1", "2"]),
        ("input.orders.filter(o, o.items.exists(i, i.sku == '2')).map(o, {'id': o.id})[999]", {"id": 999}),
        ("input.text.contains('b')", False),
        ("input.half.contains('b')", True),
        ("input.text.matches('^(a+a+)+b$')", False),
        ("input.text.size()", 1_000_000),
        ("input.text + 'b' == input.text", False),
    ],
)
def test_what_is_large_but_linear_is_evaluated(source, expected):
    begun = time.perf_counter()
    assert _evaluate(source) == expected
    assert time.perf_counter() - begun < QUICK


def test_a_value_is_the_same_however_deep_the_expression_made_it():
    source = "[{'a': [input.orders[0], {'b': [input.middle[1]]}]}]"
    assert _evaluate(source) == [{"a": [INPUT["orders"][0], {"b": [1]}]}]
