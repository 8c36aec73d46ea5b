"""One server or worker for a data folder: a lock file that dies with its process."""

import fcntl
import os
from pathlib import Path
from typing import IO


class Taken(Exception):
    """Another process serves this data folder."""


def hold(folder: Path) -> IO[str]:
    """Take the folder's lock; it is held for as long as the returned file stays open. Raises Taken."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = open(folder / "staterail.lock", "a+")  # noqa: SIM115 — held for the process's life
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        pid = file.read().strip() or "unknown"
        file.close()
        raise Taken(
            f"StateRail is running on {folder} already (process {pid}): stop it, or give another --data."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


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
