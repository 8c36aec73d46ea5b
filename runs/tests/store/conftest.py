from typing import Any

import pytest
from django.db import connection

from runs.store import Store
from runs.store.postgres import PostgresStore
from runs.store.reference import ReferenceStore
from runs.store.sqlite import SqliteStore
from runs.tests.factories import an_actor, published
from runs.tests.machine.simulation import definition
from runs.tests.store.worlds import World

FAST = {"sqlite": SqliteStore, "postgresql": PostgresStore}
"""By the database that these tests run on; the reference store is held against it on each."""

APPROVAL = {"kind": "HumanApproval", "config": {"title": "t"}, "timeout": "1h"}
DELAY = {"kind": "Delay", "config": {"for": "5s"}}
ECHO = {"config": {"name": "core.echo", "args": {"x": "${input.x}"}}, "retry": {"max_attempts": 2, "jitter": "none"}}

FLOW = definition(
    {"a": ECHO, "b": {}, "wait": DELAY, "ask": APPROVAL, "end": {}},
    "a b", "a wait", ("a", "ask", {"when": "steps.a.output != null"}), "b end", "wait end", "ask end",
    output={"of_a": "${steps.a.output}"},
)  # fmt: skip
NULL = definition("a", output="${steps.a.output}")
BREAKER = definition({"a": {"circuit_breaker": {"key": "k"}}})


@pytest.fixture(params=["reference", "fast"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store of this database."""
    return ReferenceStore() if request.param == "reference" else fast_store()


def fast_store() -> Any:
    return FAST[connection.vendor]()


@pytest.fixture
def versions(db: None) -> list[Any]:
    """Published versions: two of one tenant, two of others."""
    one, two, three = an_actor(), an_actor(), an_actor()
    return [published(FLOW, one), published(NULL, one, "null"), published(FLOW, two), published(BREAKER, three)]


@pytest.fixture
def world(store: Store, versions: list[Any]) -> World:
    return World(store, versions)
