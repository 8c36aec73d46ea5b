"""Temporary folders: they end with their process, at the next start where it was killed."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runs.executors.folders import PREFIX, private, shared, sweep
from runs.executors.sandbox import Sandbox

HOLDER = """
import sys
from runs.executors.folders import private, shared
with private() as mine:
    print(mine, flush=True)
    print(shared("old"), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def another_process(temporary: Path) -> Iterator[set[str]]:
    """The folders of a process that is killed at the end."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)}, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder.stdout, holder.stdin:
        yield {Path(holder.stdout.readline().strip()).name for _ in range(2)}
        holder.send_signal(signal.SIGKILL)
        holder.wait()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(temporary: Path) -> None:
    with another_process(temporary) as folders:
        sweep()
        assert folders == set(os.listdir(temporary))
        assert len(folders) == 2

    sweep()
    assert os.listdir(temporary) == []


def test_a_start_removes_what_was_left(temporary: Path) -> None:
    (temporary / f"{PREFIX}abc" / "empty").mkdir(parents=True)
    (temporary / f"{PREFIX}abc").chmod(0o700)

    sandbox = Sandbox()

    assert not (temporary / f"{PREFIX}abc").exists()
    assert os.path.exists(sandbox.launcher)


def test_nothing_is_removed_that_is_not_surely_ours(temporary: Path) -> None:
    (temporary / f"{PREFIX}open").mkdir(mode=0o777)
    (temporary / f"{PREFIX}open").chmod(0o777)
    (temporary / f"{PREFIX}file").touch(0o600)
    (temporary / "elsewhere").mkdir(0o700)
    (temporary / f"{PREFIX}link").symlink_to(temporary / "elsewhere")
    before = set(os.listdir(temporary))

    sweep()

    assert set(os.listdir(temporary)) == before


def test_a_private_folder_is_gone_afterwards(temporary: Path) -> None:
    with private() as folder:
        sweep()
        assert os.path.isdir(folder)

    assert os.listdir(temporary) == []


def test_a_shared_folder_that_was_removed_is_made_anew_and_locked_again(temporary: Path) -> None:
    first = shared("s")
    os.rmdir(str(first))

    again = shared("s")
    sweep()

    assert first == again
    assert os.path.isdir(str(again))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_what_belongs_to_another_user_stays(temporary: Path) -> None:
    folder = temporary / f"{PREFIX}other"
    folder.mkdir(0o700)
    os.chown(folder, 65534, 65534)

    sweep()

    assert folder.exists()
