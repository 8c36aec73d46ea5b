"""Servers for tests that look from outside: one that is shared, and ones of a test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from staterail.testing.server import Api, Instance, recent_logs


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One server for every test that neither kills nor fills it."""
    with Instance(tmp_path_factory.mktemp("shared")) as instance:
        yield instance


@pytest.fixture
def api(shared: Instance) -> Api:
    """The shared server's REST, as an administrator."""
    return shared.api()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Makes servers of the test's own, not started yet; whatever is left of them is killed afterwards."""
    made: list[Instance] = []

    def make(**variables: str) -> Instance:
        made.append(Instance(tmp_path / str(len(made)), variables))
        return made[-1]

    yield make
    for instance in made:
        instance.__exit__()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.sections += [(f"server {url}", tail) for url, tail in recent_logs()]
    return report
