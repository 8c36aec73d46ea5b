"""How a run looks in a terminal: the whole as a picture, or one event as a line."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runs.follow.rows import Follower, Row
from runs.machine.states import RUN_FINAL, STEP_FINAL, Reason, StepState
from runs.models import Event

JSON = Any
STYLES = {
    "idle": "dim", "queued": "cyan", "running": "bold blue", "succeeded": "green", "failed": "bold red",
    "skipped": "dim yellow", "completed": "bold green", "pending": "cyan", "created": "dim", "cancelled": "yellow",
}  # fmt: skip
MARKS = {
    "idle": "·", "queued": "◌", "running": "●", "succeeded": "✔", "failed": "✘", "skipped": "–", "completed": "✔",
    "cancelled": "■",
}  # fmt: skip
FIRST = ("running", "failed", "queued", "idle", "succeeded", "skipped")  # where not all rows find room
PLAIN = {Reason.READY, Reason.EXECUTING, Reason.ACTIVE}  # reasons that say no more than the state does


def picture(follower: Follower, rows: int, hints: Iterable[str] = ()) -> RenderableType:
    """The run now, with at most so many of its steps."""
    done = sum(row.state in STEP_FINAL for row in follower.rows.values())
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(_state(follower.state, follower.reason), style=STYLES[follower.state]),
        ProgressBar(total=max(len(follower.rows), 1), completed=done, width=36),
        Text(f"{done}/{len(follower.rows)} steps"),
        Text(_duration(follower.started_at, follower.ended_at), style="dim"),
    )
    notes = [Text(hint, style="yellow") for hint in hints]
    return Group(head, Text(), _table(list(follower.rows.values()), rows), *([Text(), *notes] if notes else []))


def _table(rows: list[Row], room: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("step", header_style="dim", max_width=48)  # this and the last give way where room is short
    table.add_column("state", header_style="dim", no_wrap=True)
    table.add_column("attempt", header_style="dim", justify="right", no_wrap=True)
    table.add_column("time", header_style="dim", justify="right", no_wrap=True)
    table.add_column("")
    shown = rows if len(rows) <= room else sorted(rows, key=lambda row: FIRST.index(row.state))[: room - 1]
    for row in shown:
        style = STYLES[row.state]
        table.add_row(
            Text(MARKS[row.state], style=style), _cut(clean(row.name)),
            Text(_state(row.state, row.reason), style=style), str(row.attempt or ""),
            _duration(row.started_at, row.ended_at), _cut(_error(row.error), style="dim"),
        )  # fmt: skip
    if len(shown) < len(rows):
        table.add_row("", Text(f"… and {len(rows) - len(shown)} more", style="dim"))
    return table


def _cut(text: str, style: str = "") -> Text:
    """One line, as far as there is room."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def line_of(follower: Follower, event: Event) -> str | None:
    """What a person wants to hear of an event in one line; None for what they need not."""
    told, name = event.payload, follower.run.workflow.name
    state = event.state_after or ""
    if event.step_id is not None:
        row = follower.rows[event.step_id]
        name = row.name
    mark = MARKS.get(state, " ")
    if event.event_type == "step_started":
        again = f" (attempt {event.attempt})" if (event.attempt or 0) > 1 else ""
        said = f"started{again}"
    elif event.event_type in ("step_completed", "step_failed"):
        said = f"{state if state in STEP_FINAL else f'attempt {event.attempt} failed'}"
        if told.get("error"):
            said += f": {_error(told['error']).rstrip('.')}"
        if told.get("delay_ms") is not None:
            said += f"; again in {told['delay_ms'] / 1000:.1f}s"
        elif told.get("duration_ms") is not None:
            said += f" after {told['duration_ms'] / 1000:.1f}s"
    elif event.step_id is None and state in RUN_FINAL:
        said = f"{state} after {_duration(follower.started_at, event.ts) or '0.0s'}"
    elif state == StepState.SKIPPED or told.get("reason") in (Reason.CIRCUIT_OPEN, Reason.CANCELLING):
        said = _state(state, told.get("reason"))
    else:
        return None
    return f"{event.ts.astimezone():%H:%M:%S}  {mark} {clean(name)}  {said}"


def _state(state: str, reason: str | None) -> str:
    said = "" if reason in PLAIN or not reason or state in ("succeeded", "failed") else f" ({reason.replace('_', ' ')})"
    return f"{state}{said}"


def _error(error: JSON) -> str:
    return clean(f"{error.get('code')}: {error.get('message')}") if isinstance(error, dict) else ""


def clean(text: str, longest: int = 300) -> str:
    """A stranger's text cannot steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text[:longest])


def _duration(start: datetime | None, end: datetime | None) -> str:
    if start is None:
        return ""
    seconds = max(((end or datetime.now(UTC)) - start).total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
