"""Workflows with a published version, for runs that are made below the services."""

from typing import Any

import factory
from factory.django import DjangoModelFactory

from staterail.accounts.tests.factories import TenantFactory
from staterail.core.actor import Actor, Role
from workflows.models import Workflow, WorkflowVersion
from workflows.services import deploy


class WorkflowFactory(DjangoModelFactory):
    class Meta:
        model = Workflow

    tenant = factory.SubFactory(TenantFactory)
    slug = factory.Sequence("workflow-{}".format)
    name = factory.SelfAttribute("slug")


def an_actor(tenant: Any = None) -> Actor:
    """An administrator, of a tenant of its own where none is given."""
    return Actor((tenant or TenantFactory()).id, Role.ADMIN, "someone")


def published(definition: dict[str, Any], actor: Actor, slug: str = "flow") -> WorkflowVersion:
    """The version in which this definition is current. Raises where validation has errors."""
    return deploy(actor=actor, slug=slug, name=slug, definition=definition)[0]
