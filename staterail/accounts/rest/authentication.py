"""Who calls over REST: an API token, or a session with its CSRF token."""

from typing import Any

from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from staterail.accounts import throttle
from staterail.accounts.models import Tenant
from staterail.accounts.services import actor_of_user
from staterail.accounts.tokens import actor_of_token
from staterail.core.actor import Actor
from staterail.core.errors import Forbidden, Unauthenticated
from staterail.core.ids import uuid_or_none

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_TOKEN = 200  # characters
TENANT = "X-StateRail-Tenant"  # its slug: where a person acts who belongs to several


class _Csrf(CsrfViewMiddleware):
    def _reject(self, request: Any, reason: str) -> str:
        return reason


class TokenOrSession(BaseAuthentication):
    """`request.user` is the Actor."""

    def authenticate(self, request: Request) -> tuple[Actor, str] | None:
        header = request.headers.get("Authorization")
        if header is not None:
            actor = _by_token(header, request.META.get("REMOTE_ADDR", ""))
        else:
            found = self._by_session(request)
            if found is None:
                return None
            actor = found
        if self._is_elsewhere(request, actor):
            raise Forbidden("You act in another tenant.")
        if request.method not in SAFE:
            throttle.writes.take(actor.ref)
        return actor, "token" if actor.token_id else "session"

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"

    def _by_session(self, request: Request) -> Actor | None:
        plain = request._request
        user = getattr(plain, "user", None)
        if user is None or not user.is_authenticated or not user.is_active:
            return None
        check = _Csrf(lambda _: None)  # type: ignore[arg-type]
        check.process_request(plain)
        if check.process_view(plain, lambda *_: HttpResponse(), (), {}):
            raise Forbidden("The request has no valid CSRF token.")
        actor = actor_of_user(user, plain.session.get("tenant_id"), request.headers.get(TENANT))
        if actor is None:
            raise Forbidden("You belong to no tenant yet.")
        return actor

    def _is_elsewhere(self, request: Request, actor: Actor) -> bool:
        """A tenant that a caller names is never trusted: it is the actor's, or the call is refused."""
        id, slug = request.headers.get("X-Tenant-Id"), request.headers.get(TENANT)
        if id is not None and uuid_or_none(id) != actor.tenant_id:
            return True
        return slug is not None and not Tenant.objects.filter(id=actor.tenant_id, slug=slug).exists()


def _by_token(header: str, address: str) -> Actor:
    scheme, _, token = header.partition(" ")
    well_formed = scheme.lower() == "bearer" and len(token) <= MAX_TOKEN
    actor = actor_of_token(token.strip() if well_formed else "")  # the same work, and time, for whatever is wrong
    if actor is None:
        throttle.tokens.check(address)
        throttle.tokens.add(address)
        raise Unauthenticated
    return actor


def require_caller(request: Any) -> None:
    """Raise Unauthenticated or RateLimited unless a token or session comes with it that we know.

    For what is decided before the request is read: what they may do, and whether from here, is judged later.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        _by_token(header, request.META.get("REMOTE_ADDR", ""))
        return
    SessionMiddleware(lambda _: None).process_request(request)  # type: ignore[arg-type]
    if not get_user(request).is_authenticated:
        raise Unauthenticated


class HasActor(BasePermission):
    """Every view needs a caller; what they may do is the services' to judge."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.user, Actor):
            raise Unauthenticated
        return True
