"""Clusters: one that most tests share, healed after each of them, and ones of a test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from staterail.testing.cluster import Cluster
from staterail.testing.server import Api

_made: list[Cluster] = []


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its log of everything that all the tests did to it is held against the invariants at the end."""
    with Cluster(tmp_path_factory.mktemp("cluster"), tasks=True) as made:
        _made.append(made)
        yield made
        made.check_invariants()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    yield shared_cluster
    shared_cluster.heal()


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return cluster.api()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes and starts a cluster of the test's own; its invariants are checked at the end."""
    made: list[Cluster] = []

    def make(**options: object) -> Cluster:
        cluster = Cluster(tmp_path / str(len(made)), **options)  # type: ignore[arg-type]
        made.append(cluster)
        _made.append(cluster)
        return cluster.__enter__()

    yield make
    try:
        for cluster in made:
            cluster.check_invariants()
    finally:
        for cluster in made:
            cluster.__exit__()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.sections += [("cluster", cluster.logs()) for cluster in _made[-1:]]
    return report
