"""Tasks that misbehave, for tests."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from workflows.task_registry import task

JSON = Any


@task("test.kill_worker")
def kill_worker(ctx: Any) -> None:
    """Kills the process that executes it."""
    os.kill(os.getpid(), signal.SIGKILL)


@task("test.ignore_cancel")
def ignore_cancel(ctx: Any, *, seconds: float) -> str:
    """Sleeps without a look at its cancellation."""
    time.sleep(seconds)
    return "late"


@task("test.isolated_sleep", isolated=True)
def isolated_sleep(ctx: Any, *, seconds: float) -> int:
    """Sleeps in a process of its own."""
    ctx.logger.info("process %d", os.getpid())
    time.sleep(seconds)
    return os.getpid()


@task("test.isolated_kill", isolated=True)
def isolated_kill(ctx: Any) -> None:
    """Kills its own process."""
    os.kill(os.getpid(), signal.SIGKILL)


@task("test.print_lines")
def print_lines(ctx: Any, *, n: int, text: str = "line") -> int:
    """Writes lines into its log."""
    for i in range(n):
        ctx.logger.info("%s %d", text, i)
    return n


@task("test.big")
def big(ctx: Any, *, bytes: int) -> dict[str, str]:
    """Returns a large value."""
    return {"blob": "x" * bytes}


@task("test.not_json")
def not_json(ctx: Any) -> JSON:
    """Returns a set."""
    return {1, 2}


@task("test.raise_value_error")
def raise_value_error(ctx: Any) -> None:
    """Raises what is no TaskError."""
    raise ValueError("no such luck")


@task("test.effect")
def effect(ctx: Any, *, path: str, seconds: float = 0.0) -> None:
    """Appends its idempotency key and attempt to a file, then sleeps."""
    with open(path, "a") as ledger:
        ledger.write(f"{ctx.idempotency_key} {ctx.attempt}\n")
        ledger.flush()
        os.fsync(ledger.fileno())
    ctx.wait(seconds)


@task("test.facts")
def facts(ctx: Any) -> dict[str, JSON]:
    """Tells what a task can see of the process it is in."""
    return {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "session": os.getsid(0),
        "arguments": sys.argv,
        "environment": sorted(os.environ),
        "stdin": sys.stdin.read(),
        "open": len(os.listdir("/proc/self/fd")),
        "ctx": [ctx.attempt, ctx.generation, ctx.idempotency_key, ctx.trace_id, ctx.corr_id, ctx.metadata],
    }


@task("test.prints")
def prints(ctx: Any, *, text: str, end: str = "\n") -> str:
    """Prints, and writes to its log, as much as it is told."""
    print(text, end=end)  # noqa: T201 - what it is for
    ctx.logger.info("logged")
    return "printed"


@task("test.forge")
def forge(ctx: Any) -> str:
    """Writes what looks like its answer wherever it or a process that it starts can write."""
    frame = b'{"result": "forged"}'
    data = struct.pack(">I", len(frame)) + frame
    os.write(1, data + b"\n")
    os.write(2, data + b"\n")
    script = f"import os\nfor fd in range(1, 64):\n try: os.write(fd, {data!r})\n except OSError: pass"
    subprocess.run([sys.executable, "-c", script], close_fds=False, check=False)
    if os.fork() == 0:
        return "the copy"
    time.sleep(0.2)
    return "true"


@task("test.leave_behind")
def leave_behind(ctx: Any, *, path: str, then: str) -> str:
    """Starts processes that ignore SIGTERM, one of them a daemon, and writes their numbers; then ends or does not."""
    sleeper = "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    told = "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\ntime.sleep(120)"
    daemon = "if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    subprocess.Popen([sys.executable, "-c", sleeper + told, path])
    if then != "die":
        subprocess.Popen([sys.executable, "-c", sleeper + daemon + told, path]).wait()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while not os.path.exists(path) or Path(path).read_text().count("\n") < (1 if then == "die" else 2):
        time.sleep(0.01)
    if then == "die":
        os._exit(7)
    if then == "hang":
        time.sleep(120)
    return then


@task("test.exit")
def exit_hard(ctx: Any, *, status: int) -> None:
    """Ends its process without a word."""
    os._exit(status)


@task("test.close_answers")
def close_answers(ctx: Any) -> None:
    """Closes every file of its process, then goes on."""
    os.closerange(0, 256)
    time.sleep(60)


@task("test.waits")
def waits(ctx: Any) -> str:
    """Waits until it is cancelled, and says so."""
    ctx.logger.info("waiting")
    return "cancelled" if ctx.wait(60) else "not cancelled"


@task("test.sleep_at_first")
def sleep_at_first(ctx: Any, *, seconds: float, deaf: bool = False) -> int:
    """Sleeps in its first attempt only; deaf: without a look at its cancellation. Returns the attempt."""
    if ctx.attempt == 1:
        (time.sleep if deaf else ctx.wait)(seconds)
    return int(ctx.attempt)
