"""How a door carries out a command: read the idempotency key, call the service, keep the answer."""

from collections.abc import Callable
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from staterail.accounts.idempotency import once, read_key, request_hash
from staterail.core.actor import Actor
from staterail.core.errors import NotFound
from staterail.core.permissions import require

JSON = Any


def actor_of(request: Request) -> Actor:
    """Who calls; the permission class let nobody else in."""
    actor = request.user
    if not isinstance(actor, Actor):
        raise NotFound
    return actor


def carry_out(
    request: Request, operation: str, run: Callable[[], JSON], *, permission: str, on: Any = None, status: int = 200
) -> Response:
    """The answer of `run`; a repeat of the same key, caller and body gets the first one again.

    The service asks for the `permission` too, but a repeat does not come that far. Raises Forbidden.
    """
    actor, key = actor_of(request), read_key(request)
    if key is None:
        return Response(run(), status=status)
    require(actor, permission, on)
    wanted = request_hash(actor, request.path, request.data)
    code, body, replayed = once(actor, operation, key, wanted, lambda: (status, run()))
    return Response(body, status=code, headers={"Idempotency-Replayed": "true"} if replayed else None)
