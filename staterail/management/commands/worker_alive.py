"""manage.py worker_alive: a health check for supervisors and containers."""

import socket
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from runs import workers


class Command(BaseCommand):
    help = "Exit status 0 where a worker of the queue `runs` on this host has looked for work within the last 30 s."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=socket.gethostname(), help="default: this one (%(default)s)")

    def handle(self, *args: Any, host: str, **options: Any) -> None:
        if not workers.is_alive_on(host):
            raise CommandError(f"No worker on {host} has looked for work within the last 30 s.")
        self.stdout.write("alive")
