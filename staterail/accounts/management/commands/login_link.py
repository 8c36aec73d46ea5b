"""manage.py login_link: print a link that logs somebody in once."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from staterail.accounts.models import User
from staterail.accounts.services import first_run_setup, login_path


class Command(BaseCommand):
    help = (
        "Print a one-time login link for a user. Where nobody can log in yet, the administrator `admin` is made first."
    )
    requires_system_checks: list[str] = []  # it would double the time that the command takes

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", nargs="?", default="admin")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        path = first_run_setup() if username == "admin" else None
        if path is None:
            user = User.objects.filter(username=username, is_active=True).first()
            if user is None:
                raise CommandError(f"There is no active user {username!r}.")
            path = login_path(user)
        self.stdout.write(f"{_address()}{path}")


def _address() -> str:
    """Where people reach this installation, as far as it knows."""
    if settings.EMBEDDED:
        return f"http://localhost:{settings.STATERAIL_PORT}"
    return f"{'https' if settings.SECURE else 'http'}://{settings.ALLOWED_HOSTS[0]}"
