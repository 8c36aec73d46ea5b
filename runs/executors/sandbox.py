"""How the sandbox's processes are started: behind the walls of `jail`, as many of them as stand here."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

JAIL = Path(__file__).with_name("jail.py")
ALL = frozenset({"limits", "session", "unprivileged", "namespaces", "landlock"})
# Where a program does not even start behind a wall, it has to do without.
ATTEMPTS = ("namespaces,landlock", "namespaces", "landlock", "none")


class IsolationMissing(RuntimeError):
    """Scripts are to run behind all walls only, and this system lacks some."""


class Sandbox:
    """A launcher for the engine's processes: `launcher` is what to execute instead of the engine."""

    def __init__(self, *, strict: bool = False) -> None:
        """Raises IsolationMissing where `strict` and not every wall stands, FileNotFoundError without an engine."""
        self.launcher = program = engine()
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # gone at the latest when this process ends
        wanted, self.walls = standing_walls(program)
        if strict and self.walls != ALL:
            raise IsolationMissing(
                f"Scripts need isolation that is missing here: {', '.join(sorted(ALL - self.walls))}."
            )
        if self.walls:
            self._folder = tempfile.TemporaryDirectory(prefix="staterail-scripts-", ignore_cleanup_errors=True)
            empty = os.path.join(self._folder.name, "empty")
            os.mkdir(empty, 0o500)
            self.launcher = os.path.join(self._folder.name, "engine")
            command = shlex.join(_command(wanted, empty, program))
            with open(self.launcher, "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\nexec {command} "$@"\n')
            os.chmod(self.launcher, 0o500)

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def engine() -> str:
    """The path of the `monty` program. Raises FileNotFoundError."""
    beside = os.path.join(sysconfig.get_path("scripts"), "monty")
    found = os.environ.get("MONTY_BIN") or (beside if os.path.isfile(beside) else shutil.which("monty"))
    if not found:
        raise FileNotFoundError("the program `monty` is missing: pydantic-monty brings it")
    return found


@cache
def standing_walls(program: str) -> tuple[str, frozenset[str]]:
    """(what to ask the jail for, the walls that then stand) on this system; none where it is no Linux."""
    if sys.platform != "linux":
        return "none", frozenset()
    for wanted in ATTEMPTS:
        with tempfile.TemporaryDirectory(prefix="staterail-scripts-") as empty:
            command = [*_command(f"report,{wanted}", empty, program), "--version"]
            try:
                told = subprocess.run(command, capture_output=True, text=True, timeout=20, env={}).stdout  # noqa: S603
            except subprocess.TimeoutExpired:
                continue
        walls, _, version = told.partition("\n")
        if version.startswith("monty"):
            return wanted, frozenset(walls.split(","))
    return "none", frozenset()


def _command(walls: str, folder: str, program: str) -> list[str]:
    return [sys.executable, "-IS", str(JAIL), walls, folder, program]
