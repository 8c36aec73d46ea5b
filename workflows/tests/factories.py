"""Definitions as their authors write them, and the rows that hold them."""

from datetime import UTC, datetime
from inspect import signature
from random import getrandbits
from typing import Any
from uuid import UUID

import factory
from factory.django import DjangoModelFactory

from staterail.accounts.tests.factories import TenantFactory
from workflows.models import Workflow, WorkflowVersion
from workflows.versions import definition_hash

JSON = Any
TASKS = {
    "core.noop": signature(lambda ctx, /: None),
    "core.echo": signature(lambda ctx, /, **args: args),
    "orders.reserve": signature(lambda ctx, *, sku, qty=1: None),
}


class StepFactory(factory.DictFactory):
    """A Task that does nothing; other keys as given."""

    id = "a"
    kind = "Task"
    config = factory.LazyFunction(lambda: {"name": "core.noop"})


def step(id: str = "a", **given: JSON) -> dict[str, JSON]:
    return StepFactory(id=id, **given)


def echo(id: str, **args: JSON) -> dict[str, JSON]:
    """A Task that returns its arguments."""
    return StepFactory(id=id, config={"name": "core.echo", "args": args})


def edge(source: str, target: str, **given: JSON) -> dict[str, JSON]:
    return {"from": source, "to": target, **given}


def definition(*steps: JSON, transitions: JSON = (), **given: JSON) -> dict[str, JSON]:
    """A whole document; of one step where none is given."""
    return {
        "schema": "staterail.workflow/v1",
        "steps": list(steps) or [StepFactory()],
        "transitions": list(transitions),
        **given,
    }


class WorkflowFactory(DjangoModelFactory):
    """Each a millisecond younger than the one before: ids of one millisecond have no order."""

    class Meta:
        model = Workflow

    id = factory.Sequence(lambda n: UUID(int=((1_780_000_000_000 + n) << 80) | (7 << 76) | (2 << 62) | getrandbits(62)))
    tenant = factory.SubFactory(TenantFactory)
    slug = factory.Sequence("workflow-{}".format)
    name = factory.SelfAttribute("slug")


class VersionFactory(DjangoModelFactory):
    """A draft, number 1; `published=True` makes it final."""

    class Meta:
        model = WorkflowVersion
        exclude = ("published",)

    workflow = factory.SubFactory(WorkflowFactory)
    tenant = factory.SelfAttribute("workflow.tenant")
    version = 1
    definition = factory.LazyFunction(definition)
    definition_hash = factory.LazyAttribute(lambda version: definition_hash(version.definition))
    published = False
    published_at = factory.LazyAttribute(lambda version: datetime.now(UTC) if version.published else None)
