"""manage.py run SLUG: start a run, and follow it."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from runs.follow import follow as follow_run
from runs.models import WorkflowRun
from runs.services import start_run
from staterail import single
from staterail.accounts.models import Tenant
from staterail.core.actor import Actor, Role
from staterail.core.errors import StateRailError
from staterail.core.strict_json import StrictJSONError, loads
from workflows.selectors import workflow_of


class Command(BaseCommand):
    help = (
        "Start a run of a workflow. With --follow its steps are shown live until it ends;"
        " exit status 0 completed, 1 failed, 3 cancelled."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="the workflow's slug or id")
        parser.add_argument("--input", default="{}", metavar="JSON|@FILE", help="the run's input (default: {})")
        parser.add_argument("--tenant", default="default", help="slug of the tenant (default: %(default)s)")
        parser.add_argument("--follow", action="store_true", help="show the steps live and wait for the end")

    def handle(self, *args: Any, slug: str, input: str, tenant: str, follow: bool, **options: Any) -> None:
        found = Tenant.objects.filter(slug=tenant).first()
        if found is None:
            raise CommandError(f"There is no tenant {tenant!r}.")
        actor = Actor(found.id, Role.OPERATOR, "command line")
        try:
            workflow = workflow_of(actor, slug)
            started = start_run(actor=actor, workflow=workflow, input=_input(input), trigger="cli")
        except StateRailError as error:
            lines = [f"  {problem['path'] or '/'}: {problem['message']}" for problem in error.problems]
            message = f"There is no workflow {slug!r}." if error.code == "NOT_FOUND" else error.message
            raise CommandError("\n".join([message, *lines])) from None
        self.stdout.write(f"run {started.run_id}")
        hint = _hint()
        if follow:
            self._follow(started.run_id, hint)
        elif hint:
            self.stderr.write(hint)

    def _follow(self, run_id: Any, hint: str) -> None:
        try:
            status = follow_run(
                run_id,
                Console(file=self.stdout._out),  # type: ignore[arg-type] # OutputWrapper's stream
                lambda: hint,
            )
        except KeyboardInterrupt:
            self.stderr.write(f"Not followed any more; the run goes on: {run_id}")
            raise SystemExit(130) from None
        run = WorkflowRun.objects.get(id=run_id)
        if run.error:
            self.stderr.write(
                f"{run.error.get('step_id') or 'run'}: {run.error.get('code')}: {run.error.get('message')}"
            )
        elif run.output is not None:
            self.stdout.write(json.dumps(run.output, indent=2, ensure_ascii=False))
        if status:
            raise SystemExit(status)


def _hint() -> str:
    if settings.EMBEDDED and not single.is_held(Path(settings.STATERAIL_DATA)):
        return "No server is up on this data: the run waits until `manage.py up` is started."
    return ""


def _input(text: str) -> Any:
    try:
        source = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        return loads(source)
    except (OSError, UnicodeError) as error:
        raise CommandError(f"--input: {error}") from None
    except StrictJSONError as error:
        raise CommandError(f"--input: {error.message}") from None
