import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.definition.yaml import YamlError, from_yaml, to_yaml

LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on: failure", {"on": "failure"}),
        ("{on: on, off: off, yes: yes, no: no, y: y, n: n}", {k: k for k in ("on", "off", "yes", "no", "y", "n")}),
        ("%YAML 1.1\n---\non: yes", {"on": "yes"}),
        ("t: 1:30", {"t": "1:30"}),
        ("d: 2026-01-31", {"d": "2026-01-31"}),
        ("d: 2026-01-31T08:00:00Z", {"d": "2026-01-31T08:00:00Z"}),
        ("a: ~\nb: null\nc:\nd: ''", {"a": None, "b": None, "c": None, "d": ""}),
        ("[true, True, FALSE, 'true']", [True, True, False, "true"]),
        ("[7, -7, +7, 017, 0o17, 0x1F, '7']", [7, -7, 7, 17, 15, 31, "7"]),
        ("[1.5, 1e3, -.5, 1., '1.5']", [1.5, 1000.0, -0.5, 1.0, "1.5"]),
        ("[1_000, 0b11, 1:30:00, 1e, =, <<]", ["1_000", "0b11", "1:30:00", "1e", "=", "<<"]),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("{1: a, true: b, null: c, 1.50: d, 0x1F: e}", {"1": "a", "true": "b", "null": "c", "1.50": "d", "0x1F": "e"}),
        ("a: |\n  def main(args):\n    return 1\n", {"a": "def main(args):\n  return 1\n"}),
        ("a: >-\n  one\n  two", {"a": "one two"}),
        ("- 1 # a comment", [1]),
        ("# nothing", None),
        ("", None),
        ("\ufeffa: 1", {"a": 1}),
        ("a: 9223372036854775807", {"a": 2**63 - 1}),
    ],
)
def test_yaml_is_read_as_1_2_with_the_types_of_json(text, expected):
    value = from_yaml(text)
    assert (value, json.dumps(value)) == (expected, json.dumps(expected))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: !!python/object/apply:os.system ['x']", "line 2: tags are not read here"),
        ("a: !!str 1", "line 1: tags"),
        ("a: !mine 1", "line 1: tags"),
        ("a: !!binary aGk=", "line 1: tags"),
        ("!!map {a: 1}", "line 1: tags"),
        ("a: &x 1", "line 1: anchors and aliases"),
        ("b: 1\na: *x", "line 2: anchors and aliases"),
        (LAUGHS, "line 1: anchors and aliases"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice"),
        ("{a: {b: 1, 'b': 2}}", "line 1: the key 'b' stands twice"),
        ("1: a\n'1': b", "line 2: the key '1' stands twice"),
        ("? [1]\n: 2", "line 1: a key is text"),
        ("? {a: 1}\n: 2", "line 1: a key is text"),
        ("a: 1\n---\nb: 2", "line 2: there is another document"),
        ("a: .nan", "line 1: .nan is no JSON number"),
        ("a: [1,\n .inf]", "line 2: .inf is no JSON number"),
        ("a: 1e999", "line 1: 1e999 is no JSON number"),
        ("a: 9223372036854775808", "does not fit 64 bits"),
        ("a: " + "9" * 5000, "line 1: the number 999999999999999999999999999999 does not fit 64 bits"),
        ('a: "\\0"', "NUL"),
        ('a: "\\ud800"', "surrogate"),
        ("a: \x00", "unacceptable character"),
        ("a: [1, 2", "line 1: expected"),
        ("steps:\n  - id: a\n   kind: b", "line 3: the indentation does not fit the lines above"),
        ("steps:\n  - id: a\n  kind: b", "line 3: the indentation does not fit the lines above"),
        ("a: 1\n  b: 2", "line 2: no `key: value` can stand here"),
        ("a:\n\tb: 1", "line 2: a tab cannot indent"),
        ("a: @b", "line 1: text that begins with this character needs quotes"),
        ("a: 'b", "line 1: a quote is opened before and not closed"),
        ("a: b: c", "line 1: no `key: value`"),
        ("a: @x", "line 1: text that begins"),
        ("\ta: 1", "line 1: a tab cannot"),
        ("[" * 65 + "]" * 65, "line 1: nested more than 64 deep"),
        ("- " * 3000, "line 1: nested more than 64 deep"),
        ("a: " + "x" * (4 * 1024 * 1024), "larger than 4 MiB"),
    ],
    ids=lambda text: text[:20],
)
def test_what_yaml_is_not_read_is_told_with_its_line(text, says):
    with pytest.raises(YamlError) as caught:
        from_yaml(text)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_deep_document_is_refused_before_it_is_read_whole():
    begun = time.perf_counter()
    with pytest.raises(YamlError, match="nested more than 64 deep"):
        from_yaml("[" * 100_000)
    assert time.perf_counter() - begun < 5.0


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
    | st.sampled_from(
        [
            "on",
            "null",
            "~",
            "1:30",
            "0o17",
            "0x1F",
            "1_000",
            "1e3",
            ".5",
            "=",
            "<<",
            "- x",
            "# x",
            " x ",
            "\u2028",
            "a\n b \n",
        ]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("on y1:\n#é"), inner, max_size=4),
    max_leaves=15,
)


@given(_json)
def test_a_document_survives_the_way_to_yaml_and_back(value):
    back = from_yaml(to_yaml(value))
    assert json.dumps(back) == json.dumps(value)  # keys in their order, 1 and 1.0 and true apart
