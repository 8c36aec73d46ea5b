"""Who calls over REST: an API token, or a session with its CSRF token."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from staterail.accounts import throttle
from staterail.accounts.services import actor_of_user
from staterail.accounts.tokens import actor_of_token
from staterail.core.actor import Actor
from staterail.core.errors import Forbidden, Unauthenticated

MAX_TOKEN = 200  # characters


class _Csrf(CsrfViewMiddleware):
    def _reject(self, request: Any, reason: str) -> str:
        return reason


class TokenOrSession(BaseAuthentication):
    """`request.user` is the Actor."""

    def authenticate(self, request: Request) -> tuple[Actor, str] | None:
        header = request.headers.get("Authorization")
        if header is not None:
            actor = self._by_token(request, header)
        else:
            found = self._by_session(request)
            if found is None:
                return None
            actor = found
        self._check_tenant(request, actor)
        return actor, "token" if actor.token_id else "session"

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"

    def _by_token(self, request: Request, header: str) -> Actor:
        scheme, _, token = header.partition(" ")
        address = request.META.get("REMOTE_ADDR", "")
        well_formed = scheme.lower() == "bearer" and len(token) <= MAX_TOKEN
        actor = actor_of_token(token.strip() if well_formed else "")  # the same work, and time, for whatever is wrong
        if actor is None:
            throttle.tokens.check(address)
            throttle.tokens.add(address)
            raise Unauthenticated
        return actor

    def _by_session(self, request: Request) -> Actor | None:
        plain = request._request
        user = getattr(plain, "user", None)
        if user is None or not user.is_authenticated or not user.is_active:
            return None
        check = _Csrf(lambda _: None)  # type: ignore[arg-type]
        check.process_request(plain)
        if check.process_view(plain, lambda *_: HttpResponse(), (), {}):
            raise Forbidden("The request has no valid CSRF token.")
        actor = actor_of_user(user, plain.session.get("tenant_id"))
        if actor is None:
            raise Forbidden("You belong to no tenant yet.")
        return actor

    def _check_tenant(self, request: Request, actor: Actor) -> None:
        """A tenant that a caller names is never trusted: it is the actor's, or refused."""
        named = request.headers.get("X-Tenant-Id")
        if named is None:
            return
        try:
            same = UUID(named) == actor.tenant_id
        except ValueError:
            same = False
        if not same:
            raise Forbidden("You act in another tenant.")


class HasActor(BasePermission):
    """Every view needs a caller; what they may do is the services' to judge."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.user, Actor):
            raise Unauthenticated
        return True
