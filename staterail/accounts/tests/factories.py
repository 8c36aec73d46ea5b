"""Rows for the tests of accounts."""

from itertools import count

from staterail.accounts.models import Membership, Tenant, User
from staterail.core.actor import Actor, Role

_numbers = count(1)


def tenant(slug: str = "") -> Tenant:
    slug = slug or f"tenant-{next(_numbers)}"
    return Tenant.objects.create(slug=slug, name=slug)


def member(of: Tenant, role: Role = Role.VIEWER, password: str | None = None) -> User:
    user = User.objects.create_user(f"user{next(_numbers)}", password=password)
    Membership.objects.create(tenant=of, user=user, role=role)
    return user


def actor(of: Tenant, role: Role = Role.ADMIN) -> Actor:
    return Actor(of.id, role, "someone")
