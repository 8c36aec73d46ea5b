"""What is read of a large value is read once, and is what it was."""

import json
import time

import pytest
from cel_expr_python import cel
from hypothesis import given, reject
from hypothesis import strategies as st

from workflows.definition.expressions import BadExpression, ExpressionError, compile_expression
from workflows.definition.values import KEPT, Values, values_of

STUCK = 10.0  # seconds; each takes a tenth of it, and took a minute when each condition copied its input
INPUT = {"qty": 3, "items": [{"name": "apple"}], "customer": {"name": "Ann", "tags": ["new"]}, "none": None}
QTY, ITEMS, NAME, OUTPUT = ("input", "qty"), ("input", "items"), ("input", "customer", "name"), ("steps.a.output",)


@pytest.mark.parametrize(
    ("paths", "read"),
    [
        ([QTY], {"input": {"qty": 3}}),
        ([QTY, NAME], {"input": {"qty": 3, "customer": {"name": "Ann"}}}),
        ([QTY, OUTPUT], {"input": {"qty": 3}, "steps.a.output": 7}),
        ([("input", "missing", "name")], {"input": {}}),
        ([("input", "customer", "missing")], {"input": {"customer": {}}}),
        ([("input", "none", "x"), ("input", "qty", "x")], {"input": {"none": None, "qty": 3}}),
        ([("steps.b.output", "x")], {}),
    ],
)
def test_paths_to_scalars_are_read_without_what_stands_beside_them(paths, read):
    assert values_of(paths, {"input": INPUT, "steps.a.output": 7}).by_name == read


@pytest.mark.parametrize("path", [("input",), ITEMS, ("input", "items", "name"), ("input", "customer")])
def test_what_is_no_scalar_is_copied_once_whatever_else_is_read_of_the_same_values(path):
    first = values_of([path], {"input": INPUT})
    assert first.by_name == {"input": INPUT}
    assert all(values_of([path, other], {"input": INPUT}) is first for other in (QTY, ITEMS, NAME))
    assert first.activation is first.activation


def test_texts_are_the_same_if_they_are_equal_and_all_else_if_it_is_the_same_object():
    context = {"input": INPUT, "run.id": "r1"}
    first = values_of([ITEMS, ("run.id",)], context)
    assert values_of([ITEMS, ("run.id",)], {"input": INPUT, "run.id": "".join(["r", "1"])}) is first
    for other in ({"input": dict(INPUT), "run.id": "r1"}, {"input": INPUT, "run.id": "r2"}, {"input": INPUT}):
        assert values_of([ITEMS, ("run.id",)], other) is not first


def test_a_step_whose_output_becomes_another_is_read_anew():
    expression = compile_expression("input.items.size() == steps.a.output", {"a"})
    outputs = [1, True, 1.0, 2, 1]
    assert [expression.evaluate({"input": INPUT, "steps.a.output": output}) for output in outputs] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_only_some_values_are_kept_and_none_with_a_secret():
    first = values_of([ITEMS], {"input": INPUT})
    for n in range(KEPT):
        values_of([ITEMS], {"input": {"items": [n]}})
    assert values_of([ITEMS], {"input": INPUT}) is not first

    paths, context = [ITEMS, ("secrets.TOKEN",)], {"input": INPUT, "secrets.TOKEN": "t0"}
    assert values_of(paths, context) is not values_of(paths, context)


def test_what_is_found_about_values_is_found_once():
    asked = []
    values = Values({"input": INPUT})
    assert [values.once("size", lambda given: asked.append(given) or len(given), INPUT) for _ in range(3)] == [4] * 3
    assert asked == [INPUT]


@pytest.mark.parametrize(
    "source",
    ["input.qty > {}", "input.items.size() < {}", "input.items[{}].qty > 5", "input.items.exists(x, x.qty == {})"],
)
def test_a_thousand_conditions_over_an_input_of_1_mib_do_not_get_stuck(source):
    context = {"input": {"qty": 2, "items": [{"qty": n, "text": "x" * 80} for n in range(9_000)]}}
    begun = time.perf_counter()
    for n in range(1_000):
        expression = compile_expression(source.format(n), ())
        assert isinstance(expression.evaluate(context), bool)
        expression.operands(context)
    assert time.perf_counter() - begun < STUCK


# The same as if CEL had copied everything

KEYS = ["a", "b", "input"]
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner))
PATHS = st.lists(st.sampled_from(KEYS), max_size=3).flatmap(
    lambda keys: st.sampled_from(["input", ".input", " steps.s.output", "(input)"]).map(
        lambda root: " . ".join([root, *keys])
    )
)
TERMS = st.one_of(
    PATHS,
    PATHS.filter(lambda path: "." in path.strip(" .") and not path.startswith((" steps", "("))).map("has({})".format),
    PATHS.map("size({})".format),
    PATHS.map("{}['a']".format),
    PATHS.map("{}[0]".format),
    PATHS.map("'a' in {}".format),
    PATHS.map("{}.exists(input, input == 1)".format),
    PATHS.map("/* no comment */ {}".format).map(lambda text: text.replace("/* no comment */", "// input.a 'b\n")),
    SCALARS.map(json.dumps),
)
EXPRESSIONS = st.tuples(TERMS, st.sampled_from(["==", "!=", "||", "&&", "+", ">"]), TERMS).map(" ".join) | TERMS


def _by_cel(source, context):
    env = cel.NewEnv(variables={"input": cel.Type.DYN, "steps.s.output": cel.Type.DYN})
    value = env.compile(source).eval(data=context)
    return "error" if value.type().name() == "ERROR" else value.plain_value()


@given(
    EXPRESSIONS, st.fixed_dictionaries({"input": st.dictionaries(st.sampled_from(KEYS), JSON), "steps.s.output": JSON})
)
def test_any_expression_gives_what_it_gives_over_the_whole_values(source, context):
    before = json.dumps(context)
    try:
        expression = compile_expression(source, {"s"})
    except BadExpression:
        reject()
    expected = _by_cel(source, context)
    for _ in range(2):
        try:
            found = expression.evaluate(context)
        except ExpressionError:
            found = "error"
        assert (found, type(found)) == (expected, type(expected))
    assert json.dumps(context) == before
