"""What is kept for a time is deleted afterwards, and nothing else."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.contrib.sessions.models import Session
from django.db import connection

from runs import housekeeping
from runs.bootstep import ReactorStep
from runs.housekeeping import keep_house
from runs.tests.reactor.bench import until
from runs.tests.reactor.fixtures import committed
from staterail.accounts.idempotency import KEPT, expired
from staterail.accounts.models import IdempotencyRecord
from staterail.accounts.tests.factories import TenantFactory

__all__ = ["committed"]


def answers(*ages):
    """Answers under the keys 0, 1, 2 …, of these ages."""
    tenant, now = TenantFactory(), datetime.now(UTC)
    for n, age in enumerate(ages):
        row = IdempotencyRecord.objects.create(
            tenant=tenant, operation="op", key=str(n), request_hash="", status=200, response={}
        )
        IdempotencyRecord.objects.filter(id=row.id).update(created_at=now - age)


def kept():
    return sorted(IdempotencyRecord.objects.values_list("key", flat=True))


@pytest.mark.django_db
def test_answers_go_after_24_hours_however_many_there_are(monkeypatch):
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    minute = timedelta(minutes=1)
    answers(*[KEPT + n * minute for n in range(1, 6)], KEPT - minute, minute)

    assert keep_house() == 5

    assert kept() == ["5", "6"]
    assert keep_house() == 0


@pytest.mark.django_db
def test_a_session_goes_once_it_has_expired():
    now = datetime.now(UTC)
    for key, left in (("over", -1), ("open", 1)):
        Session.objects.create(session_key=key, session_data="", expire_date=now + timedelta(hours=left))

    assert keep_house() == 1

    assert Session.objects.get().session_key == "open"


@pytest.mark.django_db
def test_answers_past_their_time_are_found_by_an_index():
    if connection.vendor == "postgresql":  # a small table is read through otherwise
        connection.cursor().execute("SET LOCAL enable_seqscan = off")
    assert "answer_by_age" in expired(datetime.now(UTC)).order_by("created_at")[:500].explain()


@pytest.mark.usefixtures("committed")
def test_a_worker_of_the_queue_runs_keeps_house():
    answers(KEPT + timedelta(minutes=1))
    queues = SimpleNamespace(consume_from={"runs": None})
    step = ReactorStep(SimpleNamespace(pool_cls="threads", app=SimpleNamespace(amqp=SimpleNamespace(queues=queues))))
    step.start(None)
    try:
        until(lambda: not kept())
    finally:
        step.stop(None)
    step.housekeeper.join(10)
    assert not step.housekeeper.is_alive()
