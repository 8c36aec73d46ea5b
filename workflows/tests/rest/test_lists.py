"""Lists of workflows and of their versions: pages, searches, one count of queries whatever their length."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.tests.rest.client import Api, told
from workflows.tests.factories import VersionFactory, WorkflowFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    return Api()


def _made(api, *slugs, **given):
    return [WorkflowFactory(tenant=api.tenant, slug=slug, **given) for slug in slugs]


def _walked(api, path):
    """The slugs, or the numbers, of every page."""
    found, cursor = [], ""
    while cursor is not None:
        status, page = api.find(path, limit="2", **({"cursor": cursor} if cursor else {}))
        assert status == 200
        found.append([row.get("slug", row.get("version")) for row in page["results"]])
        cursor = page["next_cursor"]
    return found


def test_workflows_come_newest_first_in_pages(api):
    _made(api, "a", "b", "c", "d", "e")
    WorkflowFactory(slug="foreign")
    assert _walked(api, "/workflows") == [["e", "d"], ["c", "b"], ["a"]]


def test_versions_come_newest_first_in_pages(api):
    (workflow,) = _made(api, "ship")
    for number in range(1, 13):
        VersionFactory(workflow=workflow, version=number, published=number < 12)
    assert _walked(api, "/workflows/ship/versions")[:2] == [[12, 11], [10, 9]]
    assert sum(_walked(api, "/workflows/ship/versions"), []) == list(range(12, 0, -1))


def test_a_page_that_is_added_to_does_not_move(api):
    _made(api, "a", "b", "c")
    cursor = api.get("/workflows?limit=2")[1]["next_cursor"]
    _made(api, "d")
    assert [row["slug"] for row in api.find("/workflows", cursor=cursor)[1]["results"]] == ["a"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("order", ["order-two", "order-one"]), ("ORDER", ["order-two", "order-one"]), ("one", ["order-one"]),
        ("Grand", ["order-two"]), ("told", ["other"]), ("%", []), ("_", []), ("\\", []), (".*", []), ("'", []),
        ("", None),
        ("é", []),
    ],
)  # fmt: skip
def test_a_search_finds_names_slugs_and_descriptions_as_they_are_written(api, search, found):
    _made(api, "order-one")
    _made(api, "order-two", name="Grand")
    _made(api, "other", description="As told")
    status, page = api.find("/workflows", search=search)
    expected = found if found is not None else ["other", "order-two", "order-one"]
    assert (status, [row["slug"] for row in page["results"]]) == (200, expected)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"}, {"limit": "-1"}, {"limit": "101"}, {"limit": "x"}, {"limit": "1e9"}, {"cursor": "x"},
        {"cursor": ""}, {"cursor": "x" * 10_000}, {"search": "x" * 201}, {"search": "a\x00"}, {"archived": "maybe"},
        {"sort": "name"}, {"tenant__slug": "x"}, {"name__startswith": "x"},
    ],
)  # fmt: skip
def test_a_bad_query_is_refused(api, query):
    answer = api.find("/workflows", **query)
    assert told(answer) == {"status": 400, "code": "VALIDATION_FAILED"}
    assert [problem["path"] for problem in answer[1]["problems"]] == [f"/{next(iter(query))}"]


def test_a_cursor_of_another_list_or_tenant_is_refused(api):
    other = Api()
    for one in (api, other):
        (workflow,) = _made(one, "ship")
        _made(one, "b")
        for number in (1, 2):
            VersionFactory(workflow=workflow, version=number, published=number < 2)
    of_versions = api.get("/workflows/ship/versions?limit=1")[1]["next_cursor"]
    foreign = other.get("/workflows?limit=1")[1]["next_cursor"]
    for cursor in (of_versions, foreign):
        assert told(api.find("/workflows", cursor=cursor)) == {"status": 400, "code": "VALIDATION_FAILED"}


@pytest.mark.parametrize("number", ["0", "3", "x", "-1", "1.0", "%C2%B2", "9" * 20, "1e3", "%D9%A3"])
def test_a_version_that_is_not_there_is_not_found(api, number):
    VersionFactory(workflow=_made(api, "ship")[0])
    assert told(api.get(f"/workflows/ship/versions/{number}")) == {"status": 404, "code": "NOT_FOUND"}


@pytest.mark.parametrize("path", ["/workflows", "/workflows/w0/versions"])
def test_a_list_of_three_takes_the_queries_of_one(api, path):
    counts, workflows = [], _made(api, "w0")
    VersionFactory(workflow=workflows[0], published=True)
    api.get(path)  # the token is remembered from here on
    for more in (False, True):
        if more:
            for workflow in _made(api, "w1", "w2"):
                VersionFactory(workflow=workflow)
            for number in (2, 3):
                VersionFactory(workflow=workflows[0], version=number, published=number == 2)
        with CaptureQueriesContext(connection) as queries:
            results = api.get(path)[1]["results"]
        counts.append((len(results), len(queries)))
    assert [rows for rows, _ in counts] == [1, 3]
    assert counts[0][1] == counts[1][1]


def test_an_id_that_is_none_asks_the_database_nothing_about_workflows(api):
    with CaptureQueriesContext(connection) as queries:
        assert api.get("/workflows/" + "x" * 10_000)[0] == 404
    assert [query for query in queries.captured_queries if "workflows_workflow" in query["sql"]] == []
