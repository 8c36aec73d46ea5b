import shlex

import pytest

from runs.follow import _to_copy

PLAIN = ".venv/bin/python manage.py approve 01a22092-3e73-7f91-ad68-e5d557718cd9 approve --tenant default"
COMMANDS = [
    PLAIN,
    "STATERAIL_DATA='/home/someone/My Documents/state rail data of mine' " + PLAIN,
    'STATERAIL_DATA="/a b/c" '
    + PLAIN
    + " --comment 'it'\\''s a long remark with several words in it, more than a line'",
]


@pytest.mark.parametrize("width", [20, 60, 80, 200, None])
@pytest.mark.parametrize("command", COMMANDS, ids=["plain", "blanks", "quotes"])
def test_a_shell_reads_the_same_command_whatever_the_width(command, width):
    copied = _to_copy(command, width)
    assert shlex.split(copied.replace("\\\n", "")) == shlex.split(command)
    quoted = max(len(word) for word in shlex.split(command))
    assert all(len(line) <= max(width or 10_000, quoted + 30, 44) for line in copied.splitlines())
