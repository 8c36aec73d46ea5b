"""manage.py up: everything in one process, nothing to install."""

import socket
import sys
import webbrowser
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from staterail import embedded, single
from staterail.accounts import services as accounts
from workflows.samples import deploy_sample


class Command(BaseCommand):
    help = (
        "Start StateRail embedded: migrate, set up at the first run (a one-time login is printed), serve and work."
        " Ctrl-C or SIGTERM stops it in good order."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.STATERAIL_PORT, help="default: %(default)s")
        parser.add_argument("--data", type=Path, default=settings.STATERAIL_DATA, help="folder, default: %(default)s")
        parser.add_argument("--no-browser", action="store_true", help="do not open a browser")

    def handle(self, *args: Any, port: int, data: Path, no_browser: bool, **options: Any) -> None:
        if not settings.EMBEDDED:
            raise CommandError("DATABASE_URL is set: `up` is for embedded mode. Start a server and workers instead.")
        try:
            lock = single.hold(Path(settings.STATERAIL_DATA))
        except single.Taken as taken:
            raise CommandError(str(taken)) from None
        with lock:
            self._check_port(port)
            call_command("migrate", verbosity=0, interactive=False)
            login = accounts.first_run_setup()
            embedded.take_over()
            embedded.allow_demo(port)
            deploy_sample(port)
            url = f"http://localhost:{port}"
            embedded.serve("127.0.0.1", port, lambda: self._greet(url, login, no_browser))
        self.stdout.write("Stopped.")

    def _check_port(self, port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise CommandError(f"Port {port} is taken ({error.strerror}): give another --port.") from None

    def _greet(self, url: str, login: str | None, no_browser: bool) -> None:
        self.stdout.write(f"\n  StateRail is up: {url}\n")
        if login is not None:
            self.stdout.write(f"  Log in, once:    {url}{login}\n  (then set a password there)\n")
        else:
            self.stdout.write("  Log in with your password, or print a new one-time link: manage.py login_link\n")
        self.stdout.write(
            f"  API:             {url}/api/v1/docs\n  A token:         manage.py token --name me --role admin\n"
        )
        self.stdout.write("  Try it:          manage.py run hello-staterail --follow\n\n")
        sys.stdout.flush()
        if not no_browser:
            webbrowser.open(url + (login or ""))
