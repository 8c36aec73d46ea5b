"""The walls around a sandbox process, seen from outside: RELIABILITY 5.7."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runs.executors import sandbox
from runs.executors.descendants import descendants
from runs.executors.sandbox import JAIL, IsolationMissing, Sandbox, engine, standing_walls
from runs.executors.script import ScriptExecutor
from runs.tests.executors.calls import kill_descendants, script_call

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def process() -> Iterator[Path]:
    """The /proc folder of an engine's process behind its walls."""
    with closing(ScriptExecutor(1)) as executor:
        executor.execute(script_call("def main(args): return 1"))
        (pid,) = [pid for pid in descendants(os.getpid()) if Path(f"/proc/{pid}/comm").read_text() == "monty\n"]
        yield Path(f"/proc/{pid}")


def status(process: Path) -> dict[str, list[str]]:
    lines = (process / "status").read_text().splitlines()
    return {name: values.split() for name, _, values in (line.partition(":") for line in lines)}


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_it_has_no_environment(process: Path) -> None:
    assert (process / "environ").read_bytes() == b""


def test_it_has_no_open_files_but_its_pipes(process: Path) -> None:
    files = {file.name: os.readlink(file).partition(":")[0] for file in (process / "fd").iterdir()}

    assert files == {"0": "pipe", "1": "pipe", "2": "/dev/null"}


def test_it_stands_in_an_empty_folder(process: Path) -> None:
    assert list((process / "cwd").iterdir()) == []


def test_it_leads_a_session_apart_from_ours(process: Path) -> None:
    assert os.getsid(int(process.name)) != os.getsid(0)
    assert os.getpgid(int(process.name)) != os.getpgid(0)


def test_it_is_not_root_and_can_become_nobody_else(process: Path) -> None:
    told = status(process)

    assert "0" not in told["Uid"]
    assert told["NoNewPrivs"] == ["1"]
    assert set(told["CapEff"] + told["CapPrm"] + told["CapAmb"]) == {"0" * 16}


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ("Max core file size", 0), ("Max file size", 0), ("Max open files", 16),
        ("Max address space", 1536 * 1024 * 1024), ("Max cpu time", 3 * 3600),
    ],
)  # fmt: skip
def test_its_limits(process: Path, limit: str, most: int) -> None:
    (line,) = [line for line in (process / "limits").read_text().splitlines() if line.startswith(limit)]

    assert line.removeprefix(limit).split()[:2] == [str(most), str(most)]


def test_its_namespaces_are_its_own_where_the_system_allows_it(process: Path) -> None:
    if "namespaces" not in standing_walls(engine())[1]:
        assert os.readlink(process / "ns/net") == os.readlink("/proc/self/ns/net")
        return

    names = ["net", "ipc", "uts", "pid"]
    assert [name for name in names if os.readlink(process / f"ns/{name}") == os.readlink(f"/proc/self/ns/{name}")] == []
    interfaces = (process / "net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def test_it_does_not_outlive_a_killed_worker(tmp_path: Path) -> None:
    source = (
        "from runs.executors.script import ScriptExecutor\n"
        "from runs.tests.executors.calls import kill_descendants, script_call\n"
        "ScriptExecutor(1).execute(script_call('def main(args):\\n  while True: pass', time='60s'))\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", source], cwd=ROOT)
    until(lambda: any(_is_engine(pid) for pid in descendants(worker.pid)))
    started = descendants(worker.pid)

    worker.send_signal(signal.SIGKILL)
    worker.wait(10)

    until(lambda: not any(_is_alive(pid) for pid in started))


def _is_engine(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "monty\n"
    except OSError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def behind_walls(walls: str, folder: Path, source: str) -> list[str]:
    """What a Python program prints that stands behind these walls in place of the engine."""
    command = [
        sys.executable,
        "-IS",
        str(JAIL),
        walls,
        str(folder),
        os.path.realpath(sys.executable),
        "-IS",
        "-c",
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env={"CANARY": "1"})
    return done.stdout.splitlines()


ATTEMPTS = """
import os, signal, socket
def attempt(name, action):
    try: action()
    except BaseException as error: print(name, type(error).__name__)
    else: print(name, 'done')
attempt('environment', lambda: os.environ['CANARY'])
attempt('write', lambda: open('file', 'w').write('x'))
attempt('write in tmp', lambda: open('/tmp/canary', 'w').write('x'))
attempt('read passwd', lambda: open('/etc/passwd').read())
attempt('read memory', lambda: open(f'/proc/{PARENT}/mem', 'rb'))
attempt('list proc', lambda: os.listdir('/proc'))
attempt('connect', lambda: socket.create_connection(('127.0.0.1', PORT), 1))
attempt('kill', lambda: os.kill(PARENT, 0))
attempt('become root', lambda: os.setuid(0))
attempt('memory', lambda: bytearray(2 * 1024 ** 3))
attempt('fork bomb', lambda: [os.fork() or os._exit(0) for _ in range(50)])
"""


def test_native_code_behind_the_walls_finds_nothing(tmp_path: Path) -> None:
    """As if the engine had a bug that lets a script execute anything."""
    wanted, walls = standing_walls(engine())
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = ATTEMPTS.replace("PARENT", str(os.getpid())).replace("PORT", str(server.getsockname()[1]))
        printed = behind_walls(wanted, tmp_path, source)

    refused = dict(line.rsplit(" ", 1) for line in printed)
    must = {"environment", "memory", "become root", "read memory"}
    must |= {"write", "write in tmp", "read passwd", "list proc", "connect"} if "landlock" in walls else set()
    must |= {"connect", "kill", "fork bomb"} if "namespaces" in walls else set()
    assert must <= refused.keys(), printed
    assert [name for name in must if refused[name] == "done"] == []
    assert list(tmp_path.iterdir()) == []


def test_all_walls_that_need_no_leave_of_the_system_stand_everywhere() -> None:
    assert standing_walls(engine())[1] >= {"limits", "session"}


def test_strict_isolation_refuses_to_start_without_every_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "standing_walls", lambda program: ("none", frozenset({"limits", "session"})))

    with pytest.raises(IsolationMissing, match="landlock, namespaces, unprivileged"):
        ScriptExecutor(1, strict=True)


def test_without_the_engine_it_is_told_which_program_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("MONTY_BIN", raising=False)
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nowhere")

    with pytest.raises(FileNotFoundError, match="monty"):
        engine()


def test_all_processes_share_one_folder_that_nobody_else_may_enter() -> None:
    first, second = Sandbox(), Sandbox()

    assert first.launcher == second.launcher
    assert Path(first.launcher).parent.stat().st_mode & 0o777 == 0o700
    assert list((Path(first.launcher).parent / "empty").iterdir()) == []


def test_a_folder_that_was_swept_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with closing(ScriptExecutor(1)) as executor:
        executor.execute(script_call("def main(args): return 1"))
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        kill_descendants()

        assert executor.execute(script_call("def main(args): return 2")) == 2


@pytest.mark.parametrize("lay", ["a link", "open to all"])
def test_a_folder_that_another_has_laid_there_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lay: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    expected = Path(Sandbox().launcher).parent
    shutil.rmtree(expected)
    if lay == "a link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        expected.symlink_to(tmp_path / "theirs")
    else:
        expected.mkdir()
        expected.chmod(0o777)

    launcher = Path(Sandbox().launcher)

    assert launcher.parent != expected
    assert list(expected.iterdir()) == []
