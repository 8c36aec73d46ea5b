"""One server or worker for a data folder: a lock file that dies with its process."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO


class Taken(Exception):
    """Another process serves this data folder."""


TRIES, PAUSE_SECONDS = 5, 0.05  # `is_held` of another process takes the lock for an instant


def hold(folder: Path) -> IO[str]:
    """Take the folder's lock; it is held for as long as the returned file stays open. Raises Taken."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = open(folder / "staterail.lock", "a+")  # noqa: SIM115 — held for the process's life
    if not _locked(file):
        file.seek(0)
        pid = file.read().strip() or "unknown"
        file.close()
        raise Taken(
            f"StateRail is running on {folder} already (process {pid}): stop it, or give another folder with --data."
        )
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _locked(file: IO[str]) -> bool:
    for attempt in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if attempt + 1 < TRIES:
                time.sleep(PAUSE_SECONDS)
    return False


def is_held(folder: Path) -> bool:
    """Whether some process serves this folder now."""
    try:
        with open(folder / "staterail.lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
