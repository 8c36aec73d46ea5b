"""With Redis, all web processes count together; without its answer each counts for itself."""

import signal
import time

import pytest

from staterail.accounts.throttle import Failures, Rate
from staterail.core import shared
from staterail.core.errors import RateLimited
from staterail.testing.servers import RedisServer


@pytest.fixture
def redis(settings, monkeypatch):
    with RedisServer() as server:
        settings.REDIS_URL = server.url
        monkeypatch.setattr(shared.shared, "_not_before", 0.0)
        yield server


def taken(rate: Rate, key: str = "a", n: int = 1000) -> int:
    for count in range(n):
        try:
            rate.take(key)
        except RateLimited:
            return count
    return n


def test_two_processes_share_a_callers_writes(redis):
    here, there = Rate(lambda: 0.5), Rate(lambda: 0.5)

    here.take("a")

    with pytest.raises(RateLimited) as refused:
        there.take("a")
    assert 1 < refused.value.retry_after <= 2
    there.take("b")


def test_two_processes_share_failures(redis):
    here, there = Failures("x", limit=2), Failures("x", limit=2)

    here.add("a")
    there.add("a")

    for process in (here, there):
        with pytest.raises(RateLimited) as refused:
            process.check("a")
        assert 1 <= refused.value.retry_after <= 60
    here.check("b")


def test_without_an_answer_each_counts_for_itself_and_nobody_waits_for_it(redis):
    rate = Rate(lambda: 5)
    redis.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()

    assert taken(rate) == 10

    assert time.monotonic() - began < 30  # not stuck
    redis.process.send_signal(signal.SIGCONT)
