"""manage.py run SLUG: start a run, and follow it."""

import json
import os
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from runs.follow import follow as follow_run
from runs.follow.shown import clean
from runs.models import WorkflowRun
from runs.services import start_run
from staterail.accounts.cli import tenant_named
from staterail.core.actor import Actor, Role
from staterail.core.cli import did_you_mean, manage_py
from staterail.core.errors import NotFound, StateRailError
from staterail.management.given import json_given, no_server, told
from workflows.selectors import workflow_of, workflows

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
                f"  {manage_py()} run hello-staterail --follow\n"
                f'  {manage_py()} run hello-staterail --input \'{{"sku": "bread", "qty": 2}}\' --follow\n'
                f"  {manage_py()} run nightly-report --input @report.json\n\n"
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
                self._follow(run_id, tenant)
            except KeyboardInterrupt:
                self.stderr.write(f"\nNot followed any more; the run goes on: {run_id}")
                raise SystemExit(UNFOLLOWED) from None
            except BrokenPipeError:  # `… | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise SystemExit(UNFOLLOWED) from None
        elif remark := no_server():
            self.stderr.write(remark)

    def _start(self, slug: str, input: str, tenant: str) -> UUID:
        actor = Actor(tenant_named(tenant).id, Role.OPERATOR, "command line")
        try:
            workflow = workflow_of(actor, slug)
        except NotFound:
            known = workflows(actor).values_list("slug", flat=True)
            raise CommandError(f"There is no workflow {slug!r}.{did_you_mean(slug, known)}") from None
        try:
            started = start_run(actor=actor, workflow=workflow, input=json_given("--input", input), trigger="cli")
        except StateRailError as error:
            raise CommandError(told(error)) from None
        return started.run_id

    def _follow(self, run_id: UUID, tenant: str) -> None:
        def approves(run_id: UUID, step_id: str) -> str:
            its_tenant = "" if tenant == "default" else f" --tenant {tenant}"
            return f"{manage_py()} approve {run_id} {step_id}{its_tenant}"

        console = _Console(file=self.stdout._out)  # type: ignore[arg-type] # OutputWrapper's stream
        status = follow_run(run_id, console, _no_server(), approves)
        run = WorkflowRun.objects.only("output", "error").get(id=run_id)
        if run.error:
            why = f"{run.error.get('step_id') or 'run'}: {run.error.get('code')}: {run.error.get('message')}"
            self.stderr.write(clean(why, 2_000))
        elif run.output is not None:
            self.stdout.write(json.dumps(run.output, indent=2, ensure_ascii=False))
        if status:
            raise SystemExit(status)


def _no_server(every: float = 1.0) -> Callable[[], str]:
    """A remark while nobody moves the run; who looks often is answered from memory."""
    looked, remark = 0.0, ""

    def hint() -> str:
        nonlocal looked, remark
        if time.monotonic() - looked >= every:
            looked, remark = time.monotonic(), no_server()
        return remark

    return hint
