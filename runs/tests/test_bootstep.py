"""A worker of the queue `runs` has a reactor; one whose reactor ended has no business to live on."""

import os
from types import SimpleNamespace

import pytest
from celery.worker import state

from runs import bootstep, reactor
from runs.bootstep import ReactorStep
from runs.tests.reactor.bench import Stumbling, fails, until
from runs.tests.reactor.fixtures import committed

__all__ = ["committed"]
pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(autouse=True)
def _goes_on():
    state.should_stop = None
    yield
    state.should_stop = None


def worker(pool="celery.concurrency.thread:TaskPool", *queues):
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=dict.fromkeys(queues)))
    return SimpleNamespace(pool_cls=pool, app=SimpleNamespace(amqp=amqp))


@pytest.fixture
def step():
    made = ReactorStep(worker("threads", "runs"))
    made.start(None)
    yield made
    made.stop(None)


@pytest.mark.parametrize(
    ("pool", "queues", "wanted"),
    [("threads", ["runs"], True), ("prefork", ["runs"], False), ("threads", ["tasks"], False)],
)
def test_only_a_worker_with_threads_on_the_queue_runs_has_a_reactor(pool, queues, wanted):
    assert ReactorStep(worker(pool, *queues)).wanted is wanted


def test_an_orderly_stop_ends_the_reactor_and_leaves_the_worker_to_celery(step):
    until(lambda: reactor.current() is step.reactor)

    step.stop(None)

    assert (step.reactor.is_alive(), step.reactor.failure, reactor.current()) == (False, None, None)
    assert state.should_stop is None


def test_a_worker_stops_when_its_reactor_has_drained(step):
    step.reactor.stop()

    until(lambda: state.should_stop is not None)

    assert state.should_stop == os.EX_OK


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_stops_with_an_error_when_its_reactor_died(monkeypatch):
    store = Stumbling()
    store.before("claim", fails(RuntimeError("a bug")))
    monkeypatch.setattr(bootstep.store, "current", lambda: store)
    step = ReactorStep(worker("threads", "runs"))

    step.start(None)
    until(lambda: state.should_stop is not None)

    assert state.should_stop == os.EX_SOFTWARE
    assert str(step.reactor.failure) == "a bug"
