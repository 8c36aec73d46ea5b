import io

import pytest
from rich.console import Console

from runs.follow.rows import Row
from runs.follow.shown import _table

ROWS = [
    Row("reserve", "Reserve stock (fails once, then works)", "running", "executing", attempt=2),
    Row("approve", "Approve a large order", "running", "waiting_approval", attempt=1),
    Row("pay", "Pay", "queued", "backoff", 17, error={"code": "network", "message": "The connection broke. " * 5}),
]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_state_and_attempt_are_whole_however_narrow_the_terminal(width):
    console = Console(width=width, file=io.StringIO())
    console.print(_table(ROWS, 10))
    lines = console.file.getvalue().splitlines()
    assert lines[0].split() == ["step", "state", "attempt", "time"]
    told = [("running", "2"), ("running (waiting approval)", "1"), ("queued (backoff)", "17")]
    for line, (state, attempt) in zip(lines[1:], told, strict=True):
        assert state in line
        assert attempt in line.replace(state, "").split()
    assert max(map(len, lines)) <= width
