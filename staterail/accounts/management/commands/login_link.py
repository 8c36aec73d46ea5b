"""manage.py login_link: print a link that logs somebody in once."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from staterail.accounts.models import User
from staterail.accounts.services import login_path


class Command(BaseCommand):
    help = "Print a one-time login link for a user."
    requires_system_checks: list[str] = []  # it would double the time that the command takes

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", nargs="?", default="admin")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {username!r}.")
        self.stdout.write(f"http://localhost:{settings.STATERAIL_PORT}{login_path(user)}")
