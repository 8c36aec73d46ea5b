"""manage.py bench: what the engine does on this machine, beside Celery's own floor in the same run."""

import json
import os
import subprocess
import sys
import tempfile
import timeit
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table

from staterail.bench.cases import CASES


class Command(BaseCommand):
    help = (
        "Measure the engine on a data folder of its own: steps a second, CPU a step, latency, memory."
        " Compare figures of one run with one another: between machines and days they differ."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--runs", type=int, default=1000, help="runs of the throughput case (default: %(default)s)")
        parser.add_argument("--steps", type=int, default=10, help="no-op steps in each (default: %(default)s)")
        parser.add_argument("--json", action="store_true", help="print the figures as JSON")
        parser.add_argument("--case", choices=list(CASES), action="append", help="only these cases")
        parser.add_argument("--here", metavar="ARGUMENTS", help="(used by bench itself) run one case in this process")

    def handle(
        self, *args: Any, runs: int, steps: int, json: bool, case: list[str] | None, here: str | None, **options: Any
    ) -> None:
        if here is not None and case is not None:
            self._here(case[0], here)
            return
        plan = {
            "throughput": {"runs": runs, "steps": steps},
            "latency": {"runs": 200, "steps": steps},
            "celery": {"tasks": 500},
            "fan_out": {"steps": 4999, "output_bytes": 1024 * 1024},
            "web": {"seconds": 10, "steps": steps},
        }
        figures: dict[str, dict[str, float]] = {"machine": {"python_loop_us": _python_loop()}}
        for name in case or CASES:
            self.stderr.write(f"{name} …")
            figures[name] = _in_a_child(name, plan[name])
        if json:
            self.stdout.write(_dumps({"settings": _settings(), **figures}))
        else:
            _print(figures)

    def _here(self, name: str, arguments: str) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        self.stdout.write(_dumps(CASES[name](**json.loads(arguments))))


def _python_loop() -> float:
    """How long this machine takes for a thousand additions now: what to hold the other figures against."""
    return min(timeit.repeat(lambda: sum(range(1000)), number=1000, repeat=5)) * 1000


def _in_a_child(name: str, arguments: dict[str, int]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="staterail-bench-") as folder:
        command = [sys.executable, "manage.py", "bench", "--case", name, "--here", json.dumps(arguments)]
        environment = {**os.environ, "STATERAIL_DATA": folder, "STATERAIL_LOG_LEVEL": "WARNING"}
        done = subprocess.run(command, env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _settings() -> dict[str, Any]:
    return {"database": "sqlite" if settings.EMBEDDED else "postgresql", "threads": settings.STATERAIL_THREADS}


def _dumps(value: Any) -> str:
    return json.dumps(value)


def _print(figures: dict[str, dict[str, float]]) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("case", "figure", "value"):
        table.add_column(title, justify="right" if title == "value" else "left")
    for name, found in figures.items():
        for n, (figure, value) in enumerate(found.items()):
            table.add_row("" if n else name, figure, f"{value:,.1f}" if value < 1000 else f"{value:,.0f}")
    Console().print(table)
