"""Circuit breakers: what opens one, who may probe, and who is woken (SEMANTICS 4, F-42)."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from runs import breakers
from runs.models import CircuitBreaker
from staterail.accounts.tests.factories import TenantFactory
from workflows.definition.model import CircuitBreakerPolicy

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = CircuitBreakerPolicy("pay", 3, timedelta(minutes=1), timedelta(seconds=30))


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def tenant(db):
    return TenantFactory().id


@pytest.fixture
def opened(tenant):
    """A breaker that opened at NOW."""
    for _ in range(3):
        breakers.record_failure(tenant, POLICY, NOW)
    return tenant


def known(tenant):
    found = CircuitBreaker.objects.get(tenant_id=tenant)
    return found.state, found.failures, found.opened_at, found.probe_at


def test_a_breaker_nobody_has_told_anything_lets_all_through(tenant):
    assert breakers.gate(tenant, POLICY, NOW) == breakers.GOES
    assert not CircuitBreaker.objects.exists()


def test_as_many_failures_as_the_threshold_open_it(tenant):
    said = []
    for n in range(3):
        breakers.record_failure(tenant, POLICY, at(n))
        said.append(breakers.gate(tenant, POLICY, at(n)).goes)

    assert said == [True, True, False]
    assert known(tenant) == ("open", [], at(2), at(32))


def test_failures_that_left_the_window_do_not_count(tenant):
    for seconds in (0, 10, 61, 75):
        breakers.record_failure(tenant, POLICY, at(seconds))

    assert known(tenant)[:2] == ("closed", [at(61).timestamp(), at(75).timestamp()])


def test_a_success_of_a_closed_breaker_forgets_no_failure(tenant):
    breakers.record_failure(tenant, POLICY, NOW)

    closed = breakers.record_success(tenant, POLICY)

    assert (closed, known(tenant)[:2]) == (False, ("closed", [NOW.timestamp()]))


def test_an_open_breaker_lets_nothing_through_until_its_time(opened):
    assert breakers.gate(opened, POLICY, at(29.9)) == breakers.Verdict(goes=False, until=at(30))


def test_after_its_time_one_probe_goes_and_the_others_wait(opened):
    verdicts = [breakers.gate(opened, POLICY, at(31)) for _ in range(3)]

    assert [verdict.probe for verdict in verdicts] == [True, False, False]
    assert [verdict.until for verdict in verdicts] == [at(61)] * 3
    assert [verdict.goes for verdict in verdicts] == [True, False, False]


def test_a_probe_that_never_comes_back_counts_as_lost(opened):
    breakers.gate(opened, POLICY, at(31))

    assert breakers.gate(opened, POLICY, at(61)) == breakers.Verdict(goes=True, until=at(91))


def test_a_probe_that_succeeds_closes_it(opened):
    breakers.gate(opened, POLICY, at(31))

    assert breakers.record_success(opened, POLICY)
    assert known(opened) == ("closed", [], None, None)
    assert breakers.gate(opened, POLICY, at(31)) == breakers.GOES


def test_a_probe_that_fails_opens_it_anew(opened):
    breakers.gate(opened, POLICY, at(31))

    breakers.record_failure(opened, POLICY, at(32))

    assert known(opened) == ("open", [], at(32), at(62))


def test_failures_while_it_is_open_do_not_prolong_it(opened):
    breakers.record_failure(opened, POLICY, at(10))

    assert known(opened) == ("open", [], NOW, at(30))


def test_breakers_are_kept_apart_by_tenant_and_key(opened):
    other_key = CircuitBreakerPolicy("ship", 3, POLICY.window, POLICY.reset_timeout)

    assert breakers.gate(TenantFactory().id, POLICY, NOW) == breakers.GOES
    assert breakers.gate(opened, other_key, NOW) == breakers.GOES


@pytest.mark.parametrize(
    ("code", "failed"),
    [("network", True), ("timeout", True), ("http_500", True), ("http_503", True), ("http_404", False),
     ("http_429", False), ("task_error", False), ("out_of_stock", False)],
)  # fmt: skip
def test_network_timeout_and_5xx_speak_against_a_dependency(code, failed):
    assert breakers.is_failure(code) is failed


def at_once(n, work):
    """`work` in n threads that begin together; what each said."""
    barrier, said = threading.Barrier(n), []

    def begin():
        try:
            barrier.wait(10)
            said.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=begin) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(said) == n
    return said


@pytest.mark.django_db(transaction=True)
def test_of_many_that_ask_at_once_one_has_the_probe():
    tenant = TenantFactory().id
    for _ in range(3):
        breakers.record_failure(tenant, POLICY, NOW)
    for n in range(5):
        later = at(31 + 40 * n)

        verdicts = at_once(8, lambda later=later: breakers.gate(tenant, POLICY, later))

        assert sorted(verdict.probe for verdict in verdicts) == [False] * 7 + [True]


@pytest.mark.django_db(transaction=True)
def test_failures_that_are_told_at_once_are_all_counted():
    tenant = TenantFactory().id
    policy = CircuitBreakerPolicy("pay", 4, POLICY.window, POLICY.reset_timeout)

    at_once(4, lambda: breakers.record_failure(tenant, policy, NOW))

    assert CircuitBreaker.objects.get().state == "open"
