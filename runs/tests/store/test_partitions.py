"""The event log has a partition for every month before it begins."""

import threading
from datetime import UTC, datetime

import pytest
from django.contrib.sessions.models import Session
from django.db import connection, transaction

from runs import housekeeping
from runs.housekeeping import Housekeeper, make_room
from runs.models import Event
from runs.store.partitions import AHEAD, ensure_partitions, first_id
from runs.tests.reactor.bench import until
from runs.tests.reactor.fixtures import committed

__all__ = ["committed"]
pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions")


def months():
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'runs_event'::regclass")
        return sorted(name for (name,) in cursor.fetchall() if name != "runs_event_rest")


def lose(*names):
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"DROP TABLE {name}")


@pytest.mark.django_db
def test_what_is_missing_is_made_and_nothing_else(django_assert_num_queries):
    before = months()
    assert len(before) >= AHEAD
    lose(*before[-3:-1])

    assert ensure_partitions(connection) == before[-3:-1]

    assert months() == before
    with django_assert_num_queries(1):
        assert ensure_partitions(connection) == []


@pytest.mark.django_db
def test_a_month_whose_events_lie_in_the_rest_gets_none_and_the_next_one_does(caplog):
    before = months()
    late, missing = before[-2:]
    lose(late, missing)
    with connection.cursor() as cursor:
        values = {field.column: "x" for field in Event._meta.concrete_fields if field.column not in ("id", "tx")}
        first = first_id(datetime.strptime(late, "runs_event_%Y_%m").replace(tzinfo=UTC))
        values |= dict.fromkeys(("run_id", "tenant_id", "workflow_id"), first)
        values |= dict.fromkeys(("seq", "workflow_version", "generation", "item_index", "attempt"), 1)
        values |= {"payload": "{}", "ts": datetime.now(UTC)}
        cursor.execute(
            f"INSERT INTO runs_event ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
            [*values.values()],
        )

    assert ensure_partitions(connection) == [missing]

    assert f"the month of {late} has events in runs_event_rest" in caplog.text
    assert Event.objects.filter(run_id=first).count() == 1


@pytest.mark.usefixtures("committed")
def test_several_that_do_it_at_once_make_it_once():
    lost = months()[-4:]
    lose(*lost)
    made, ready = [], threading.Barrier(3)

    def make():
        ready.wait()
        made.extend(make_room())
        connection.close()

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(made) == lost


@pytest.mark.usefixtures("committed")
def test_the_housekeeping_makes_them_and_goes_on_where_it_cannot(monkeypatch, caplog):
    lost = months()[-1:]
    lose(*lost)
    Session.objects.create(session_key="over", session_data="", expire_date=datetime.now(UTC))
    monkeypatch.setattr(housekeeping, "EVERY_SECONDS", 0.1)
    housekeeper = Housekeeper()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE runs_event IN ACCESS SHARE MODE")
        housekeeper.start()
        until(lambda: not Session.objects.exists())
        assert "housekeeping failed, it is tried again later" in caplog.text
    until(lambda: months()[-1:] == lost)
    housekeeper.stop()
    housekeeper.join(30)
