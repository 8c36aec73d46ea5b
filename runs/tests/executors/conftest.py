"""An upstream on loopback that misbehaves on request, and an executor that may call it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runs.executors.http_call import HttpExecutor
from runs.tests.executors.calls import http_call
from staterail.core.net.guard import AllowList
from staterail.testing.effects import EffectsServer

Execute = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[EffectsServer]:
    with EffectsServer() as server:
        yield server


@pytest.fixture(scope="module")
def executor(server: EffectsServer) -> Iterator[HttpExecutor]:
    executor = HttpExecutor(AllowList.parse([server.netloc]), resolver=lambda host, port: ["127.0.0.1"])
    yield executor
    executor.close()


@pytest.fixture
def execute(server: EffectsServer, executor: HttpExecutor) -> Execute:
    def execute(path: str, /, timeout: float | None = 5, secrets: tuple[str, ...] = (), **config: Any) -> Any:
        return executor.execute(http_call({"url": server.url + path} | config, timeout=timeout, secrets=secrets))

    return execute
