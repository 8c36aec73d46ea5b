"""What a body may be: strict JSON of known keys. Whatever else comes is told, and nothing of it is stored."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.models import Event, WorkflowRun
from runs.tests.rest.client import approval, flow, problem, told
from staterail.accounts.models import IdempotencyRecord
from workflows.models import Workflow, WorkflowVersion

pytestmark = pytest.mark.django_db
TABLES = (Workflow, WorkflowVersion, WorkflowRun, Event, IdempotencyRecord)
RANDOM = "0199b3a0-0000-7000-8000-000000000000"


def stored():
    return [model.objects.count() for model in TABLES], list(Workflow.objects.values_list("updated_at", "archived_at"))


@pytest.fixture
def routes(api):
    """Every POST and PUT, on objects that are there."""
    workflow = api.published(flow(approval("review")))
    run = api.started(workflow)
    return [
        ("POST", "/workflows"), ("PUT", f"/workflows/{workflow}/draft"), ("POST", f"/workflows/{workflow}/publish"),
        ("POST", f"/workflows/{workflow}/archive"), ("POST", "/definitions/validate"),
        ("POST", f"/workflows/{workflow}/runs"), ("POST", f"/workflows/{workflow}/runs/batch"),
        ("POST", f"/runs/{run}/cancel"), ("POST", f"/runs/{run}/retry"), ("POST", f"/runs/{run}/steps/review/retry"),
        ("POST", f"/runs/{run}/steps/review/transition"),
    ]  # fmt: skip


BROKEN = {
    "no JSON": b"{", "text": b"hello", "a byte order mark": b"\xef\xbb\xbf{}", "UTF-16": '{"a": 1}'.encode("utf-16"),
    "bad UTF-8": b'{"a": "\xff"}', "trailing garbage": b"{} {}", "a comment": b"{} // no", "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}', "1e999": b'{"a": 1e999}', "65 bits": b'{"a": 18446744073709551616}',
    "5,000 digits": b'{"a": %s}' % (b"9" * 5000), "NUL": rb'{"a": "\u0000"}', "NUL in a key": rb'{"\u0000": 1}',
    "half a surrogate pair": rb'{"a": "\ud83d"}', "a raw control character": b'{"a": "\x01"}',
    "a key twice": b'{"a": 1, "a": 1}', "a key twice, deep": b'{"a": [{"b": 1, "b": 2}]}', "an array": b"[]",
    "null": b"null", "a number": b"1", "a string": b'"x"', "65 deep": b'{"a":' * 65 + b"1" + b"}" * 65,
    "100,000 deep": b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_body_that_is_no_strict_json_object_is_refused_everywhere(api, routes, body):
    before = stored()
    answers = [told(api.call(method, path, body)) for method, path in routes]
    assert answers == [problem(400, "VALIDATION_FAILED")] * len(routes)
    assert stored() == before


def test_a_key_that_nobody_knows_is_named_with_its_place(api, routes):
    before = stored()
    for method, path in routes:
        status, body = api.call(method, path, {"is/super~user": True, "state": "completed"})
        assert told((status, body)) == problem(400, "VALIDATION_FAILED"), path
        unknown = [found["path"] for found in body["problems"] if found["code"] == "unknown_key"]
        assert unknown == ["/is~1super~0user", "/state"], path
    assert stored() == before


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "text/json"]
)
def test_another_media_type_is_refused_everywhere(api, routes, content_type):
    before = stored()
    for method, path in routes:
        answer = api.client.generic(method, f"/api/v1{path}", b"a=1", content_type)
        assert told((answer.status_code, answer.json())) == problem(415, "UNSUPPORTED_MEDIA_TYPE"), path
    assert stored() == before


@pytest.mark.parametrize("charset", ["utf-16", "UTF-16LE", "latin-1", "nonsense", ""])
def test_a_body_in_another_charset_is_refused_everywhere(api, routes, charset):
    before = stored()
    body = '{"a": 1}'.encode("utf-16-le" if charset == "UTF-16LE" else "utf-8")
    for method, path in routes:
        answer = api.client.generic(method, f"/api/v1{path}", body, f"application/json; charset={charset}")
        assert told((answer.status_code, answer.json())) == problem(415, "UNSUPPORTED_MEDIA_TYPE"), path
    assert stored() == before


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8"])
def test_a_body_that_says_it_is_utf_8_is_read(api, charset):
    body = '{"name": "Grüße"}'.encode()
    answer = api.client.generic("POST", "/api/v1/workflows", body, f"application/json; charset={charset}")
    assert (answer.status_code, answer.json()["name"]) == (201, "Grüße")


def test_a_body_over_2_mib_is_refused_before_it_is_parsed(api, routes):
    body = b'{"a": "' + b"x" * (2 * 1024 * 1024) + b'", NaN'
    one = [(method, path) for method, path in routes if not path.endswith("/batch")]
    assert [told(api.call(method, path, body)) for method, path in one] == [problem(413, "PAYLOAD_TOO_LARGE")] * len(
        one
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "TRACE"])
def test_another_method_is_refused_and_told_what_there_is(api, routes, method):
    for its_method, path in routes:
        if method == its_method or (method, path) == ("GET", "/workflows"):
            continue
        answer = api.send(method, path)
        assert told((answer.status_code, answer.json())) == problem(405, "METHOD_NOT_ALLOWED"), path
        assert its_method in answer["Allow"]
        assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*;q=0.1", "nonsense", "*/*"])
def test_answers_are_json_whatever_the_caller_would_like(api, accept):
    answer = api.send("GET", "/runs?format=xml" if accept == "*/*" else "/runs", Accept=accept)
    wanted = (400, "application/problem+json") if accept == "*/*" else (200, "application/json")
    assert (answer.status_code, answer["Content-Type"]) == wanted


@pytest.mark.parametrize(
    ("path", "body", "places"),
    [
        ("runs", {"version": "1"}, ["/version"]),
        ("runs", {"version": 0}, ["/version"]),
        ("runs", {"version": True}, ["/version"]),
        ("runs", {"metadata": []}, ["/metadata"]),
        ("runs", {"metadata": None}, ["/metadata"]),
        ("runs", {"corr_id": ""}, ["/corr_id"]),
        ("runs", {"corr_id": 7}, ["/corr_id"]),
        ("runs", {"corr_id": "x" * 256}, ["/corr_id"]),
        ("runs", {"corr_id": "a\u0007"}, ["/corr_id"]),
        ("runs/batch", {}, ["/runs"]),
        ("runs/batch", {"runs": []}, ["/runs"]),
        ("runs/batch", {"runs": {}}, ["/runs"]),
        ("runs/batch", {"runs": [{}, 1]}, ["/runs/1"]),
        ("runs/batch", {"runs": [{}, {"inputs": {}}]}, ["/runs/1/inputs"]),
        ("runs/batch", {"runs": [{"idempotency_key": ""}]}, ["/runs/0/idempotency_key"]),
        ("runs/batch", {"runs": [{"idempotency_key": "é"}]}, ["/runs/0/idempotency_key"]),
        ("runs/batch", {"runs": [{"idempotency_key": "x" * 256}]}, ["/runs/0/idempotency_key"]),
        ("archive", {"archived": "yes"}, ["/archived"]),
        ("publish", {"base_revision": 1.5}, ["/base_revision"]),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_its_place(api, path, body, places):
    workflow = api.published(flow("a"))
    before = stored()
    status, answer = api.post(f"/workflows/{workflow}/{path}", body)
    assert told((status, answer)) == problem(400, "VALIDATION_FAILED")
    assert [found["path"] for found in answer["problems"]] == places
    assert stored() == before


@pytest.mark.parametrize(
    "slug", ["", "A", "a b", "a\n", "-a", "a-", "é", "a" * 64, "0199b3a0-0000-7000-8000-000000000000", "a/b", "a_b"]
)
def test_a_slug_is_one_and_no_id(api, slug):
    status, answer = api.post("/workflows", {"name": "n", "slug": slug})
    assert told((status, answer)) == problem(400, "VALIDATION_FAILED")
    assert [found["path"] for found in answer["problems"]] == ["/slug"]
    assert not Workflow.objects.exists()


def test_a_wrong_value_is_not_echoed_at_length(api, routes):
    _, path = routes[-1]
    _, answer = api.post(path, {"action": "x" * 10_000, "y" * 10_000: 1})
    assert len(json.dumps(answer)) < 1500


def test_an_empty_body_reads_as_an_empty_object(api):
    workflow = api.published(flow("a"))
    assert api.post(f"/workflows/{workflow}/runs")[0] == 201
    assert api.client.post(f"/api/v1/workflows/{workflow}/runs").status_code in (201, 415)


@pytest.mark.parametrize("value", [None, [], [1], "text", 7, 1.5, False, {"__proto__": {"a": 1}, "": 0, "é😀": "‮"}])
def test_an_input_is_any_json_and_comes_back_as_it_was(api, value):
    run_id = api.started(api.published(flow("a")), input=value)
    assert json.dumps(api.must("GET", f"/runs/{run_id}")["input"]) == json.dumps(value)


# Nothing that a stranger may send is a 5xx

scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "name", "slug", "description", "definition", "base_revision", "version", "note", "archived", "input", "metadata",
    "corr_id", "runs", "idempotency_key", "reason", "item_index", "action", "comment", "data",
]  # fmt: skip
bodies = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), values, max_size=4) | values
headers = st.fixed_dictionaries(
    {},
    optional={
        "Idempotency_Key": st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=300),
        "X_Correlation_Id": st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=300),
        "traceparent": st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=60),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 10), body=bodies, sent=headers)
def test_no_body_is_a_server_error(api, routes, which, body, sent):
    method, path = routes[which]
    answer = api.send(method, path, json.dumps(body).encode(), **sent)
    assert answer.status_code < 500, answer.content


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 10), body=st.binary(max_size=40))
def test_no_bytes_are_a_server_error(api, routes, which, body):
    method, path = routes[which]
    assert api.send(method, path, body).status_code in (200, 201, 400, 409)


PATHS = ["/runs", "/workflows", "/approvals", f"/runs/{RANDOM}", f"/runs/{RANDOM}/events"]
params = ["limit", "cursor", "state", "workflow_id", "created_after", "search", "archived", "after_seq", "item_index"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(PATHS),
    query=st.dictionaries(st.sampled_from(params) | st.text(max_size=5), st.text(max_size=30), max_size=3),
)
def test_no_query_is_a_server_error(api, path, query):
    answer = api.client.get(f"/api/v1{path}", query)
    assert answer.status_code < 500, answer.content


def test_every_post_and_put_of_the_api_is_among_the_routes(api, routes):
    from staterail.tests.routes import operations

    parts = [(method, path.replace("/steps/review", "/steps/*")) for method, path in routes]
    known = {(method, "/".join("*" if len(part) == 36 else part for part in path.split("/"))) for method, path in parts}
    assert {(method, path) for method, path in operations() if method in ("POST", "PUT")} == known
