"""How the sandbox's processes are started: behind the walls of `jail`, as many of them as stand here."""

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

from runs.executors.folders import private, shared, sweep

JAIL = Path(__file__).with_name("jail.py")
ALL = frozenset({"limits", "session", "unprivileged", "namespaces", "landlock"})
# Where a program does not even start behind a wall, it has to do without.
ATTEMPTS = ("namespaces,landlock", "namespaces", "landlock", "none")


class IsolationMissing(RuntimeError):
    """Scripts are to run behind all walls only, and this system lacks some."""


class Sandbox:
    """A launcher for the engine's processes: `launcher` is what to execute instead of the engine.

    It lies in a folder of this user's that all processes share, so that one that is killed leaves nothing more.
    """

    def __init__(self, *, strict: bool = False) -> None:
        """Raises IsolationMissing where `strict` and not every wall stands, FileNotFoundError without an engine."""
        sweep()
        program = engine()
        wanted, self.walls = standing_walls(program)
        if strict and self.walls != ALL:
            lacking = ", ".join(sorted(ALL - self.walls))
            raise IsolationMissing(f"Scripts need isolation that is missing here: {lacking}.")
        self.programs = (program, str(JAIL))  # one of them is a word of a process's command
        self.launcher, self._text = program, ""
        self._private = contextlib.ExitStack()
        if self.walls:
            command = _command(wanted, "", program)
            folder = shared(hashlib.sha256(shlex.join(command).encode()).hexdigest()[:16])
            if folder is None:
                folder = self._private.enter_context(private())
            self._empty = os.path.join(folder, "empty")
            self._text = f'#!/bin/sh\nexec {shlex.join(_command(wanted, self._empty, program))} "$@"\n'
            self.launcher = os.path.join(folder, "engine")
            self.restore()

    def restore(self) -> None:
        """Write the launcher where it is missing: folders for temporary files are swept."""
        if not self._text or os.path.exists(self.launcher):
            return
        os.makedirs(self._empty, mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=os.path.dirname(self.launcher), delete=False, encoding="utf-8"
        ) as file:
            file.write(self._text)
        os.chmod(file.name, 0o500)
        os.replace(file.name, self.launcher)  # whole, or not at all


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
        with private() as empty:
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
