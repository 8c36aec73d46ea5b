"""Tenants, members, and how the first person comes in."""

import re
from typing import Any
from uuid import UUID

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.urls import reverse
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from staterail.accounts.models import Membership, Tenant, User
from staterail.core.actor import Actor, Role
from staterail.core.errors import ValidationFailed

SLUG = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")


class OneTimeLogin(PasswordResetTokenGenerator):
    """A signed link that the login it allows makes invalid: it is made of the user's last login."""

    key_salt = "staterail.accounts.OneTimeLogin"


def tenant_by_name_or_new(slug: str) -> Tenant:
    """Raises ValidationFailed for what is no slug."""
    if not SLUG.match(slug):
        raise ValidationFailed(f"{slug!r} is no tenant: small letters, digits and hyphens, 63 at most.")
    tenant, _ = Tenant.objects.get_or_create(slug=slug, defaults={"name": slug.replace("-", " ").capitalize()})
    return tenant


def first_run_setup() -> str | None:
    """Where nobody can log in yet, make the tenant `default` and its administrator: the path of a one-time login."""
    with transaction.atomic():
        tenant_by_name_or_new("default")
        if User.objects.exclude(password__startswith="!").exists() or User.objects.filter(last_login__isnull=False).exists():
            return None
        user = User.objects.filter(username="admin").first() or make_admin("admin")
    return login_path(user)


def make_admin(username: str) -> User:
    """An administrator of the tenant `default`, without a password yet."""
    user = User(username=username, is_staff=True, is_superuser=True)
    user.set_unusable_password()
    user.save()
    Membership.objects.create(tenant=tenant_by_name_or_new("default"), user=user, role=Role.ADMIN)
    return user


def login_path(user: User) -> str:
    """The path of a link that logs `user` in once, within three days."""
    uid = urlsafe_base64_encode(str(user.pk).encode())
    return reverse("login-once", args=[uid, OneTimeLogin().make_token(user)])


def user_of_link(uid: str, token: str) -> User | None:
    """Whom the link logs in, or None where it has been used, is too old or wrong."""
    try:
        user = User.objects.filter(pk=UUID(urlsafe_base64_decode(uid).decode()), is_active=True).first()
    except (ValueError, UnicodeError):
        return None
    return user if user is not None and OneTimeLogin().check_token(user, token) else None


def actor_of_user(user: User | Any, tenant_id: str | None = None) -> Actor | None:
    """A signed-in person in the chosen tenant, else in their first; None for one who belongs to none."""
    members = Membership.objects.filter(user_id=user.pk, user__is_active=True).order_by("created_at", "id")
    member = members.filter(tenant_id=tenant_id).first() if tenant_id is not None else None
    member = member or members.first()
    if member is None:
        return None
    return Actor(member.tenant_id, Role(member.role), user.get_username(), user_id=user.pk)
