import pytest

from workflows.files import MAX_BYTES, BadFile, lines_of, read_definition, read_json, slug_of


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", '{"on": [1, 1.5, null]}', {"on": [1, 1.5, None]}),
        ("a.JSON", '{"a": 1}', {"a": 1}),
        ("a.yaml", "on: [1, 1.5, null]", {"on": [1, 1.5, None]}),
        ("a.yml", '{"a": 1}', {"a": 1}),
        ("a", "a: é", {"a": "é"}),
    ],
)
def test_a_definition_file_is_yaml_or_json(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_definition(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.json", b'{"a": 1, "a": 2}', "The key 'a' stands twice"),
        ("a.json", b'{"a": {"b": 1, "b": 2}}', "The key 'b' stands twice"),
        ("a.json", b'{"a": NaN}', "NaN is no JSON number"),
        ("a.json", b'{"a": -Infinity}', "-Infinity is no JSON number"),
        ("a.json", b'{"a": 1e999}', "The number 1e999 is too large"),
        ("a.json", b'{"a": 9223372036854775808}', "does not fit 64 bits"),
        ("a.json", b'{"a": ' + b"9" * 5000 + b"}", "does not fit 64 bits"),
        ("a.json", b'{"a": "\\u0000"}', "NUL"),
        ("a.json", b'{"a": "\\ud800"}', "surrogate"),
        ("a.json", b"\xef\xbb\xbf{}", "byte order mark"),
        ("a.json", '{"a": 1}'.encode("utf-16"), "not UTF-8"),
        ("a.json", b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
        ("a.json", b"{} {}", "This is no JSON: Extra data"),
        ("a.json", b"{} // done", "This is no JSON"),
        ("a.json", b'{"a": 1,}', "This is no JSON"),
        ("a.json", b" \n", "The file is empty"),
        ("a.json", b"[" * 33 + b"]" * 33, "nested more than 32 deep"),
        ("a.json", b"[" * 100_000, "nested more than 32 deep"),
        ("a.yaml", "a: é".encode("latin-1"), "not UTF-8 (byte 3)"),
        ("a.yaml", b"a: &x 1", "line 1: anchors and aliases"),
        ("a.yaml", b"a: 1\nb: [", "line 2"),
    ],
)
def test_a_file_that_is_neither_is_told_by_name(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadFile) as caught:
        read_definition(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize("read", [read_definition, read_json])
def test_a_file_that_is_not_there_no_file_or_too_large_is_told(tmp_path, read):
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for name, says in (("none.json", "No such file"), (".", "Is a directory"), ("large.json", "larger than 16 MiB")):
        with pytest.raises(BadFile, match=says):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("order_to_cash.yaml", "order-to-cash"), ("A.B.json", "a-b"), ("my flow.yml", "my-flow"), ("-x-.yaml", "x"),
        ("x" * 80 + ".yaml", "x" * 63),
    ],
)  # fmt: skip
def test_a_file_names_its_workflow(tmp_path, name, slug):
    assert slug_of(tmp_path / name) == slug


def test_problems_are_one_line_each_with_their_step():
    problem = {"severity": "error", "code": "bad_value", "path": "/steps/0/join", "message": "No.", "step_id": "a"}
    whole = {"severity": "warning", "code": "no_default", "path": "", "message": "Oh.", "step_id": None}
    assert lines_of([problem, whole]) == [
        "  error bad_value at /steps/0/join (step a): No.",
        "  warning no_default at /: Oh.",
    ]
