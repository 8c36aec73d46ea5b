import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staterail.core.strict_json import MAX_INT, MIN_INT, StrictJSONError, dumps, loads, problem_in

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
scalars = st.none() | st.booleans() | st.integers(MIN_INT, MAX_INT) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(scalars | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(values)
def test_what_is_written_reads_back_the_same(value):
    assert json.dumps(loads(dumps(value), max_depth=None)) == json.dumps(value)
    assert loads(json.dumps(value), max_depth=None) == value
    assert problem_in(value) is None


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_no_other_exception_comes_of_anything(data):
    with contextlib.suppress(StrictJSONError):
        loads(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 1}', "The key 'a' stands twice"),
        ('[{"b": {"c": 1, "d": 2, "c": 3}}]', "The key 'c' stands twice"),
        ("NaN", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("1e999", "too large"),
        ("-1e400", "too large"),
        (str(MAX_INT + 1), "does not fit 64 bits"),
        (str(MIN_INT - 1), "does not fit 64 bits"),
        ("9" * 5000, "does not fit 64 bits"),
        (r'"\u0000"', "NUL"),
        (r'{"a\u0000": 1}', "NUL"),
        (r'["\ud800"]', "surrogate"),
        (r'"\udc00\ud800"', "surrogate"),
        ('"\ud800"', "surrogate"),
        ('"\x1f"', "This is no JSON"),
        ("", "This is no JSON"),
        ("[1,]", "This is no JSON"),
        ("{} {}", "This is no JSON"),
        ("'a'", "This is no JSON"),
        ("[1] // no", "This is no JSON"),
        ("\ufeff{}", "This is no JSON"),
    ],
)
def test_what_others_let_pass_is_refused(text, message):
    with pytest.raises(StrictJSONError, match=message) as refused:
        loads(text)
    assert refused.value.code == "bad_value"
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\xef\xbb\xbf{}", "byte order mark"), ("{}".encode("utf-16"), "not UTF-8"), (b'"\xff"', "byte 1")],
)
def test_bytes_are_plain_utf8(data, message):
    with pytest.raises(StrictJSONError, match=message):
        loads(data)


@pytest.mark.parametrize(
    "text", [str(MAX_INT), str(MIN_INT), "-0", "1e22", r'"\ud83d\ude00"', '"😀"', r'"\\u0000"', '"[[[["']
)
def test_what_is_fine_passes(text):
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_depth_is_counted_outside_texts_and_before_parsing(brackets):
    def nested(n):
        return "[" * n + "]" * n if brackets == "[]" else '{"a":' * (n - 1) + "{}" + "}" * (n - 1)

    assert loads(nested(32))
    for deep in (nested(33), nested(200_000), "[" * 200_000):
        with pytest.raises(StrictJSONError, match="more than 32 deep") as refused:
            loads(deep)
        assert refused.value.code == "too_deep"
    assert loads(json.dumps(["[" * 100, '\\"{{{{' * 20]))
    assert loads("[" + ",".join(["[]"] * 100) + "]")


def test_size_is_counted_in_bytes():
    assert loads('"é"', max_bytes=4) == "é"
    with pytest.raises(StrictJSONError) as refused:
        loads('"é"', max_bytes=3)
    assert (refused.value.code, refused.value.message) == ("too_large", "The document has 4 bytes; 3 is the most.")


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": object()}, {1, 2}])
def test_only_json_is_written(value):
    with pytest.raises((ValueError, TypeError)):
        dumps(value)


@pytest.mark.parametrize("value", ["a\x00", {"\ud800": 1}, [[{"a": "\udfff"}]], 2**63, {"a": [-(2**63) - 1]}])
def test_a_value_made_elsewhere_is_judged_alike(value):
    assert problem_in(value)
