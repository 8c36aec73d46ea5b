"""manage.py rotate_secrets: encrypt all secrets anew, under the first key of the ring."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from staterail.accounts.secrets import rotate_secrets


class Command(BaseCommand):
    help = (
        "Encrypt anew, under the first of STATERAIL_SECRET_KEYS, the secrets of all tenants that an older key encrypts."
    )
    requires_system_checks: list[str] = []  # it would double the time that the command takes

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            rotated, unreadable = rotate_secrets()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{rotated} secret{'s'[: rotated != 1]} encrypted anew.")
        if unreadable:
            raise CommandError(f"No key of the ring reads {', '.join(unreadable)}: bring its key back, or set it anew.")
