"""manage.py worker: a Celery worker with the flags its queue needs."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from staterail.core.cli import manage_py

COMMON = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
QUEUES: dict[str, list[str]] = {
    # Threads that only ring and poke: the reactor's own pool executes (STATERAIL_THREADS)
    "runs": ["--pool", "threads", "--concurrency", "2"],
    # Children that can be killed, replaced before they grow
    "tasks": ["--pool", "prefork", "-O", "fair", "--max-tasks-per-child", "500", "--max-memory-per-child", "512000"],
    "readers": ["--pool", "threads", "--concurrency", "1"],
}


class Command(BaseCommand):
    help = (
        "Work on a queue, next to any number of other workers on any number of machines. `runs` drives runs (one"
        " reactor a process), `tasks` executes isolated tasks in processes of their own, `readers` follows the event"
        " log. SIGTERM stops in good order: what executes ends or is put back, within 30 s."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queue", choices=list(QUEUES), default="runs", help="default: %(default)s")
        parser.add_argument("--processes", type=int, help="of the queue `tasks`: how many at a time (default: cores)")
        parser.add_argument("--loglevel", default="INFO", help="of Celery itself (default: %(default)s)")

    def handle(self, *args: Any, queue: str, processes: int | None, loglevel: str, **options: Any) -> None:
        if settings.EMBEDDED or not settings.REDIS_URL:
            raise CommandError(
                "A worker needs DATABASE_URL and REDIS_URL."
                f" Without servers `{manage_py()} up` does everything in one process."
            )
        if processes is not None and queue != "tasks":
            raise CommandError("--processes is for --queue tasks: the others work on threads (STATERAIL_THREADS).")
        flags = [*QUEUES[queue], *COMMON, "--hostname", f"{queue}-{os.getpid()}@%h", "--loglevel", loglevel]
        if processes is not None:
            flags += ["--concurrency", str(processes)]
        command = [sys.executable, "-m", "celery", "-A", "staterail", "worker", "-Q", queue, *flags]
        os.chdir(settings.BASE_DIR)
        os.execv(sys.executable, command)  # noqa: S606 - this very process becomes the worker: signals reach it
