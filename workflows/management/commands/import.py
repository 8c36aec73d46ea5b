"""manage.py import wfformat FILE: a recorded scientific workflow becomes one of ours."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from staterail.accounts.cli import tenant_named
from staterail.core.actor import Actor, Role
from staterail.core.cli import manage_py
from staterail.core.errors import StateRailError
from workflows.files import BadFile, lines_of, read_json, slug_of
from workflows.services import deploy
from workflows.wfformat import WfFormatError, critical_path_seconds, definition_of


class Command(BaseCommand):
    help = "Import a workflow from another format and publish it."
    requires_system_checks: list[str] = []  # it would double the time that the command takes

    def add_arguments(self, parser: ArgumentParser) -> None:
        formats = parser.add_subparsers(dest="format", required=True)
        wf = formats.add_parser("wfformat", help="a WfFormat instance: tasks that sleep their measured runtime")
        wf.add_argument("file", type=Path)
        wf.add_argument("--scale", type=float, default=1.0, help="factor on the runtimes (default: %(default)s)")
        wf.add_argument("--slug", help="default: the file's name")
        wf.add_argument("--tenant", default="default", help="slug of the tenant (default: %(default)s)")

    def handle(self, *args: Any, file: Path, scale: float, slug: str | None, tenant: str, **options: Any) -> None:
        if not 0 <= scale <= 1000:
            raise CommandError("--scale is between 0 and 1000.")
        try:
            chosen = slug_of(file, slug)
            definition = definition_of(read_json(file), scale=scale)
        except BadFile as error:
            raise CommandError(str(error)) from None
        except WfFormatError as error:
            raise CommandError(f"{file}: {error}") from None
        try:
            with transaction.atomic():
                actor = Actor(tenant_named(tenant).id, Role.ADMIN, "import")
                version, changed = deploy(actor=actor, slug=chosen, name=file.stem[:200], definition=definition)
        except StateRailError as error:
            raise CommandError("\n".join([f"{file}: {error.message}", *lines_of(error.problems)])) from None
        done = "published" if changed else "is unchanged"
        counts = f"{len(definition['steps'])} steps, {len(definition['transitions'])} transitions"
        path = critical_path_seconds(definition)
        its_tenant = "" if tenant == "default" else f" --tenant {tenant}"
        self.stdout.write(f"{chosen}: version {version.version} {done} ({counts}, critical path {path:.1f} s)")
        self.stdout.write(f"Run it: {manage_py()} run {chosen}{its_tenant} --follow")
