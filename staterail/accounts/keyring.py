"""Secrets at rest: AES-256-GCM under a ring of keys, the newest first, older ones to read with."""

import hashlib
import os
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

NONCE_BYTES = 12


class Unreadable(Exception):
    """A secret was written with a key that is not on the ring, or has been tampered with."""


def encrypt(plaintext: str, aad: bytes) -> tuple[str, bytes]:
    """(key id, nonce and ciphertext), under the newest key. `aad` binds it to its row.

    Raises ImproperlyConfigured where there is no key.
    """
    key_id, key = _newest()
    nonce = os.urandom(NONCE_BYTES)
    return key_id, nonce + AESGCM(key).encrypt(nonce, plaintext.encode(), aad)


def decrypt(key_id: str, ciphertext: bytes, aad: bytes) -> str:
    """The plaintext. Raises Unreadable for a key that is not on the ring, another row's `aad`, or changed bytes."""
    key = _ring(settings.STATERAIL_SECRET_KEYS).get(key_id)
    if key is None:
        raise Unreadable(f"The key {key_id} is not on the ring (STATERAIL_SECRET_KEYS).")
    data = bytes(ciphertext)
    try:
        return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], aad).decode()
    except InvalidTag:
        raise Unreadable("The ciphertext does not fit its row.") from None


def newest_key_id() -> str:
    """Of the key that encrypts. Raises ImproperlyConfigured where there is none."""
    return _newest()[0]


def _newest() -> tuple[str, bytes]:
    ring = _ring(settings.STATERAIL_SECRET_KEYS)
    if not ring:
        raise ImproperlyConfigured("STATERAIL_SECRET_KEYS is empty: there is no key to store secrets with.")
    return next(iter(ring.items()))


@cache
def _ring(text: str) -> dict[str, bytes]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    keys = [hashlib.sha256(b"staterail.secrets.v1:" + part.encode()).digest() for part in parts]
    return {hashlib.sha256(key).hexdigest()[:16]: key for key in keys}
