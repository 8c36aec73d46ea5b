"""A run in the terminal: its steps with state, attempt and duration, and a bar, read from the database."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runs import selectors
from runs.machine.plan import Plan
from runs.machine.states import RUN_FINAL, STEP_FINAL, RunState, StepState
from runs.models import StepRun, WorkflowRun

STYLES = {
    "idle": "dim", "queued": "cyan", "running": "bold blue", "succeeded": "green", "failed": "bold red",
    "skipped": "dim yellow", "completed": "bold green", "pending": "cyan", "created": "dim", "cancelled": "yellow",
}  # fmt: skip
MARKS = {"idle": "·", "queued": "◌", "running": "●", "succeeded": "✔", "failed": "✘", "skipped": "–"}
MAX_ROWS = 30
EXIT = {RunState.COMPLETED: 0, RunState.FAILED: 1, RunState.CANCELLED: 3}


@dataclass(slots=True)
class Row:
    step_id: str
    name: str
    state: str = "idle"
    reason: str | None = None
    attempt: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: Any = None


class Follower:
    """Reads what changed since the last look: two small queries a look, however big the run is."""

    def __init__(self, run_id: UUID) -> None:
        self.run = WorkflowRun.objects.defer("input").get(id=run_id)
        plan = selectors.plan_of(self.run)
        assert isinstance(plan, Plan)
        self.rows = {plan.ids[i]: Row(plan.ids[i], plan.steps[i].name) for i in plan.topological()}
        self._seq = -1

    def look(self) -> bool:
        """Whether anything changed."""
        self.run = WorkflowRun.objects.defer("input").get(id=self.run.id)
        if self.run.seq == self._seq:
            return False
        self._seq = self.run.seq
        columns = ("step_id", "state", "reason", "attempt", "started_at", "completed_at", "error")
        for step in StepRun.objects.filter(run_id=self.run.id).values(*columns):
            row = self.rows[step.pop("step_id")]
            for name, value in step.items():
                setattr(row, name, value)
        return True

    @property
    def over(self) -> bool:
        return self.run.state in RUN_FINAL

    def picture(self, hint: str = "") -> RenderableType:
        done = sum(row.state in STEP_FINAL for row in self.rows.values())
        head = Table.grid(padding=(0, 2))
        reason = f" ({self.run.reason})" if self.run.reason else ""
        head.add_row(
            Text(f"{self.run.state}{reason}", style=STYLES[self.run.state]),
            ProgressBar(total=len(self.rows), completed=done, width=36),
            Text(f"{done}/{len(self.rows)} steps"),
            Text(_duration(self.run.started_at, self.run.completed_at), style="dim"),
        )
        parts: list[RenderableType] = [head, self._table()]
        if hint:
            parts.append(Text(hint, style="yellow"))
        return Group(*parts)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
        for column in ("", "step", "state", "attempt", "time", ""):
            table.add_column(column, justify="right" if column in ("attempt", "time") else "left", header_style="dim")
        rows = list(self.rows.values())
        if len(rows) > MAX_ROWS:  # what moves first, then what is to come
            rank = {"running": 0, "failed": 1, "queued": 2, "idle": 3, "succeeded": 4, "skipped": 5}
            rows = sorted(rows, key=lambda row: rank[row.state])[:MAX_ROWS]
        for row in rows:
            why = (row.error or {}).get("message", "") if row.state in ("failed", "queued") else ""
            table.add_row(
                Text(MARKS[row.state], style=STYLES[row.state]), row.name, Text(_state(row), style=STYLES[row.state]),
                str(row.attempt or ""), _duration(row.started_at, _end(row)), Text(str(why)[:60], style="dim"),
            )  # fmt: skip
        if len(self.rows) > MAX_ROWS:
            table.add_row("", f"… and {len(self.rows) - MAX_ROWS} more", "", "", "", "")
        return table


def follow(run_id: UUID, console: Console, hint: Callable[[], str]) -> int:
    """Show the run until it ends; the exit status by its outcome: 0 completed, 1 failed, 3 cancelled.

    A process of its own has nothing but the database to hear from, so it looks, ten times a second at most.
    """
    follower = Follower(run_id)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            changed = follower.look()
            if changed or console.is_terminal:
                live.update(follower.picture("" if follower.over else hint()), refresh=True)
            if follower.over:
                return EXIT[RunState(follower.run.state)]
            time.sleep(0.1 if console.is_terminal else 0.25)


def _state(row: Row) -> str:
    return f"{row.state} ({row.reason})" if row.reason and row.state != StepState.SUCCEEDED else row.state


def _end(row: Row) -> datetime | None:
    return row.completed_at if row.state in STEP_FINAL else None


def _duration(start: datetime | None, end: datetime | None) -> str:
    if start is None:
        return ""
    seconds = ((end or datetime.now(UTC)) - start).total_seconds()
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
