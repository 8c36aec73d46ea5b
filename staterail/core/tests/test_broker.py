"""An item of a queue that is no message is dropped; what follows it arrives (F-16)."""

import pytest
from kombu import Connection, Queue
from redis import Redis

from staterail.core import broker
from staterail.testing.servers import RedisServer

RUBBISH = [
    b"", b"garbage", b"{", b"[]", b"null", b"[" * 50_000, b"\xff\x00", b'{"body": 1}', b'{"properties": {}}',
    b'{"properties": {"delivery_tag": "a", "body_encoding": "base64"}, "body": "%%%"}',
]  # fmt: skip


@pytest.fixture(scope="module")
def redis():
    with RedisServer() as server:
        yield server


def test_rubbish_is_dropped_and_the_next_message_arrives(redis, caplog):
    broker.register()
    heard = []
    with Connection(redis.url) as connection:
        queue = Queue("runs", routing_key="runs", channel=connection.default_channel)
        queue.declare()
        with connection.Consumer(queue, callbacks=[lambda body, message: (heard.append(body), message.ack())]):
            for item in RUBBISH:
                Redis(port=redis.port).lpush("runs", item)
            connection.Producer().publish("a ring", routing_key="runs")
            while not heard:
                connection.drain_events(timeout=10)

    assert heard == ["a ring"]
    assert caplog.text.count("a message that cannot be read was dropped") == len(RUBBISH)


def test_the_broker_of_this_project_is_the_one_that_drops_it():
    from staterail.celery import app

    with app.connection_for_write("redis://localhost") as connection:
        assert connection.get_transport_cls() is broker.Transport
