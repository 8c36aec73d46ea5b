"""manage.py deploy FILE…: create or update workflows and publish them."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from staterail.accounts.cli import tenant_named
from staterail.core.actor import Actor, Role
from staterail.core.errors import StateRailError
from workflows.files import BadFile, lines_of, read_definition, slug_of
from workflows.services import deploy, problems_of


class Command(BaseCommand):
    help = "Create or update workflows from YAML or JSON files and publish them: all of the files, or none."
    requires_system_checks: list[str] = []  # it would double the time that the command takes

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "files", nargs="+", type=Path, metavar="FILE", help="one definition each; its name is the slug"
        )
        parser.add_argument("--tenant", default="default", help="slug of the tenant (default: %(default)s)")
        parser.add_argument("--name", help="what people read; for a single file (default: from the slug)")
        parser.add_argument("--slug", help="for a single file (default: the file's name)")

    def handle(
        self, *args: Any, files: list[Path], tenant: str, name: str | None, slug: str | None, **options: Any
    ) -> None:
        if len(files) > 1 and (name or slug):
            raise CommandError("--name and --slug go with a single file.")
        try:
            slugs = [slug_of(path, slug) for path in files]
        except BadFile as error:
            raise CommandError(str(error)) from None
        for n, (path, its_slug) in enumerate(zip(files, slugs, strict=True)):
            if its_slug in slugs[:n]:
                raise CommandError(f"{path}: {files[slugs.index(its_slug)]} is called {its_slug} too.")
        told = []
        with transaction.atomic():
            actor = Actor(tenant_named(tenant).id, Role.ADMIN, "deploy")
            for path, its_slug in zip(files, slugs, strict=True):
                told.append(self._deploy(actor, path, its_slug, name or its_slug.replace("-", " ").capitalize()))
        for line in told:
            self.stdout.write(line)

    def _deploy(self, actor: Actor, path: Path, slug: str, name: str) -> str:
        try:
            version, changed = deploy(actor=actor, slug=slug, name=name, definition=read_definition(path))
        except BadFile as error:
            raise CommandError(str(error)) from None
        except StateRailError as error:
            raise CommandError("\n".join([f"{path}: {error.message}", *lines_of(error.problems)])) from None
        said = f"{slug}: version {version.version} {'published' if changed else 'is unchanged'}"
        return "\n".join([said, *lines_of(problems_of(version.definition))])  # warnings: errors would have refused it
