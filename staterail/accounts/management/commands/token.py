"""manage.py token: make an API token and print it, and only it."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from staterail.accounts.cli import OURS, tenant_like
from staterail.accounts.models import Tenant
from staterail.accounts.services import tenant_by_name_or_new
from staterail.accounts.tokens import create_token
from staterail.core.actor import Role
from staterail.core.errors import ValidationFailed


class Command(BaseCommand):
    help = "Make an API token. Prints the token only: it is shown this once. The tenant is made where it is new."
    requires_system_checks: list[str] = []  # it would double the time that the command takes

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", required=True, help="what people see as the actor")
        parser.add_argument("--role", required=True, choices=[str(role) for role in Role])
        parser.add_argument("--tenant", default="default", help="its slug (default: %(default)s)")
        parser.add_argument(
            "--expires",
            "--days",
            dest="days",
            metavar="DAYS",
            type=int,
            default=90,
            help="1 to 365 (default: %(default)s)",
        )

    def handle(self, *args: Any, name: str, role: str, tenant: str, days: int, **options: Any) -> None:
        if not 1 <= days <= 365:
            raise CommandError("--expires is between 1 and 365 days.")
        if not name.strip() or len(name) > 200:
            raise CommandError("--name has 1 to 200 characters.")
        is_new = tenant != OURS and not Tenant.objects.filter(slug=tenant).exists()
        try:
            found = tenant_by_name_or_new(tenant)
        except ValidationFailed as error:
            raise CommandError(error.message) from None
        if is_new:
            self.stderr.write(f"The tenant {tenant!r} was not there: it has been made.{tenant_like(tenant)}")
        self.stdout.write(create_token(tenant=found, name=name, role=Role(role), expires_in=timedelta(days=days)))
