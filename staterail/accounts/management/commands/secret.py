"""manage.py secret set NAME: store a secret, its value from standard input."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from staterail.accounts.cli import tenant_named
from staterail.accounts.models import Secret
from staterail.accounts.secrets import set_secret
from staterail.core.actor import Actor, Role
from staterail.core.errors import StateRailError


class Command(BaseCommand):
    help = "Store secrets for HttpCall and Task steps. A value is read from standard input and never shown."
    requires_system_checks: list[str] = []  # it would double the time that the command takes

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        setting = actions.add_parser("set", help="store a value: printf %%s VALUE | manage.py secret set NAME")
        setting.add_argument("name")
        listing = actions.add_parser("list", help="print the names")
        for action in (setting, listing):
            action.add_argument("--tenant", default="default", help="its slug (default: %(default)s)")

    def handle(self, *args: Any, action: str, tenant: str, name: str = "", **options: Any) -> None:
        found = tenant_named(tenant)
        if action == "list":
            for known in Secret.objects.filter(tenant=found).order_by("name").values_list("name", flat=True):
                self.stdout.write(known)
            return
        if sys.stdin.isatty():
            self.stderr.write("Type the value, then Ctrl-D:")
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
        try:
            set_secret(actor=Actor(found.id, Role.ADMIN, "command line"), name=name, value=value)
        except StateRailError as error:
            raise CommandError(error.message) from None
        self.stderr.write(f"{name} is stored.")
