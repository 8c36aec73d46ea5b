"""The doorbell: rings go to this process's reactor, or through the broker; a dead broker delays nobody (F-6, F-16)."""

import contextlib
import socket
import time
from types import SimpleNamespace
from uuid import UUID

import pytest
from celery import current_app as app
from django.db import transaction
from redis import Redis

from runs import doorbell, reactor
from runs.doorbell import FULL, Doorbell
from runs.tasks import poke, wake
from runs.tests.reactor.bench import Bench, until
from runs.tests.reactor.fixtures import committed
from staterail.testing.servers import RedisServer, free_port

__all__ = ["committed"]
RUN = UUID(int=7 << 76 | 2 << 62)


@pytest.fixture
def queue():
    """The queue `runs`, empty."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare("runs")
        channel.queue_purge("runs")
        yield lambda: channel.queue_declare("runs").message_count
        channel.queue_purge("runs")


@pytest.fixture
def here(db):
    """A reactor of this very process."""
    bench = Bench()
    reactor.set_current(bench.reactor)
    yield bench
    reactor.set_current(None)
    bench.close()


@pytest.fixture
def dead_broker(monkeypatch):
    monkeypatch.setattr(app.conf, "broker_write_url", f"redis://127.0.0.1:{free_port()}/0")


@pytest.fixture
def redis(monkeypatch):
    """A Redis of its own as the broker, and a client of it."""
    with RedisServer() as server, Redis.from_url(server.url) as client:
        monkeypatch.setattr(app.conf, "broker_write_url", server.url)
        yield SimpleNamespace(server=server, client=client)


def heard(bench):
    """What lies in the inbox."""
    items = []
    while not bench.inbox.empty():
        items.append(type(bench.inbox.get()).__name__)
    return items


def test_a_ring_becomes_a_message(queue):
    bell = Doorbell()

    bell.ring()

    until(lambda: queue() == 1)


def test_no_ring_is_sent_while_many_lie_in_the_queue_unheard(queue):
    bell = Doorbell()
    for _ in range(FULL + 20):
        bell._publish(set())

    assert queue() == FULL


def test_rings_that_come_together_are_one(queue):
    bell = Doorbell()
    for _ in range(5):
        for _ in range(1000):
            bell.ring()
        until(lambda: not bell._pressed.is_set())

    assert 1 <= queue() < 50


def test_a_dead_broker_delays_no_ring_and_ends_no_bell(dead_broker):
    bell = Doorbell()
    since = time.monotonic()

    for _ in range(100):
        bell.ring(RUN)
    took = time.monotonic() - since
    until(lambda: not bell._pressed.is_set())

    assert took < 1
    assert bell._thread.is_alive()


def test_a_bell_whose_broker_was_away_rings_again_once_it_is_back(monkeypatch, queue):
    bell, tried = Doorbell(), []

    def publish(pokes):
        tried.append(pokes)
        raise ConnectionError("away")

    with monkeypatch.context() as broken:
        broken.setattr(bell, "_publish", publish)
        bell.ring()
        until(lambda: tried)

    bell.ring()

    until(lambda: queue() >= 1)


def test_rings_go_over_one_connection_a_round_trip_each(redis):
    bell = Doorbell()
    bell._publish(set())
    before = redis.client.info()

    for _ in range(30):
        bell._publish(set())

    after = redis.client.info()
    assert after["total_connections_received"] == before["total_connections_received"]
    calls = after["total_commands_processed"] - before["total_commands_processed"]
    assert calls <= 30 + 1 + 3 * 12, "a push each; for every tenth a look at the queue"
    assert redis.client.llen("runs") == 31


def test_a_ring_is_not_lost_where_the_kept_connection_has_broken(redis):
    bell = Doorbell()
    bell._deliver({RUN})
    redis.client.client_kill_filter(_type="normal", skipme=True)

    bell._deliver({RUN})

    assert redis.client.llen("runs") == 2


def test_a_broker_that_comes_back_is_rung_again_and_its_absence_is_told_once(redis, caplog):
    bell = Doorbell()
    bell._deliver(set())
    redis.server.stop()
    for _ in range(3):
        bell._deliver(set())
    assert caplog.text.count("the broker cannot be reached") == 1

    redis.server.start()
    bell._deliver(set())

    assert redis.client.llen("runs") == 1


def test_a_broker_that_never_answers_keeps_the_bell_for_moments_only(monkeypatch, caplog):
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # connections wait in its backlog, unheard
        monkeypatch.setattr(app.conf, "broker_write_url", f"redis://127.0.0.1:{deaf.getsockname()[1]}/0")
        bell = Doorbell()
        bell.ring(RUN)
        until(lambda: "the broker cannot be reached" in caplog.text)

        bell.ring()

        until(lambda: not bell._pressed.is_set())


def test_a_reactor_of_this_process_is_rung_directly_and_after_the_commit_only(committed, here, settings):
    settings.REDIS_URL = ""
    with transaction.atomic():
        doorbell.ring_after_commit(RUN)
        before = heard(here)

    assert (before, heard(here)) == ([], ["Poke", "Ring"])


def test_nothing_is_rung_for_what_was_rolled_back(committed, here):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        doorbell.ring_after_commit(RUN)
        raise ZeroDivisionError

    assert heard(here) == []


def test_messages_ring_and_poke_the_reactor_that_is_here(here):
    wake()
    poke(None, [str(RUN)])

    assert heard(here) == ["Ring", "Poke"]


def test_messages_for_a_process_without_a_reactor_do_nothing():
    assert reactor.current() is None

    wake()

    assert poke(None, [str(RUN)]) == {"ok": "poked"}


@pytest.mark.parametrize("ids", [["no id"], [7], [None], [], [str(RUN), "no id"], [str(UUID(int=0))], "text", None, 7])
def test_a_poke_of_what_is_no_run_harms_nobody(here, ids):
    poke(None, ids)

    here.turn()
    assert here.reactor.runs.owned == {}
