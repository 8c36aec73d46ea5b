"""What `manage.py check --deploy` asks of a server's settings. Embedded mode makes its own keys, and needs no Redis."""

import os
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

MAKE_ONE = "Make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
SHORTEST = 32


@register(Tags.security, deploy=True)
def server_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [] if settings.EMBEDDED else list(_missing())


def _missing() -> Iterator[CheckMessage]:
    if not os.environ.get("SECRET_KEY"):  # Django raises where the setting itself is read empty
        yield Error("SECRET_KEY is not set: nobody can sign in.", hint=MAKE_ONE, id="staterail.E001")
    keys = [key.strip() for key in settings.STATERAIL_SECRET_KEYS.split(",") if key.strip()]
    if not keys:
        yield Error("STATERAIL_SECRET_KEYS is not set: no secret can be stored.", hint=MAKE_ONE, id="staterail.E002")
    elif len(keys[0]) < SHORTEST:
        said = f"The first of STATERAIL_SECRET_KEYS has less than {SHORTEST} characters: it may be guessed."
        yield Warning(said, hint=f"{MAKE_ONE} and put it before the others.", id="staterail.W002")
    if not settings.REDIS_URL:
        hint = "Give the address of a Redis, as redis://host:6379/0."
        yield Error("REDIS_URL is not set: workers cannot be reached.", hint=hint, id="staterail.E003")
