"""Killing a process with all that it started, also what has left its process group.

A process that daemonises (setsid, two forks) is out of reach of killpg, but not of this: a child
that is a subreaper keeps such processes among its descendants for as long as it lives.
"""

import contextlib
import os
import signal
import time

ROUNDS = 50  # each finds what was forked since the last look


def kill_tree(pid: int) -> None:
    """SIGKILL to the process group `pid` and to every descendant of `pid`, which must not be reaped yet.

    The group is stopped first, so that it cannot fork faster than we look. The leader goes last:
    while it lives, its descendants can be found.
    """
    _signal_group(pid, signal.SIGSTOP)
    for _ in range(ROUNDS):
        alive = descendants(pid)
        if not alive:
            break
        for other in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(other, signal.SIGKILL)
        time.sleep(0.001)  # to die takes a moment
    _signal_group(pid, signal.SIGKILL)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def descendants(pid: int) -> list[int]:
    """The living descendants of a process. Empty where there is no /proc."""
    by_parent = _by_parent()
    found, waiting = [], [pid]
    while waiting:
        for child in by_parent.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def children(pid: int) -> list[int]:
    """Those that it started itself."""
    return _by_parent().get(pid, [])


def _by_parent() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    try:
        entries = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return found
    for entry in entries:
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/stat", "rb") as stat:
                state, parent = stat.read().rpartition(b")")[2].split()[:2]  # the name may hold anything
            if state not in (b"Z", b"X"):
                found.setdefault(int(parent), []).append(entry)
    return found
