"""Fixtures for tests that turn a reactor by hand."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from runs import doorbell
from runs.invariants import INVARIANTS
from runs.tests.reactor.bench import Bench, Stumbling
from staterail.accounts.tests.factories import ActorFactory
from staterail.core.actor import Actor


@pytest.fixture
def benches(db: None) -> Iterator[Callable[..., Bench]]:
    """Makes processes; all of their threads are gone afterwards."""
    made: list[Bench] = []

    def make(*arguments: Any, **named: Any) -> Bench:
        made.append(Bench(*arguments, **named))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(benches: Callable[..., Bench]) -> Bench:
    return benches()


@pytest.fixture
def stumbling(db: None) -> Stumbling:
    return Stumbling()


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was rung; nothing is sent, as if every message were lost."""
    rung: list[Any] = []
    monkeypatch.setattr(doorbell._doorbell, "ring", lambda *poked: rung.append(poked))
    return rung


@pytest.fixture
def actor(db: None) -> Actor:
    return ActorFactory()


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    """Real commits. Events cannot be deleted while their run stands, so the runs go before the database is flushed."""
    yield
    with transaction.atomic(), connection.cursor() as cursor:
        for table in ("runs_steprun", "runs_steplog", "runs_workflowrun", "runs_event"):
            cursor.execute(f"DELETE FROM {table}")


@pytest.fixture
def nothing_broken() -> Iterator[None]:
    """All invariants hold when the test is over."""
    yield
    assert [(invariant.id, line) for invariant in INVARIANTS for line in invariant.find()] == []
