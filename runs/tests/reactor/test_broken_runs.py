"""A run that cannot be read, decided or stored fails alone, with a clear error (F-47)."""

import pytest
from django.db import connection

from runs.models import Event, StepRun, WorkflowRun
from runs.reactor import loop
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import Bench, row, started, state, step
from workflows.models import WorkflowVersion

pytestmark = pytest.mark.usefixtures("committed")
AB = definition("a b", "a b")


def edit(table: str, column: str, value: object, **where: object) -> None:
    """As by hand."""
    names = list(where)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = %s WHERE {' AND '.join(f'{name} = %s' for name in names)}",
            [value, *(_plain(where[name]) for name in names)],
        )


def _plain(value):
    return value.hex if hasattr(value, "hex") and connection.vendor == "sqlite" else value


def neighbour_completes(bench: Bench) -> None:
    other = started(AB, slug="neighbour")
    for id in "ab":
        bench.hands.end(id, None)
    bench.until(lambda: state(other) == "completed")


def engine_error(run_id) -> str:
    """The message with which the engine ended it."""
    run = row(run_id)
    assert (run.state, run.reason, run.error["code"]) == ("failed", "engine_error", "engine_error")
    assert run.lease_owner is None
    assert run.wake_at is None
    assert not StepRun.objects.filter(run_id=run_id, state__in=["idle", "queued", "running"]).exists()
    return run.error["message"]


def with_definition(run_id, document):
    """The run is of a version that another release published."""
    known = WorkflowVersion.objects.get(id=row(run_id).version_id)
    other = WorkflowVersion.objects.create(
        tenant=known.tenant, workflow=known.workflow, version=known.version + 1, definition=document,
        definition_hash="", published_at=known.published_at,
    )  # fmt: skip
    WorkflowRun.objects.filter(id=run_id).update(version=other)


@pytest.mark.parametrize("document", [[], {"schema": "staterail.workflow/v9"}, "text", {}, {**AB, "steps": [{}]}])
def test_a_definition_that_cannot_be_read_fails_its_run_alone(bench, document):
    run_id = started(AB)
    with_definition(run_id, document)

    neighbour_completes(bench)
    bench.until(lambda: state(run_id) == "failed")

    assert engine_error(run_id).startswith("The definition cannot be read: ")
    assert bench.hands.seen == [("a", 1), ("b", 1)]  # the neighbour's


def test_a_definition_that_broke_while_its_run_was_under_way_ends_it_with_all_its_steps(bench):
    run_id = started(AB)
    bench.has_started("a")
    bench.ended("a")
    bench.has_started("b")
    with_definition(run_id, {})

    bench.reactor.poke(run_id)
    bench.until(lambda: state(run_id) == "failed")

    assert engine_error(run_id)
    assert (step(run_id, "a").state, step(run_id, "b").reason) == ("succeeded", "interrupted")


def test_a_copy_of_a_draft_that_is_nested_too_deep_fails_its_run_alone(bench):
    run_id = started(AB)
    edit("runs_workflowrun", "definition", "[" * 300 + "]" * 300, id=run_id)

    neighbour_completes(bench)
    bench.until(lambda: state(run_id) == "failed")

    assert "300" in engine_error(run_id) or "nested" in engine_error(run_id)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("runs_workflowrun", "stopping", '"yes"'),
        ("runs_workflowrun", "stopping", '{"kind": "operator"}'),
        ("runs_workflowrun", "stopping", '{"kind": "operator", "since": "yesterday"}'),
        ("runs_workflowrun", "error", "[" * 250 + "]" * 250),
        ("runs_workflowrun", "reason", "unheard_of"),
        ("runs_steprun", "reason", "unheard_of"),
        ("runs_steprun", "taken", '["no:such"]'),
        ("runs_steprun", "taken", "7"),
        ("runs_steprun", "fault", '"x"'),
        ("runs_steprun", "fault", "{}"),
        ("runs_steprun", "error", "[" * 250 + "]" * 250),
    ],
)
def test_a_row_of_another_shape_fails_its_run_alone(bench, table, column, value):
    run_id = started(AB)
    which = {"id": run_id} if table == "runs_workflowrun" else {"run_id": run_id}
    edit(table, column, value, **which)

    neighbour_completes(bench)
    bench.until(lambda: state(run_id) == "failed")

    assert engine_error(run_id)


def test_metadata_that_can_only_be_read_once_a_step_begins_fail_their_run_alone(bench):
    run_id = started(AB)
    edit("runs_workflowrun", "metadata", "[" * 2000 + "]" * 2000, id=run_id)

    neighbour_completes(bench)
    bench.until(lambda: WorkflowRun.objects.filter(id=run_id, state="failed", reason="engine_error").exists())

    assert bench.hands.seen == [("a", 1), ("b", 1)]  # the neighbour's


def test_a_run_of_which_a_row_cannot_even_be_fetched_keeps_nobody_waiting(benches, stumbling):
    bench = benches(stumbling)
    run_id = started(AB)
    load = stumbling._store.load

    class Unreadable:
        def __getattr__(self, name):
            return getattr(stumbling, name)

        def load(self, ids):
            if run_id in ids:
                raise ValueError("month must be in 1..12")
            return load(ids)

    bench.reactor.runs.store = Unreadable()

    neighbour_completes(bench)

    assert state(run_id) == "pending"


def test_a_batch_with_a_run_that_cannot_be_stored_is_stored_but_for_that_one(bench):
    broken, well = started(definition("x")), started(AB, slug="well")
    bench.has_started("x")
    bench.has_started("a")
    run = row(broken)
    Event.objects.create(  # its next one stands there already
        run=run, tenant_id=run.tenant_id, seq=run.seq + 1, workflow_id=run.workflow_id, workflow_version=1,
        event_type="state_changed", generation=1, payload={}, ts=run.created_at, trace_id="", corr_id="", emitter="",
    )  # fmt: skip
    bench.ended("x")
    bench.ended("a", "well")

    bench.has_started("b")
    bench.turn(3)

    assert step(well, "a").output == "well"
    assert (state(broken), bench.owns(broken), row(broken).lease_owner) == ("running", False, None)
    assert row(broken).wake_at > bench.store.now() + loop.UNSTORABLE_FOR / 2


def test_a_value_that_does_not_fit_fails_its_run_with_that_error(bench):
    broken, well = started(definition("x")), started(AB, slug="well")
    bench.has_started("x")
    bench.has_started("a")
    bench.ended("a", "well")
    bench.ended("x")
    bench.inbox.results[-1].stimulus.output = '"\ud800"'  # no UTF-8

    bench.has_started("b")
    bench.until(lambda: state(broken) == "failed")

    assert engine_error(broken).startswith("What this run came to cannot be stored: ")
    assert step(well, "a").output == "well"


def test_an_output_that_no_database_stores_is_a_bad_output(bench):
    run_id = started(definition("x"))
    bench.has_started("x")
    bench.ended("x", {"half": "\ud800"})
    bench.until(lambda: state(run_id) == "failed")

    assert step(run_id, "x").error["code"] == "bad_output"
    assert step(run_id, "x").error["retryable"] is False
