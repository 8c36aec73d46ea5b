"""manage.py up: everything in one process, nothing to install."""

import os
import shlex
import socket
import sys
import time
import webbrowser
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from staterail import embedded, single
from staterail.accounts import services as accounts
from staterail.core.cli import manage_py
from workflows.samples import deploy_sample

STEADY_SECONDS = 30.0  # a worker that crashed, but had lived as long, is worth another start


def can_show_pages(on_terminal: bool, environment: Mapping[str, str], platform: str) -> bool:
    """Whether somebody sits here who sees a browser's window: a text browser would take the terminal."""
    return on_terminal and (platform == "darwin" or any(environment.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY")))


class Command(BaseCommand):
    help = (
        "Start StateRail here: web server, worker and database in one process. The first start prints a one-time"
        " login. Ctrl-C or SIGTERM stops it in good order: short steps end, long ones go on at the next start."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port", type=int, default=settings.STATERAIL_PORT, help="of this machine only (default: %(default)s)"
        )
        parser.add_argument(
            "--data", type=Path, default=settings.STATERAIL_DATA,
            help="folder for everything that is kept (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument("--no-browser", action="store_true", help="do not open a browser")

    def handle(self, *args: Any, port: int, data: Path, no_browser: bool, **options: Any) -> None:
        if not settings.EMBEDDED:
            raise CommandError("DATABASE_URL is set: `up` is for embedded mode. Start a server and workers instead.")
        try:
            lock = single.hold(Path(settings.STATERAIL_DATA))
        except single.Taken as taken:
            raise CommandError(str(taken)) from None
        began = time.monotonic()
        with lock:
            try:
                self._serve(port, no_browser)
            except embedded.WorkerEnded as error:
                if error.crashed and time.monotonic() - began < STEADY_SECONDS:
                    raise CommandError(f"The worker ended, and so does StateRail: {error}") from None
                self.stderr.write(f"The worker ended ({error}): starting anew.")
                sys.stderr.flush()
                embedded.start_anew()
            except KeyboardInterrupt:  # before it served
                pass
        self.stdout.write("Stopped.")

    def _serve(self, port: int, no_browser: bool) -> None:
        self._check_port(port)
        call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        login = accounts.first_run_setup()
        taken = embedded.take_over()
        embedded.allow_demo(port)
        deploy_sample(port)
        embedded.serve("127.0.0.1", port, lambda: self._greet(f"http://localhost:{port}", login, taken, no_browser))

    def _check_port(self, port: int) -> None:
        if not 0 < port < 65536:
            raise CommandError("--port is between 1 and 65535.")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                other = port + 10 if port < 65526 else 8010
                data = Path(settings.STATERAIL_DATA)
                elsewhere = "" if data == settings.BASE_DIR / ".staterail" else f" --data {shlex.quote(str(data))}"
                arguments = f"--port {other}{elsewhere}"
                raise CommandError(
                    f'Port {port} cannot be used ({error.strerror}). Take another one: make up ARGS="{arguments}"'
                ) from None

    def _greet(self, url: str, login: str | None, taken: int, no_browser: bool) -> None:
        command = manage_py()
        lines = [("StateRail is up", self.style.SUCCESS(url))]
        if login is not None:
            lines += [("Log in, once", url + login), ("", "then set a password there")]
        else:
            lines += [("Log in", f"with your password, or a new one-time link: {command} login_link")]
        lines += [
            ("API", f"{url}/api/v1/docs"),
            ("A token for it", f"{command} token --name me --role admin"),
            ("Try it", f"{command} run hello-staterail --follow"),
        ]
        if taken:
            lines.append(("Going on with", f"{taken} run{'s'[: taken != 1]} that the last process left behind"))
        lines.append(("Stop", "Ctrl-C"))
        self.stdout.write("\n" + "\n".join(f"  {name:<16} {value}" for name, value in lines) + "\n\n")
        self.stdout.flush()
        if not no_browser and can_show_pages(sys.stdout.isatty(), os.environ, sys.platform):
            webbrowser.open(url + (login or ""))
