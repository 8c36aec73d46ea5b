"""API tokens: `srt_<8>_<43>`, shown once; only a prefix and a SHA-256 are kept."""

import hashlib
import hmac
import re
import secrets
import string
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from staterail.accounts.models import ApiToken, Membership, Tenant, User
from staterail.core.actor import Actor, Role

ALPHABET = string.ascii_letters + string.digits
PREFIX_LENGTH = 8
SHAPE = re.compile(r"^srt_([A-Za-z0-9]{8})_[A-Za-z0-9_-]{43}$")
DEFAULT_LIFE, LONGEST_LIFE = timedelta(days=90), timedelta(days=365)
CACHE_SECONDS = 3.0  # that a revoked token may still be let in
CACHED = 1000

_cache: dict[str, tuple[float, Actor]] = {}


def create_token(
    *, tenant: Tenant, name: str, role: Role, owner: User | None = None, expires_in: timedelta = DEFAULT_LIFE
) -> str:
    """The new token, in clear: it is never shown again."""
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH))
    token = f"srt_{prefix}_{secrets.token_urlsafe(32)}"
    ApiToken.objects.create(
        tenant=tenant, user=owner, name=name[:200], prefix=prefix, digest=_digest(token), role=role,
        expires_at=datetime.now(UTC) + min(expires_in, LONGEST_LIFE),
    )  # fmt: skip
    return token


def actor_of_token(text: str) -> Actor | None:
    """Who this token acts for, or None: unknown, wrong, expired and revoked look alike.

    The answer is kept for some seconds, so that a client's burst costs one query.
    """
    digest = _digest(text)
    known = _cache.get(digest)
    if known is not None and known[0] > time.monotonic():
        return known[1]
    actor = _actor_of(text, digest)
    if actor is not None:
        if len(_cache) > CACHED:
            _cache.clear()
        _cache[digest] = (time.monotonic() + CACHE_SECONDS, actor)
    return actor


def forget_cached() -> None:
    """After a change of tokens or roles in this process."""
    _cache.clear()


def _actor_of(text: str, digest: str) -> Actor | None:
    shape = SHAPE.match(text)
    token = ApiToken.objects.filter(prefix=shape.group(1) if shape else "-").select_related("user").first()
    same = hmac.compare_digest(token.digest if token is not None else "0" * 64, digest)
    now = datetime.now(UTC)
    if token is None or not same or token.revoked_at is not None or token.expires_at <= now:
        return None
    role = _lower(token)
    if role is None:
        return None
    if token.last_used_at is None or token.last_used_at < now - timedelta(minutes=1):
        ApiToken.objects.filter(id=token.id).update(last_used_at=now)
    return Actor(token.tenant_id, role, token.name, user_id=token.user_id, token_id=token.id)


def _lower(token: ApiToken) -> Role | None:
    """A token may what both its role and its owner's may."""
    role = Role(token.role)
    if token.user is None:
        return role
    if not token.user.is_active:
        return None
    member = Membership.objects.filter(tenant_id=token.tenant_id, user=token.user).first()
    return min(role, Role(member.role), key=lambda known: known.rank) if member is not None else None


def revoke_token(token_id: UUID) -> None:
    ApiToken.objects.filter(id=token_id, revoked_at=None).update(revoked_at=datetime.now(UTC))
    forget_cached()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
