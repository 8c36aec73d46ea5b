"""How a door carries out a command: read the idempotency key, call the service, keep the answer."""

from collections.abc import Callable
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from staterail.accounts.idempotency import body_hash, once, read_key
from staterail.core.actor import Actor
from staterail.core.errors import NotFound

JSON = Any


def actor_of(request: Request) -> Actor:
    """Who calls; the permission class let nobody else in."""
    actor = request.user
    if not isinstance(actor, Actor):
        raise NotFound
    return actor


def carry_out(request: Request, operation: str, run: Callable[[], JSON], *, status: int = 200) -> Response:
    """The answer of `run`; a repeat of the same key and body gets the first one again."""
    key = read_key(request)
    if key is None:
        return Response(run(), status=status)
    wanted = body_hash(request.data, request.path)
    code, body, replayed = once(actor_of(request), operation, key, wanted, lambda: (status, run()))
    return Response(body, status=code, headers={"Idempotency-Replayed": "true"} if replayed else None)
