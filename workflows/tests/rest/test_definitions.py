"""Definitions over REST: how their JSON is read, what is said of them."""

import json

import pytest

from runs.tests.rest.client import Api, told
from workflows.definition.schema import json_schema
from workflows.models import Workflow
from workflows.tests.factories import definition, step

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    return Api()


def _validated(api, document):
    status, answer = api.post("/definitions/validate", {"definition": document})
    assert status == 200
    return answer["problems"]


def test_the_schema_of_the_language_is_served(api):
    assert api.get("/definitions/schema.json") == (200, json_schema())


def test_a_definition_is_judged_without_being_stored(api):
    assert _validated(api, definition()) == []
    assert _validated(api, definition(step(join="most"))) == [
        {
            "severity": "error", "code": "bad_value", "path": "/steps/0/join", "step_id": "a", "transition_id": None,
            "message": "`join`: this is one of all, any, strict_all",
        }
    ]  # fmt: skip
    assert Workflow.objects.count() == 0


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (None, "not_an_object"), ([], "not_an_object"), ("x", "not_an_object"), (5, "not_an_object"),
        (definition(output=json.loads("[" * 32 + "]" * 32)), "too_deep"),
        (definition(*(step(f"s{n}") for n in range(5_001))), "too_large"),
        (definition(output="x" * 1024 * 1024), "too_large"), ({**definition(), "steps": []}, "no_steps"),
        (definition(schema="x"), "bad_schema_version"),
    ],
)  # fmt: skip
def test_what_not_even_a_draft_may_be_is_told_as_a_problem(api, document, code):
    assert [problem["code"] for problem in _validated(api, document)] == [code]


@pytest.mark.parametrize("body", [{}, {"definition": {}, "x": 1}])
def test_a_body_without_a_definition_is_refused(api, body):
    assert told(api.post("/definitions/validate", body)) == {"status": 400, "code": "VALIDATION_FAILED"}


GOOD = json.dumps(definition())
SENDING = [
    ("POST", "/definitions/validate", '{"definition": %s}'),
    ("POST", "/workflows", '{"name": "x", "definition": %s}'),
]


@pytest.mark.parametrize(("method", "path", "body"), SENDING)
@pytest.mark.parametrize(
    ("document", "says"),
    [
        ('{"steps": [], "steps": []}', "The key 'steps' stands twice"),
        ('{"output": {"a": {"k": 1, "k": 1}}}', "The key 'k' stands twice"),
        ('{"timeout": NaN}', "NaN is no JSON number"),
        ('{"timeout": Infinity}', "Infinity is no JSON number"),
        ('{"timeout": 1e999}', "The number 1e999 is too large"),
        ('{"timeout": 9223372036854775808}', "does not fit 64 bits"),
        ('{"timeout": -9223372036854775809}', "does not fit 64 bits"),
        ('{"timeout": ' + "9" * 5000 + "}", "The number 999999999999999999999999999999 does not fit 64 bits"),
        ('{"output": "\\u0000"}', "NUL"),
        ('{"output": "\\ud800"}', "surrogate"),
        ('{"\\u0000": 1}', "NUL"),
        ("{} {}", "This is no JSON"),
        ("{} // x", "This is no JSON"),
        ("{'a': 1}", "This is no JSON"),
        ('{"a": 1,}', "This is no JSON"),
        ("[" * 100 + "]" * 100, "nested more than 64 deep"),
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_readers_take_differently_is_refused(api, method, path, body, document, says):
    answer = api.call(method, path, (body % document).encode())
    assert told(answer) == {"status": 400, "code": "VALIDATION_FAILED"}
    assert says in answer[1]["detail"]
    assert Workflow.objects.count() == 0


@pytest.mark.parametrize(("method", "path", "body"), SENDING)
@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-32"), lambda text: text.replace("core", "c\xf6re").encode("latin-1"),
        lambda text: text.encode() + b"\x00", lambda text: text.encode() + b"}", lambda text: text.encode()[:-1],
    ],
    ids=["BOM", "UTF-16", "UTF-32", "Latin-1", "NUL", "garbage", "cut"],
)  # fmt: skip
def test_bytes_that_are_no_plain_utf_8_are_refused(api, method, path, body, encoded):
    assert told(api.call(method, path, encoded(body % GOOD))) == {"status": 400, "code": "VALIDATION_FAILED"}
    assert Workflow.objects.count() == 0


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 10 * 1024 * 1024])
def test_a_definition_past_1_mib_is_too_large_to_store(api, size):
    api.must("POST", "/workflows", {"name": "Ship"})
    document = definition(output="x" * size)
    for method, path, body in (
        ("POST", "/workflows", {"name": "x", "definition": document}),
        ("PUT", "/workflows/ship/draft", {"definition": document}),
    ):
        assert told(api.call(method, path, body)) == {"status": 413, "code": "PAYLOAD_TOO_LARGE"}
    assert list(Workflow.objects.values_list("slug", "versions")) == [("ship", None)]


def test_numbers_and_text_come_back_as_they_were_sent(api):
    values = [0, -0.0, 1.0, 1e300, 2**63 - 1, -(2**63), 0.1, "é👩‍👩‍👧\u2028", {"__proto__": {"": None}}, [[]], True]
    api.must("POST", "/workflows", {"name": "Ship", "definition": definition(output=values)})
    back = api.get("/workflows/ship/versions/1")[1]["definition"]["output"]
    assert json.dumps(back) == json.dumps(values)
