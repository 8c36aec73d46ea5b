"""A message is a doorbell: with Redis dead, empty, deaf or full of rubbish, runs go on and nobody waits for it."""

import json
import signal
import time
from base64 import b64encode
from uuid import uuid4

import pytest
import redis

from staterail.testing.definitions import task, workflow
from staterail.testing.server import until
from staterail.tests.servers.flows import SHORT, losses, starts

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


def quick_starts(api, flow, n=20):
    """Start runs one by one; none may wait for a broker. Their ids."""
    ids, took = [], []
    for _ in range(n):
        began = time.monotonic()
        ids.append(api.start(flow))
        took.append(time.monotonic() - began)
    assert max(took) < 2.0, took  # the bound says "waits for Redis", not "slow"
    return ids


def is_well_again(cluster, api, flow):
    cluster.heal()
    return set(cluster.ended(api.start_many(flow, 5)).values()) == {"completed"}


@pytest.mark.parametrize("how", ["killed", "frozen", "cut off"])
def test_without_redis_runs_go_on_by_the_poll_and_nobody_waits_for_it(cluster, api, how):
    flow = api.publish(SHORT)
    if how == "killed":
        cluster.redis.stop()
    elif how == "frozen":
        cluster.redis.process.send_signal(signal.SIGSTOP)
    else:
        cluster.to_redis.pause()

    ids = quick_starts(api, flow)

    assert set(cluster.ended(ids).values()) == {"completed"}
    assert cluster.readiness() == {
        "database": "ok", "broker": "degraded", "channel_layer": "degraded", "workers": "ok"
    }  # fmt: skip
    assert is_well_again(cluster, api, flow)


def test_redis_dead_while_everything_starts(cluster, api):
    flow = api.publish(SHORT)
    cluster.redis.stop()
    for process in cluster.processes:
        process.stop()
        process.restart()
    until(lambda: (cluster.readiness() or {}).get("workers") == "ok", seconds=60, what="workers work")

    ids = quick_starts(api, flow)

    assert set(cluster.ended(ids).values()) == {"completed"}
    assert cluster.readiness()["broker"] == "degraded"
    assert is_well_again(cluster, api, flow)
    isolated = api.start(api.publish(workflow([task("i", "test.isolated_sleep", seconds=0.05)])))
    assert cluster.ended([isolated]) == {isolated: "completed"}


def test_flushall_and_an_empty_restart_lose_nothing(cluster, api):
    flow = api.publish(SHORT)
    ids = []
    for _ in range(3):
        ids += api.start_many(flow, 200)
        redis.Redis(port=cluster.redis.port).flushall()
        ids += api.start_many(flow, 20)
        cluster.redis.stop()
        cluster.redis.start()

    assert set(cluster.ended(ids).values()) == {"completed"}
    assert [id for id in ids[::20] if losses(api, id)] == []


RUBBISH = [
    b"", b"garbage", b"{", b"[]", b"null", b"1", b"[" * 50_000, b"\xff\x00", b'{"body": 1}', b'{"properties": {}}',
    b'{"body": "", "headers": {}}', b'{"properties": {"delivery_tag": "a"}}',
    b'{"properties": {"delivery_tag": "b", "body_encoding": "base64"}, "body": "%%%"}',
    b'{"properties": {"delivery_tag": [], "delivery_info": 7}, "body": {}, "headers": [], "content-type": 3}',
    b'{"properties": {"delivery_tag": "c", "delivery_info": {}, "body_encoding": "none"}, "body": "x", "headers": 1}',
]  # fmt: skip


def message(name, args, kwargs, content_type="application/json"):
    """As Celery writes it into a list of Redis."""
    id = str(uuid4())
    body = b64encode(json.dumps([args, kwargs, {}]).encode()).decode()
    return json.dumps(
        {
            "body": body, "content-encoding": "utf-8", "content-type": content_type,
            "headers": {"lang": "py", "task": name, "id": id, "root_id": id, "parent_id": None, "retries": 0},
            "properties": {
                "correlation_id": id, "delivery_mode": 2, "delivery_tag": str(uuid4()), "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": "runs"}, "priority": 0,
            },
        }
    ).encode()  # fmt: skip


def test_doorbells_that_come_ten_times_and_rubbish_do_no_harm(cluster, api):
    flow = api.publish(SHORT)
    client = redis.Redis(port=cluster.redis.port)
    pids = [process.pid for process in cluster.processes]
    ids = api.start_many(flow, 50)
    isolated = api.start(api.publish(workflow([task("i", "test.isolated_sleep", seconds=0.3)])))

    for _ in range(10):
        client.lpush("runs", message("runs.wake", [], {}), message("runs.wake", [1], {"x": 2}))
        client.lpush("tasks", message("runs.execute_isolated", [], {"run_id": isolated, "step_id": "i"}))
    client.lpush("tasks", message("runs.execute_isolated", [], {"run_id": str(uuid4()), "step_id": "i"}))
    client.lpush("tasks", message("runs.execute_isolated", [], {"run_id": "no uuid", "step_id": "i"}))
    client.lpush("tasks", message("runs.execute_isolated", [], {"run_id": isolated, "step_id": "no step"}))
    client.lpush("tasks", message("runs.execute_isolated", [], {"run_id": ids[0], "step_id": "a"}))
    for queue in ("runs", "tasks"):
        client.lpush(queue, message("no.such_task", [], {}))
        client.lpush(queue, message("runs.wake", [], {}, content_type="application/x-python-serialize"))
    ids += api.start_many(flow, 50)

    assert set(cluster.ended([*ids, isolated]).values()) == {"completed"}
    assert starts(api, isolated, "i") == [1]
    assert {tuple(starts(api, id, "a")) for id in ids[::10]} == {(1,)}
    assert [process.process.poll() for process in cluster.processes] == [None] * len(pids)


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda rubbish: rubbish[:40].decode(errors="replace"))
def test_a_message_that_is_none_stops_no_worker(cluster, api, rubbish):
    client = redis.Redis(port=cluster.redis.port)
    for queue in ("runs", "runs", "runs", "tasks"):
        client.lpush(queue, rubbish)

    ids = api.start_many(api.publish(SHORT), 5)
    ids.append(api.start(api.publish(workflow([task("i", "test.isolated_sleep", seconds=0.05)]))))

    assert set(cluster.ended(ids, seconds=30).values()) == {"completed"}
    assert [process.process.poll() for process in cluster.processes] == [None] * len(cluster.processes)
