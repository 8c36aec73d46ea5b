"""Rows and actors for the tests of every app."""

import factory
from factory.django import DjangoModelFactory, Password

from staterail.accounts.models import Membership, Tenant, User
from staterail.core.actor import Actor, Role


class TenantFactory(DjangoModelFactory):
    class Meta:
        model = Tenant

    slug = factory.Sequence("tenant-{}".format)
    name = factory.SelfAttribute("slug")


class UserFactory(DjangoModelFactory):
    """Without a password nobody can sign in as this person."""

    class Meta:
        model = User

    username = factory.Sequence("user{}".format)
    email = factory.LazyAttribute("{0.username}@example.test".format)
    password = Password(None)


class MembershipFactory(DjangoModelFactory):
    class Meta:
        model = Membership

    tenant = factory.SubFactory(TenantFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.VIEWER


class MemberFactory(UserFactory):
    """A person who belongs to a tenant: `membership__tenant`, `membership__role` say which, and as what."""

    class Meta:
        skip_postgeneration_save = True

    membership = factory.RelatedFactory(MembershipFactory, factory_related_name="user")


class ActorFactory(factory.Factory):
    class Meta:
        model = Actor
        exclude = ("tenant",)

    tenant = factory.SubFactory(TenantFactory)
    tenant_id = factory.SelfAttribute("tenant.id")
    role = Role.ADMIN
    name = "someone"
