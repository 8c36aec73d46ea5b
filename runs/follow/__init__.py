"""A run in the terminal, read from the event log alone: what a look costs is what has changed since the last.

On a terminal a picture that is drawn anew (steps with state, attempt and time, and a bar); into a
file or a pipe one line for each thing that happens.
"""

import re
import time
from collections.abc import Callable
from uuid import UUID

from rich.console import Console
from rich.live import Live

from runs.follow.rows import PAGE, Follower
from runs.follow.shown import clean, line_of, picture
from runs.machine.states import RunState

EXIT = {RunState.COMPLETED: 0, RunState.FAILED: 1, RunState.CANCELLED: 3}
MAX_ROWS, FRAME_ROWS = 40, 6
LOOK_SECONDS = 0.1
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+""")  # of a shell, its quotes included


def follow(run_id: UUID, console: Console, hint: Callable[[], str], where: Callable[[UUID, str], str]) -> int:
    """Show the run until it ends; the exit status by its outcome: 0 completed, 1 failed, 3 cancelled.

    A process of its own has nothing but the database to hear from, so it looks, ten times a second.
    `hint` is a remark that holds now, or ""; `where` is the command that approves the run's step of this id.
    """
    follower = Follower(run_id)
    return _draw(follower, console, hint, where) if console.is_terminal else _tell(follower, console, hint, where)


def _hints(
    follower: Follower, hint: Callable[[], str], where: Callable[[UUID, str], str], width: int | None = None
) -> list[str]:
    if follower.over:
        return []
    waits = [
        f"{clean(row.name)} waits for a person: {_to_copy(where(follower.run.id, row.step_id), width)}"
        for row in follower.waiting[:3]
    ]
    return [told for told in (*waits, hint()) if told]


def _to_copy(command: str, width: int | None) -> str:
    """In lines of about this width, broken between a shell's words, which it reads as one."""
    if width is None:
        return command
    lines = [""]
    for word in _WORD.findall(command):
        if lines[-1] and len(lines[-1]) + len(word) >= max(width - 4, 40):
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".lstrip()
    return "\n  " + " \\\n  ".join(lines)


def _draw(follower: Follower, console: Console, hint: Callable[[], str], where: Callable[[UUID, str], str]) -> int:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            while len(follower.look()) == PAGE:
                pass
            hints = _hints(follower, hint, where, console.width)
            height = console.height - FRAME_ROWS - sum(1 + told.count("\n") for told in hints)
            room = MAX_ROWS if follower.over else max(3, min(MAX_ROWS, height))
            live.update(picture(follower, room, hints), refresh=True)
            if follower.over:
                return EXIT[RunState(follower.state)]
            time.sleep(LOOK_SECONDS)


def _tell(follower: Follower, console: Console, hint: Callable[[], str], where: Callable[[UUID, str], str]) -> int:
    told: list[str] = []
    while True:
        while new := follower.look():
            for line in filter(None, (line_of(follower, event) for event in new)):
                _print(console, line)
        if follower.over:
            return EXIT[RunState(follower.state)]
        hints = _hints(follower, hint, where)
        for line in hints:
            if line not in told:
                _print(console, line)
        told = hints
        time.sleep(LOOK_SECONDS)


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.file.flush()
