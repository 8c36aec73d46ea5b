"""Tenants, members, and how the first person comes in."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils.http import base36_to_int, urlsafe_base64_decode, urlsafe_base64_encode

from staterail.accounts.models import Membership, Tenant, User
from staterail.core.actor import Actor, Role
from staterail.core.errors import ValidationFailed

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
LINK_LIFE = timedelta(hours=24)


class OneTimeLogin(PasswordResetTokenGenerator):
    """A signed link that the login it allows makes invalid: it is made of the user's last login."""

    key_salt = "staterail.accounts.OneTimeLogin"

    def check_token(self, user: Any, token: str | None) -> bool:
        """As Django's, but within LINK_LIFE: a link that logs in lives shorter than a reset mail."""
        if not token or not super().check_token(user, token):
            return False
        made_at = base36_to_int(token.partition("-")[0])
        return self._num_seconds(self._now()) - made_at <= LINK_LIFE.total_seconds()

    def _make_hash_value(self, user: Any, timestamp: int) -> str:
        # Django cuts the login to seconds: a link made and used within the second of a login would stay valid
        return f"{super()._make_hash_value(user, timestamp)}{user.last_login}"


def tenant_by_name_or_new(slug: str) -> Tenant:
    """Raises ValidationFailed for what is no slug."""
    if SLUG.fullmatch(slug) is None:
        raise ValidationFailed(f"{slug!r} is no tenant: small letters, digits and hyphens, 63 at most.")
    tenant, _ = Tenant.objects.get_or_create(slug=slug, defaults={"name": slug.replace("-", " ").capitalize()})
    return tenant


def first_run_setup() -> str | None:
    """Where nobody can log in yet, make the tenant `default` and its administrator: the path of a one-time login."""
    with transaction.atomic():
        tenant_by_name_or_new("default")
        without_password = Q(password__startswith=UNUSABLE_PASSWORD_PREFIX)
        if User.objects.filter(~without_password | Q(last_login__isnull=False)).exists():
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
    """The path of a link that logs `user` in once, within 24 hours."""
    uid = urlsafe_base64_encode(str(user.pk).encode())
    return reverse("login-once", args=[uid, OneTimeLogin().make_token(user)])


def user_of_link(uid: str, token: str, *, lock: bool = False) -> User | None:
    """Whom the link logs in, or None where it has been used, is too old or wrong.

    With `lock`, in a transaction: of two uses at once the second waits, and finds the link used.
    """
    users = User.objects.select_for_update() if lock else User.objects
    try:
        user = users.filter(pk=UUID(urlsafe_base64_decode(uid).decode()), is_active=True).first()
    except (ValueError, UnicodeError):
        return None
    return user if user is not None and OneTimeLogin().check_token(user, token) else None


def actor_of_user(user: User | Any, tenant_id: str | None = None, slug: str | None = None) -> Actor | None:
    """A signed-in person in the tenant of this slug, else the chosen one, else their first; None without any."""
    members = Membership.objects.filter(user_id=user.pk, user__is_active=True).order_by("created_at", "id")
    member = members.filter(tenant__slug=slug).first() if slug is not None else None
    if member is None and tenant_id is not None:
        member = members.filter(tenant_id=tenant_id).first()
    member = member or members.first()
    if member is None:
        return None
    return Actor(member.tenant_id, Role(member.role), user.get_username(), user_id=user.pk)
