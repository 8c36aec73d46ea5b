"""A command that comes twice under one key is carried out once, and answered twice alike.

The answer is kept for 24 hours, written in the command's own transaction after its effect. Runs
keep the key of their start themselves, for ever.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from staterail.accounts.models import IdempotencyRecord
from staterail.core.actor import Actor
from staterail.core.errors import IdempotencyConflict, ValidationFailed

JSON = Any
KEPT = timedelta(hours=24)
_KEY = re.compile(r"^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$")


def read_key(request: Request) -> str | None:
    """The header `Idempotency-Key`. Raises ValidationFailed unless it is 1 to 255 printable ASCII characters."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.match(key):
        raise ValidationFailed("Idempotency-Key is 1 to 255 printable ASCII characters.")
    return key


def body_hash(body: JSON, path: str) -> str:
    """SHA-256 (hex) of what is asked for, however its JSON is written."""
    text = json.dumps([path, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def once(
    actor: Actor, operation: str, key: str, request_hash: str, run: Callable[[], tuple[int, JSON]]
) -> tuple[int, JSON, bool]:
    """Carry out `run` unless this key had it carried out: (status, body, whether it is a repeat).

    What raises keeps nothing: the key stays free. Raises IdempotencyConflict for another body.
    """
    with transaction.atomic():
        _take_turns(f"{actor.tenant_id}:{operation}:{key}")
        known = IdempotencyRecord.objects.filter(tenant_id=actor.tenant_id, operation=operation, key=key).first()
        if known is not None and known.created_at > datetime.now(UTC) - KEPT:
            if known.request_hash != request_hash:
                raise IdempotencyConflict
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


def _take_turns(name: str) -> None:
    """Two requests with one key go one after the other. SQLite has one writer at a time in any case."""
    if connection.vendor == "postgresql":
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])
