import pytest

from runs.tests.rest.client import Api, flow, problem, told
from staterail.accounts import throttle
from staterail.core.errors import RateLimited


@pytest.fixture
def clock(monkeypatch, settings):
    """Seconds, moved on by the test; and no Redis, which has a clock of its own."""
    settings.REDIS_URL = ""
    now = [1000.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])
    return now


def taken(rate, key="a", n=1000):
    """How many of `n` calls are let through."""
    for count in range(n):
        try:
            rate.take(key)
        except RateLimited:
            return count
    return n


def test_twice_the_rate_at_once_then_the_rate(clock):
    rate = throttle.Rate(lambda: 10)
    assert taken(rate) == 20
    clock[0] += 1
    assert taken(rate) == 10
    clock[0] += 3600
    assert taken(rate) == 20


def test_a_refusal_says_when_there_is_room_again_and_costs_nothing(clock):
    rate = throttle.Rate(lambda: 10)
    taken(rate)
    for _ in range(5):
        with pytest.raises(RateLimited) as refused:
            rate.take("a")
        assert refused.value.retry_after == pytest.approx(0.1)
    clock[0] += 0.11
    assert taken(rate) == 1


def test_callers_do_not_slow_each_other_and_zero_is_no_limit(clock):
    rate = throttle.Rate(lambda: 10)
    taken(rate)
    assert taken(rate, "b") == 20
    assert taken(throttle.Rate(lambda: 0)) == 1000


def test_only_so_many_callers_are_remembered(clock, monkeypatch):
    monkeypatch.setattr(throttle, "MAX_KEYS", 3)
    rate = throttle.Rate(lambda: 1)
    for key in "abcd":
        taken(rate, key)
    assert taken(rate, "a") == 2  # forgotten
    assert taken(rate, "d") == 0


@pytest.mark.django_db
def test_a_token_that_writes_too_fast_is_told_to_wait_reads_on_and_hinders_nobody(settings, clock):
    settings.STATERAIL_WRITES_PER_SECOND = 2
    api = Api()
    workflow = api.published(flow("a"))  # two writes
    assert api.post(f"/workflows/{workflow}/runs/batch", {"runs": [{}] * 50})[0] == 201  # one
    assert api.post(f"/workflows/{workflow}/runs")[0] == 201
    refused = api.send("POST", f"/workflows/{workflow}/runs")
    assert told((refused.status_code, refused.json())) == problem(429, "RATE_LIMITED")
    assert refused["Retry-After"] == "1"
    assert len(api.must("GET", "/runs?limit=100")["results"]) == 51
    assert Api(tenant=api.tenant).post(f"/workflows/{workflow}/runs")[0] == 201
