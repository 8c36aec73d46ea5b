"""The store of the simulation says and keeps what a real one does: else it would prove nothing of them."""

from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from hypothesis import HealthCheck, given, settings

from runs.models import Event, StepLog, WorkflowRun
from runs.store.reference import ReferenceStore
from runs.tests.simulation.memory_store import MemoryStore
from runs.tests.store.conftest import versions
from runs.tests.store.test_same_rows import CALLS, Script
from runs.tests.store.worlds import since_now

__all__ = ["versions"]
EVENT = ("seq", "event_type", "step_id", "generation", "attempt", "state_before", "state_after", "payload", "ts",
         "corr_id")  # fmt: skip


def in_the_database() -> dict[str, Any]:
    runs = WorkflowRun.objects.order_by("id").values_list("id", "lease_owner", "wake_at")
    events = Event.objects.order_by("run_id", "seq").values_list("run_id", *EVENT)
    logs = StepLog.objects.values_list("run_id", "step_id", "attempt", "number", "message")
    return {
        "runs": [(id, owner, since_now(at)) for id, owner, at in runs],
        "events": [(id, *event[:7], event[7], *event[8:]) for id, *event in events],
        "logs": sorted(logs),
    }


def in_memory(store: MemoryStore) -> dict[str, Any]:
    rows = sorted(store.rows.values(), key=lambda row: row.head.id)
    return {
        "runs": [(row.head.id, row.lease_owner, since_now(row.wake_at)) for row in rows],
        "events": [(row.head.id, *event) for row in rows for event in row.events],
        "logs": sorted((row.head.id, *key, message) for row in rows for key, message in row.logs.items()),
    }


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(calls=CALLS)
def test_it_answers_and_keeps_what_the_reference_store_does(versions, calls):
    memory = MemoryStore(lambda: datetime.now(UTC))
    with transaction.atomic():
        expected = (Script(ReferenceStore(), versions).play(calls), in_the_database())
        transaction.set_rollback(True)

    assert (Script(memory, versions).play(calls), in_memory(memory)) == expected
