"""manage.py run SLUG: start a run, and follow it."""

import json
import os
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from runs.follow import follow as follow_run
from runs.follow.shown import clean
from runs.models import WorkflowRun
from runs.services import start_run
from staterail import single
from staterail.accounts.models import Tenant
from staterail.core.actor import Actor, Role
from staterail.core.errors import StateRailError
from staterail.core.strict_json import StrictJSONError, loads
from workflows.selectors import workflow_of

NO_SERVER = "No server is up on this data: the run waits until `manage.py up` is started."
UNFOLLOWED = 130  # as a shell tells of Ctrl-C


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process here, as failed."""
        raise BrokenPipeError


class Command(BaseCommand):
    help = "Start a run of a workflow, and print its id. With --follow show its steps until it ends, then its output."
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        kwargs |= {
            "formatter_class": RawDescriptionHelpFormatter,
            "epilog": (
                "examples:\n"
                "  manage.py run hello-staterail --follow\n"
                '  manage.py run hello-staterail --input \'{"sku": "bread", "qty": 2}\' --follow\n'
                "  manage.py run nightly-report --input @report.json\n\n"
                "exit status with --follow: 0 completed, 1 failed, 3 cancelled, 130 not followed any more (Ctrl-C;\n"
                "the run goes on); without: 0 started, 1 refused"
            ),
        }
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="the workflow's slug or id")
        parser.add_argument("--input", default="{}", metavar="JSON|@FILE", help="the run's input (default: {})")
        parser.add_argument("--tenant", default="default", help="slug of the tenant (default: %(default)s)")
        parser.add_argument("--follow", action="store_true", help="show the steps live and wait for the end")

    def handle(self, *args: Any, slug: str, input: str, tenant: str, follow: bool, **options: Any) -> None:
        run_id = self._start(slug, input, tenant)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ✔ gets a ?
        self.stdout.write(f"run {run_id}")
        self.stdout.flush()
        if follow:
            try:
                self._follow(run_id)
            except KeyboardInterrupt:
                self.stderr.write(f"\nNot followed any more; the run goes on: {run_id}")
                raise SystemExit(UNFOLLOWED) from None
            except BrokenPipeError:  # `… | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise SystemExit(UNFOLLOWED) from None
        elif not _served():
            self.stderr.write(NO_SERVER)

    def _start(self, slug: str, input: str, tenant: str) -> UUID:
        found = Tenant.objects.filter(slug=tenant).first()
        if found is None:
            raise CommandError(f"There is no tenant {tenant!r}.")
        actor = Actor(found.id, Role.OPERATOR, "command line")
        try:
            return start_run(
                actor=actor, workflow=workflow_of(actor, slug), input=_input(input), trigger="cli"
            ).run_id  # fmt: skip
        except StateRailError as error:
            lines = [f"  {problem['path'] or '/'}: {problem['message']}" for problem in error.problems]
            message = f"There is no workflow {slug!r}." if error.code == "NOT_FOUND" else error.message
            raise CommandError("\n".join([message, *lines])) from None

    def _follow(self, run_id: UUID) -> None:
        console = _Console(file=self.stdout._out)  # type: ignore[arg-type] # OutputWrapper's stream
        status = follow_run(run_id, console, _no_server(), _where)
        run = WorkflowRun.objects.only("output", "error").get(id=run_id)
        if run.error:
            told = f"{run.error.get('step_id') or 'run'}: {run.error.get('code')}: {run.error.get('message')}"
            self.stderr.write(clean(told, 2_000))
        elif run.output is not None:
            self.stdout.write(json.dumps(run.output, indent=2, ensure_ascii=False))
        if status:
            raise SystemExit(status)


def _served() -> bool:
    return not settings.EMBEDDED or single.is_held(Path(settings.STATERAIL_DATA))


def _no_server(every: float = 1.0) -> Callable[[], str]:
    """A remark while nobody moves the run; who looks often is answered from memory."""
    looked, told = 0.0, ""

    def hint() -> str:
        nonlocal looked, told
        if time.monotonic() - looked >= every:
            looked, told = time.monotonic(), "" if _served() else NO_SERVER
        return told

    return hint


def _where(run_id: UUID, step_id: str) -> str:
    return f'POST /api/v1/runs/{run_id}/steps/{step_id}/transition {{"action": "approve"}} (or "reject")'


def _input(text: str) -> Any:
    try:
        source = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        return loads(source)
    except (OSError, UnicodeError) as error:
        raise CommandError(f"--input: {error}") from None
    except StrictJSONError as error:
        raise CommandError(f"--input: {error.message}") from None
