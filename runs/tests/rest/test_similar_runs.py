"""How often a failure came lately: other runs that failed at the same step, alike but for numbers and ids."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection

from runs import failures
from runs.failures import similar_runs
from runs.models import StepRun, WorkflowRun
from runs.store.partitions import first_id
from runs.tests.rest.client import flow, task
from runs.tests.rest.test_long_lists import plans_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def failed(api, engine):
    """Starts runs whose step `a` fails with these messages, and waits for their end; their ids."""
    failing = task("a", "core.fail", code="bad", message="${input}")
    workflow = api.published(flow(failing))

    def start(*messages):
        made = [api.started(workflow, input=message) for message in messages]
        engine.finish(*made)
        return made

    return start


def similar(api):
    """Of the runs in the list, oldest first."""
    return [row["failure"]["similar_runs_24h"] for row in reversed(api.must("GET", "/runs")["results"])]


def test_failures_that_differ_in_numbers_and_ids_only_are_similar(api, stranger, engine, failed):
    failed("order 17 is gone", "order 4711 is gone", "no stock", f"order {UUID(int=7)} is gone")
    other = api.published(flow(task("a", "core.fail", code="bad", message="no stock")), "other")
    engine.finish(api.started(other))
    theirs = stranger.published(flow(task("a", "core.fail", code="bad", message="no stock")))
    engine.finish(stranger.started(theirs))
    assert similar(api) == [2, 2, 0, 2, 0]
    assert similar(stranger) == [0]


def test_a_run_of_which_a_retry_succeeded_is_no_longer_similar(api, failed):
    first, second = failed("gone", "gone")
    assert similar(api) == [1, 1]
    api.must("POST", f"/runs/{first}/retry")
    assert api.must("GET", f"/runs/{second}")["failure"]["similar_runs_24h"] == 0


def test_a_run_of_yesterday_counts_no_more(failed):
    yesterday, today = (WorkflowRun.objects.get(id=id) for id in failed("gone", "gone"))
    StepRun.objects.filter(run=yesterday).delete()
    at = datetime.now(UTC) - failures.RECENT - timedelta(minutes=1)
    WorkflowRun.objects.filter(id=yesterday.id).update(id=first_id(at))
    yesterday.id = first_id(at)
    assert similar_runs([yesterday, today]) == {yesterday.id: 1, today.id: 0}


def test_only_so_many_failed_runs_are_looked_at(api, failed, monkeypatch):
    monkeypatch.setattr(failures, "LOOKED_AT", 2)
    failed("gone", "gone", "gone", "gone")
    assert similar(api) == [2, 2, 1, 1]


def test_an_index_leads_to_the_failed_runs(failed):
    run = WorkflowRun.objects.get(id=failed("gone")[0])
    [plan] = plans_of(lambda: similar_runs([run]))
    assert "run_by_outcome" in plan
    wanted = "outcome=? AND id>?" if connection.vendor == "sqlite" else "(id >="
    assert wanted in plan, plan
