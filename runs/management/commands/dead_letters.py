"""manage.py dead_letters: list, retry, dismiss."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from runs import dead_letters
from runs.services import retry_step
from staterail.accounts.cli import tenant_named
from staterail.core.actor import Actor, Role
from staterail.core.errors import StateRailError
from staterail.core.ids import uuid_or_none


class Command(BaseCommand):
    help = "Steps that killed every worker that tried them. `list` shows them; `retry` and `dismiss` take RUN STEP."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["list", "retry", "dismiss"])
        parser.add_argument("run", nargs="?", help="the run's id")
        parser.add_argument("step", nargs="?", help="the step's id")
        parser.add_argument("--tenant", default="default", help="its slug (default: %(default)s)")

    def handle(self, *args: Any, action: str, run: str | None, step: str | None, tenant: str, **options: Any) -> None:
        actor = Actor(tenant_named(tenant).id, Role.OPERATOR, "command line")
        if action == "list":
            self._list(actor)
            return
        run_id = uuid_or_none(run or "")
        if run_id is None or step is None:
            raise CommandError(f"{action} takes the ids of a run and of its step: see `dead_letters list`.")
        try:
            self._act(actor, action, run_id, step)
        except StateRailError as error:
            raise CommandError(error.message) from None
        self.stdout.write("done")

    def _act(self, actor: Actor, action: str, run_id: UUID, step_id: str) -> None:
        if action == "retry":
            retry_step(actor=actor, run_id=run_id, step_id=step_id)
        else:
            dead_letters.dismiss_dead_letter(actor=actor, run_id=run_id, step_id=step_id)

    def _list(self, actor: Actor) -> None:
        letters = dead_letters.dead_letters(actor)
        for step in letters:
            when = f"{step.completed_at:%Y-%m-%d %H:%M}" if step.completed_at else ""
            self.stdout.write(f"{step.run_id}  {step.step_id:<24} {step.run.workflow.slug:<24} {when}")
        if not letters:
            self.stdout.write("There are no dead letters.")
