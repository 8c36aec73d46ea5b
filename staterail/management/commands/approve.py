"""manage.py approve RUN STEP: decide an approval."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from runs.selectors import run_of
from runs.services import decide_approval
from staterail.accounts.cli import tenant_named
from staterail.core.actor import Actor, Role
from staterail.core.errors import NotFound, StateRailError
from staterail.core.strict_json import problem_in
from staterail.management.given import json_given, no_server, told


class Command(BaseCommand):
    help = "Approve a step that waits for a person, or reject it. Acts as `command line`, with the role admin."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", help="the run's id")
        parser.add_argument("step", help="the step's id")
        parser.add_argument("--reject", action="store_true", help="reject it: the step fails")
        parser.add_argument("--comment", metavar="TEXT", help="what people read beside the decision")
        parser.add_argument("--data", metavar="JSON|@FILE", help="what the form asks for")
        parser.add_argument("--tenant", default="default", help="slug of the tenant (default: %(default)s)")

    def handle(
        self, *args: Any, run: str, step: str, reject: bool, comment: str | None, data: str | None, tenant: str,
        **options: Any,
    ) -> None:  # fmt: skip
        actor = Actor(tenant_named(tenant).id, Role.ADMIN, "command line")
        if comment is not None and (problem := problem_in(comment)):
            raise CommandError(f"--comment: {problem}")
        value = None if data is None else json_given("--data", data)
        action = "reject" if reject else "approve"
        try:
            its_id = run_of(actor, run).id
        except NotFound:
            raise CommandError(f"There is no run {run!r} in the tenant {tenant!r}.") from None
        try:
            decide_approval(actor=actor, run_id=its_id, step_id=step, action=action, comment=comment, data=value)
        except StateRailError as error:
            raise CommandError(told(error)) from None
        self.stdout.write("rejected" if reject else "approved")
        if remark := no_server():
            self.stderr.write(remark)
