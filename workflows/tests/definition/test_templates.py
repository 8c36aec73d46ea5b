import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.definition.expressions import BadExpression, ExpressionError
from workflows.definition.templates import compile_template, has_expression

CONTEXT = {
    "input": {"i": 7, "f": 1.5, "b": True, "n": None, "l": [1, "2"], "o": {"k": {"z": 1}}, "t": "é",
        "big": "x" * 600_000},
    "secrets.TOKEN": "t0",
}  # fmt: skip


def _rendered(value, **given):
    return compile_template(value, {"a"}, **given).render(CONTEXT)


@pytest.mark.parametrize("name", ["i", "f", "b", "n", "l", "o", "t"])
@pytest.mark.parametrize("written", ["${input.%s}", "${ input.%s }", "${\ninput.%s}"])
def test_a_string_that_is_one_expression_takes_its_type(name, written):
    value = _rendered(written % name)
    assert (value, type(value)) == (CONTEXT["input"][name], type(CONTEXT["input"][name]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${input.i} ${input.f} ${input.b} ${input.n}", "7 1.5 true null"),
        ("${input.o}|${input.l}|${input.t}", '{"k":{"z":1}}|[1,"2"]|é'),
        (" ${input.i}", " 7"),
        ("${input.i}${input.i}", "77"),
        ("$${input.i}", "${input.i}"),
        ("a $${b} ${input.i} $${c}", "a ${b} 7 ${c}"),
        ("$", "$"),
        ("${input.t}$", "é$"),
        ("$$", "$$"),
        ("$x {y}", "$x {y}"),
        ("${{'a': {'b': input.i}}.a.b}", 7),
        ("${'}' + input.t}", "}é"),
        ('${"{\\"" + input.t}', '{"é'),
        ("${'''a'}''' + input.t}", "a'}é"),
        ("${r'\\d}'}", "\\d}"),
        ("<script>${input.t}</script> {{7*7}} =cmd() '; DROP", "<script>é</script> {{7*7}} =cmd() '; DROP"),
    ],
)
def test_otherwise_the_values_are_joined_as_text(text, expected):
    assert _rendered(text) == expected


def test_expressions_stand_in_any_string_at_any_depth_but_not_in_keys():
    value = {"${input.i}": [{"x": ["${input.i}", "n=${input.i}", 3, None]}], "plain": {"deep": True}}
    expected = {"${input.i}": [{"x": [7, "n=7", 3, None]}], "plain": {"deep": True}}
    assert _rendered(value) == expected


def test_more_parts_are_joined_than_cel_can_add():
    assert _rendered("${input.i}," * 500) == "7," * 500


def test_a_text_is_at_most_1_mib():
    with pytest.raises(ExpressionError, match="larger than 1 MiB"):
        _rendered("${input.big}${input.big}")


@pytest.mark.parametrize("text", ["${input.big}", "and ${input.big}", "${input}", "${[input.big]}"])
def test_what_all_expressions_make_is_at_most_1_mib_and_no_more_is_made(text):
    made = []
    template = compile_template({"l": [text] * 20_000}, {"a"})
    context = {"input": _Counting({"big": "x" * 600_000}, made)}
    with pytest.raises(ExpressionError, match="larger than 1 MiB"):
        template.render(context)
    assert 1 <= len(made) <= 8  # reads of the input, not 20,000


class _Counting(dict):
    def __init__(self, value, made):
        super().__init__(value)
        self._made = made

    def __getitem__(self, key):
        self._made.append(key)
        return super().__getitem__(key)

    def values(self):
        self._made.append("all")
        return super().values()


def test_a_small_value_may_be_put_in_often():
    assert _rendered(["${input.o}"] * 20_000) == [CONTEXT["input"]["o"]] * 20_000


@pytest.mark.parametrize("text", ["${input.i", "a ${", "${'}", '${"}', "${{'a': 1}", "$${ok} ${"])
def test_an_expression_that_is_not_closed_is_refused(text):
    with pytest.raises(BadExpression, match="is not closed") as caught:
        _rendered(text)
    assert caught.value.code == "bad_expression"


@pytest.mark.parametrize("text", ["${}", "${ }", "x${}y"])
def test_an_empty_expression_is_refused(text):
    with pytest.raises(BadExpression, match="Syntax error"):
        _rendered(text)


def test_secrets_are_named_and_read_only_where_they_may():
    template = compile_template({"Authorization": "Bearer ${secrets.TOKEN}"}, (), secrets=True)
    assert template.secrets == {"TOKEN"}
    assert template.render(CONTEXT) == {"Authorization": "Bearer t0"}
    with pytest.raises(BadExpression, match="HttpCall and Task") as caught:
        compile_template("${secrets.TOKEN}", ())
    assert caught.value.code == "secret_not_allowed"


def test_what_fails_in_a_template_is_an_error():
    with pytest.raises(ExpressionError, match="Key not found"):
        _rendered({"a": "fine", "b": ["${input.missing}"]})


def test_references_of_all_parts_are_told():
    template = compile_template(["${steps.a.output.x} ${run.id}", {"k": "${input.q}"}], {"a"})
    assert template.references == {"steps.a.output", "run.id", "input"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("${x}", True), ("a ${x}", True), ("${", True), ("$${x}", False), ("x", False), (5, False), (None, False)],
)
def test_whether_a_value_is_known_before_a_run(value, expected):
    assert has_expression(value) is expected


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def _escaped(value):
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return {key: _escaped(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(_json)
def test_an_escaped_document_is_rendered_as_it_was(value):
    assert compile_template(_escaped(value), ()).render({}) == value
