from collections.abc import Iterator

import pytest

from runs.tests.rest.client import Api
from runs.tests.rest.engine import Engine
from staterail.accounts.tests.factories import TenantFactory


@pytest.fixture
def api() -> Api:
    """An administrator's token of a tenant of the test's own."""
    return Api()


@pytest.fixture
def tenant(api: Api):
    return api.tenant


@pytest.fixture
def stranger() -> Api:
    """An administrator of another tenant."""
    return Api(tenant=TenantFactory(), name="stranger")


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.reactor.pool.close()
