"""Lists of very many runs: an index leads to a page, and what none leads to is looked for a bit at a time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection

from runs import selectors
from runs.models import WorkflowRun
from runs.tests.rest.client import flow, problem, task, told
from staterail.accounts.tests.factories import ActorFactory
from staterail.core import pagination
from staterail.core.pagination import page_of_parts

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORKFLOW = UUID("0199b3a0-0000-7000-8000-000000000000")


@pytest.fixture
def workflow(api):
    return api.published(flow("a"))


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(pagination, "LOOKED_AT", 3)


def pages(api, **query):
    """The ids of all pages, page by page."""
    found, cursor = [], {}
    while cursor is not None:
        status, page = api.find("/runs", **query, **cursor)
        assert status == 200, page
        found.append([row["id"] for row in page["results"]])
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] is not None else None
    return found


def test_a_search_looks_at_some_runs_a_page_and_goes_on_with_the_cursor(api, workflow, few):
    made = [api.started(workflow, corr_id="wanted" if n in (0, 1, 6) else "other") for n in range(8)]
    assert pages(api, search="wanted") == [[made[6]], [], [made[1], made[0]]]
    assert pages(api, search="wanted", limit="1") == [[made[6]], [], [made[1]], [made[0]]]
    assert pages(api, search=made[0]) == [[made[0]]]  # by its id: no search


def test_runs_of_several_states_are_one_list(api, engine, workflow, few):
    failing = api.published(flow(task("a", "core.fail", code="bad")), "failing")
    made = [api.started(id) for id in (workflow, failing, failing, workflow, failing, workflow, failing)]
    engine.finish(*made)
    late = [api.started(workflow) for _ in range(2)]
    newest_first = [*reversed(made + late)]
    failed = [id for id in newest_first if id in (made[1], made[2], made[4], made[6])]

    def whole(**query):
        return [id for page in pages(api, **query) for id in page]

    for limit in ("1", "2", "100"):
        assert whole(limit=limit, state="failed") == failed
        assert whole(limit=limit, state="failed,completed") == newest_first[2:]
        assert whole(limit=limit, state="failed,completed,pending,running") == newest_first
        assert whole(limit=limit, state="failed,completed", workflow_id=failing) == failed
    api.must("POST", f"/runs/{made[1]}/retry")
    assert whole(state="failed") == failed[:-1]
    assert whole(state="pending") == [*late[::-1], made[1]]


def test_runs_of_a_span_of_time(api, workflow):
    first, second, third = (api.started(workflow) for _ in range(3))
    at = {id: api.must("GET", f"/runs/{id}")["created_at"] for id in (first, second, third)}
    assert pages(api, created_after=at[first]) == [[third, second]]
    assert pages(api, created_before=at[third]) == [[second, first]]
    assert pages(api, created_after=at[first], created_before=at[third]) == [[second]]
    assert pages(api, created_after=at[third]) == [[]]
    assert pages(api, created_after="1970-01-01T00:00:00Z", state="pending") == [[third, second, first]]
    answer = api.find("/runs", created_after=at[second], created_before=at[second])
    assert told(answer) == problem(400, "VALIDATION_FAILED")
    assert answer[1]["problems"][0]["path"] == "/created_before"


def plans_of(read):
    """How the database goes about each query of this call."""
    if connection.vendor == "postgresql":  # a small table is read through otherwise
        for way in ("seqscan", "bitmapscan", "sort"):
            connection.cursor().execute(f"SET LOCAL enable_{way} = off")
    told = []

    def explain(execute, sql, params, many, context):
        how = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        execute(f"{how} {sql}", params, many, context)
        told.append("\n".join(str(row) for row in context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        read()
    return told


def plans(**wanted):
    """How the database goes about each query of a page."""
    actor = ActorFactory()
    return plans_of(lambda: page_of_parts(selectors.runs_wanted(actor, **wanted), limit=50, cursor=None, scope="runs"))


@pytest.mark.parametrize(
    ("wanted", "index", "queries"),
    [
        ({}, "run_by_tenant", 1),
        ({"states": ["failed"]}, "run_by_outcome", 1),
        ({"states": ["running"]}, "run_by_outcome", 2),
        ({"states": ["failed", "cancelled"]}, "run_by_outcome", 2),
        ({"states": ["failed"], "workflow_id": WORKFLOW}, "run_by_outcome", 2),
        ({"states": ["failed"], "created_after": NOON}, "run_by_outcome", 2),
        ({"workflow_id": WORKFLOW}, "run_by_workflow", 1),
        ({"created_after": NOON}, "run_by_tenant", 2),
        ({"created_before": NOON}, "run_by_tenant", 2),
        ({"search": "key:value"}, "run_by_tenant", 2),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_an_index_leads_to_a_page_and_nothing_is_sorted(wanted, index, queries):
    if connection.vendor == "postgresql":  # of two that serve, an empty table makes neither the better one
        for other in {"run_by_tenant", "run_by_outcome", "run_by_workflow"} - {index}:
            connection.cursor().execute(f"DROP INDEX {other}")
    told = plans(**wanted)
    assert [index in plan for plan in told] == [True] * queries, told
    assert not any("SCAN runs" in plan or "TEMP B-TREE" in plan or "Sort" in plan for plan in told), told


def test_a_span_of_time_is_a_range_of_ids():
    [floor, _] = plans(created_after=NOON, created_before=NOON + timedelta(days=1))
    assert floor.count("id>?") == floor.count("id<?") == 1 or floor.count("(id >=") == floor.count("(id <") == 1, floor


def test_what_changes_with_every_step_is_in_no_index():
    """PostgreSQL updates a row in its place only then."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, WorkflowRun._meta.db_table)
    indexed = {column for constraint in found.values() if constraint["index"] for column in constraint["columns"]}
    assert not indexed & {"state", "reason", "seq", "revision", "updated_at", "generation"}
