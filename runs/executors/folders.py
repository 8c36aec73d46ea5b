"""Folders for temporary files. Each is locked for as long as a process uses it: what no process has locked any more was
left behind by a kill -9, and the next start removes it.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator

PREFIX = "staterail-scripts-"

_shared: dict[str, int] = {}  # this process's locks


def shared(name: str) -> str | None:
    """A folder that all processes of this user share, locked until this process ends; None if it is not ours."""
    path = os.path.join(tempfile.gettempdir(), f"{PREFIX}{os.geteuid()}-{name}")
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        if not _is_ours(path):
            return None
        if _stands_for(_shared.get(path), path):
            return path
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it
            lock = _opened(path)
            fcntl.flock(lock, fcntl.LOCK_SH)
            gone = _shared.pop(path, None)
            _shared[path] = lock
            if gone is not None:
                os.close(gone)


@contextlib.contextmanager
def private() -> Iterator[str]:
    """A new folder, gone afterwards. It has its name once it is locked: until then nobody takes it for a stale one."""
    made = tempfile.mkdtemp(prefix="staterail-new-")
    lock = _opened(made)
    fcntl.flock(lock, fcntl.LOCK_EX)
    path = os.path.join(os.path.dirname(made), PREFIX + os.path.basename(made).removeprefix("staterail-new-"))
    os.rename(made, path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Remove this user's folders that no living process uses."""
    folder = tempfile.gettempdir()
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(PREFIX) and path not in _shared:
            with contextlib.suppress(OSError):
                if _is_ours(path):
                    _remove_unused(path)


def _remove_unused(path: str) -> None:
    lock = _opened(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: in use
        shutil.rmtree(path)
    finally:
        os.close(lock)


def _stands_for(lock: int | None, path: str) -> bool:
    """Whether the lock is of the folder that is there now."""
    try:
        return lock is not None and os.path.samestat(os.fstat(lock), os.lstat(path))
    except FileNotFoundError:
        return False


def _is_ours(path: str) -> bool:
    """Whether it is a folder of this user's, and not one that somebody else has laid there for us."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return True  # removed meanwhile
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
