"""A command that comes twice under one key is carried out once, and answered twice alike.

The answer is kept for 24 hours, written in the command's own transaction after its effect. Runs
keep the key of their start themselves, for ever.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from staterail.accounts.models import IdempotencyRecord
from staterail.core.actor import Actor
from staterail.core.errors import Conflict, IdempotencyConflict, ValidationFailed

JSON = Any
KEPT = timedelta(hours=24)
KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_under_way: set[str] = set()  # in this process
_lock = threading.Lock()


def read_key(request: Request) -> str | None:
    """The header `Idempotency-Key`. Raises ValidationFailed unless it is 1 to 255 printable ASCII characters."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and KEY.fullmatch(key) is None:
        raise ValidationFailed("Idempotency-Key is 1 to 255 printable ASCII characters.")
    return key


def request_hash(actor: Actor, path: str, body: JSON) -> str:
    """SHA-256 (hex) of who asks for what, however its JSON is written."""
    text = json.dumps([actor.ref, path, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def once(
    actor: Actor, operation: str, key: str, request_hash: str, run: Callable[[], tuple[int, JSON]]
) -> tuple[int, JSON, bool]:
    """Carry out `run` unless this key had it carried out: (status, body, whether it is a repeat).

    What raises keeps nothing: the key stays free. Raises IdempotencyConflict for another hash, and
    Conflict while the first call is under way.
    """
    with _alone(f"{actor.tenant_id}:{operation}:{key}"):
        known = IdempotencyRecord.objects.filter(tenant_id=actor.tenant_id, operation=operation, key=key).first()
        if known is not None and known.created_at >= datetime.now(UTC) - KEPT:
            if known.request_hash != request_hash:
                raise IdempotencyConflict("This idempotency key has been used with another body, or by another caller.")
            return known.status, known.response, True
        status, body = run()
        plain = json.loads(json.dumps(body, cls=JSONEncoder))
        if known is not None:
            known.delete()
        IdempotencyRecord.objects.create(
            tenant_id=actor.tenant_id, operation=operation, key=key, request_hash=request_hash, status=status,
            response=plain,
        )  # fmt: skip
    return status, plain, False


def expired(now: datetime) -> QuerySet[IdempotencyRecord]:
    """Answers that nobody gets any more."""
    return IdempotencyRecord.objects.filter(created_at__lt=now - KEPT)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """A transaction that no other call with this key is in."""
    with _lock:
        if name in _under_way:
            raise _busy()
        _under_way.add(name)
    try:
        with transaction.atomic():
            if connection.vendor == "postgresql":  # other processes
                number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
                    if not cursor.fetchone()[0]:
                        raise _busy()
            yield
    finally:
        with _lock:
            _under_way.discard(name)


def _busy() -> Conflict:
    return Conflict("The first call with this idempotency key is still under way.", retry_after=1)
