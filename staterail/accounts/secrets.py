"""Values that steps may use and nobody may read."""

import logging
import re
from collections.abc import Iterable
from uuid import UUID

from django.db import IntegrityError, transaction

from staterail.accounts import keyring
from staterail.accounts.models import Secret
from staterail.core.actor import Actor
from staterail.core.errors import ValidationFailed
from staterail.core.permissions import require

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")  # what `${secrets.NAME}` can name
MAX_BYTES = 64 * 1024
logger = logging.getLogger(__name__)


def secret_values(tenant_id: UUID, names: Iterable[str]) -> dict[str, str]:
    """The values of those that exist, one query. What cannot be decrypted is as what does not exist."""
    values = {}
    for secret in Secret.objects.filter(tenant_id=tenant_id, name__in=list(names)):
        try:
            values[secret.name] = keyring.decrypt(secret.key_id, bytes(secret.ciphertext), _aad(secret))
        except keyring.Unreadable as error:
            logger.error("secret %s of tenant %s: %s", secret.name, tenant_id, error)
    return values


def set_secret(*, actor: Actor, name: str, value: str) -> Secret:
    """Store a value under a name, in place of an older one. Raises Forbidden, ValidationFailed."""
    require(actor, "accounts.change_secret")
    if NAME.fullmatch(name) is None:
        raise ValidationFailed("A secret's name has letters, digits and _, 64 at most, and no digit first.")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValidationFailed("A secret is UTF-8 text.") from None
    if not 1 <= size <= MAX_BYTES:
        raise ValidationFailed("A secret has 1 to 65,536 bytes.")
    try:
        return _store(actor, name, value)
    except IntegrityError:  # another call stored the first version just now: there is a row to lock
        return _store(actor, name, value)


def _store(actor: Actor, name: str, value: str) -> Secret:
    with transaction.atomic():
        secret = Secret.objects.select_for_update().filter(tenant_id=actor.tenant_id, name=name).first()
        if secret is None:
            secret = Secret(tenant_id=actor.tenant_id, name=name, version=0)
        secret.version += 1
        secret.updated_by = actor.name[:200]
        secret.key_id, secret.ciphertext = keyring.encrypt(value, _aad(secret))
        secret.save()
    return secret


def rotate_secrets() -> tuple[int, list[str]]:
    """Encrypt anew, under the newest key, what an older one encrypts: how many, and `tenant/NAME` where none reads it.

    Each secret in a transaction of its own, beside a server that uses them.
    """
    old = Secret.objects.exclude(key_id=keyring.newest_key_id())
    rotated, unreadable = 0, []
    for id in list(old.order_by("id").values_list("id", flat=True)):
        with transaction.atomic():
            secret = old.select_for_update(of=("self",)).select_related("tenant").filter(id=id).first()
            if secret is None:  # set anew meanwhile
                continue
            try:
                value = keyring.decrypt(secret.key_id, bytes(secret.ciphertext), _aad(secret))
            except keyring.Unreadable:
                unreadable.append(f"{secret.tenant.slug}/{secret.name}")
                continue
            key_id, ciphertext = keyring.encrypt(value, _aad(secret))
            Secret.objects.filter(id=id).update(key_id=key_id, ciphertext=ciphertext)
            rotated += 1
    return rotated, unreadable


def _aad(secret: Secret) -> bytes:
    return f"{secret.tenant_id}|{secret.name}|{secret.version}".encode()
