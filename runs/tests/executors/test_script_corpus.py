"""Escape and exhaustion: every row of RELIABILITY 4.5 that makes sense in Python, tried against the real sandbox.

Whatever a script tries, its step fails with the code that the table says, this process is none the
worse for it, and the next script starts at once.
"""

import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from runs.executors.base import StepFailure
from runs.executors.descendants import descendants
from runs.executors.logs import CUT, LIMIT_BYTES
from runs.executors.script import ScriptExecutor
from runs.tests.executors.calls import failure_of, logged, script_call

ERROR, BAD = ("script_error", False), ("bad_output", False)
TIMEOUT, MEMORY = ("script_timeout", True), ("script_memory", False)
NEXT = "def main(args):\n    return args"


@pytest.fixture(scope="module")
def executor() -> Iterator[ScriptExecutor]:
    with closing(ScriptExecutor(1)) as executor:
        executor.execute(script_call(NEXT))
        yield executor
    assert descendants(os.getpid()) == []


def body(*lines: str, head: str = "") -> str:
    return "\n".join([head, "def main(args):", *(f"    {line}" for line in lines)])


ROWS: list[tuple[int, str, tuple[str, bool]]] = [
    (1, body("while True: pass"), TIMEOUT),
    (1, body("for i in range(10**9): pass"), TIMEOUT),
    (1, "while True: pass\n" + body("return 1"), TIMEOUT),
    (1, body("try:", "    while True: pass", "except BaseException: return 1"), TIMEOUT),
    (1, body("try:", "    while True: pass", "finally:", "    while True: pass"), TIMEOUT),
    (1, body("[i for i in range(10**9) if i < 0]"), TIMEOUT),
    (1, body("return sum(range(10**12))"), TIMEOUT),
    (2, body("a = []", "while True: a.append('x' * 1000000)"), MEMORY),
    (2, body("a = []", "while True: a.append([7] * 100000)"), MEMORY),
    (2, body("d = {}", "i = 0", "while True:", "    d[i] = str(i) * 100", "    i += 1"), MEMORY),
    (2, body("try:", "    a = 'x' * 3000000000", "except MemoryError: return 1"), MEMORY),
    (4, body("return main(args)"), ERROR),
    (4, body("f = lambda n: f(n + 1)", "return f(0)"), ERROR),
    (4, body("a = []", "for i in range(5000): a = [a]", "return a"), BAD),
    (5, body("s = 'x'", "while True: s += s"), MEMORY),
    (5, body("return len('x' * 2**29)"), MEMORY),
    (5, body("return len('x' * 3000000000)"), MEMORY),
    (5, body("return 'a'.ljust(3000000000)"), MEMORY),
    (5, body("return f'{1:3000000000}'"), MEMORY),
    (5, body("return ('x' * 100000).replace('x', 'y' * 100000)"), MEMORY),
    (5, body("return ','.join(['x' * 1000000] * 100000)"), MEMORY),
    (6, body("x = 3", "while True: x = x * x"), TIMEOUT),
    (6, body("return 9**9**9"), MEMORY),
    (6, body("return 1 << 10**12"), MEMORY),
    (7, body("return len([0] * 2000000000)"), MEMORY),
    (7, body("return sorted(range(5000000))[0]"), MEMORY),
    (7, body("return len(json.dumps(list(range(5000000))))", head="import json"), MEMORY),
    (7, body("return len(list(itertools.product(range(1000), repeat=4)))", head="import itertools"), MEMORY),
    (8, body("return 1").replace("def", "async def"), BAD),
    (8, "import asyncio\n" + body("return 1"), ERROR),
    (9, body("return [process, require, std, load, Deno]"), ERROR),
    (9, body("return globals()"), ERROR),
    (9, body("return vars()"), ERROR),
    (9, body("return dir(__builtins__)"), ERROR),
    (9, body("return __loader__"), ERROR),
    (10, body("return os.listdir('/')", head="import os"), ERROR),
    (10, body("import os", "return os.environ"), ERROR),
    (10, body("return 1", head="x = 1; import sys"), ERROR),
    (10, body("return 1", head="from os import path"), ERROR),
    (10, body("return 1", head="import json, os"), ERROR),
    (10, body("return 1", head="from . import settings"), ERROR),
    (10, body("return __import__('os').listdir('/')"), ERROR),
    (10, body("return __builtins__['__import__']('os')"), ERROR),
    (10, body("return importlib.import_module('os')", head="import importlib"), ERROR),
    (11, body("try: 1 / 0", "except Exception as error: return str(error.__traceback__.tb_frame)"), ERROR),
    (11, body("try: [].x", "except AttributeError as error: return str(error.obj.__class__)"), ERROR),
    (13, body("a = []", "a.append(a)", "return a"), BAD),
    (13, body("a = {}", "a['a'] = a", "return a"), BAD),
    (13, body("return main"), BAD),
    (13, body("return {1, 2}"), BAD),
    (13, body("return b'x'"), BAD),
    (13, body("return float('nan')"), BAD),
    (13, body("return [1e308 * 10]"), BAD),
    (13, body("return 2**70"), BAD),
    (13, body("return {(1, 2): 3}"), BAD),
    (13, body("return 'a\\x00b'"), BAD),
    (13, body("return C()", head="class C:\n    def __init__(self): self.x = 1"), BAD),
    (13, body("return C()", head="class C:\n    def __str__(self):\n        while True: pass"), BAD),
    (13, body("return (i for i in [object()])"), ERROR),
    (14, body("return 'x' * 10_000_000"), ("output_too_large", False)),
    (14, body("return ['x' * 1000] * 10_000"), ("output_too_large", False)),
    (16, body("return ().__class__.__base__.__subclasses__()"), ERROR),
    (16, body("return type(1).__mro__"), ERROR),
    (16, body("return getattr(1, '__' + 'class__').__bases__"), ERROR),
    (16, body("return main.__globals__"), ERROR),
    (16, body("return main.__code__"), ERROR),
    (16, body("return print.__self__"), ERROR),
    (17, body("return '{0.__class__}'.format(1)"), ERROR),
    (17, body("return '{a.__class__}'.format_map({'a': 1})"), ERROR),
    (17, body("return f'{args.__class__}'"), ERROR),
    (18, body("g = (i for i in [1])", "return str(g.gi_frame.f_back.f_builtins)"), ERROR),
    (18, body("try: raise ExceptionGroup('a', [ValueError()])", "except* ValueError as e: return str(e)"), ERROR),
    (18, body("yield 1"), ERROR),
    (19, body("return open('/etc/passwd').read()"), ERROR),
    (19, body("return open('/proc/self/environ').read()"), ERROR),
    (19, body("return open('/proc/1/environ', 'rb').read()"), ERROR),
    (20, body("return subprocess.run('id')", head="import subprocess"), ERROR),
    (20, body("return os.fork()", head="import os"), ERROR),
    (20, body("os.kill(os.getppid(), 9)", head="import os"), ERROR),
    (20, body("return multiprocessing", head="import multiprocessing"), ERROR),
    (21, body("return socket.create_connection(('127.0.0.1', 6379))", head="import socket"), ERROR),
    (21, body("return urllib.request.urlopen('http://169.254.169.254/')", head="import urllib.request"), ERROR),
    (22, body("open('canary', 'w').write('x')"), ERROR),
    (22, body("open('../canary', 'w').write('x')"), ERROR),
    (22, body("open('/tmp/staterail-canary-of-the-script-corpus', 'a').write('x')"), ERROR),
    (22, body("pathlib.Path('canary').touch()", head="import pathlib"), ERROR),
    (22, body("return tempfile.mkdtemp()", head="import tempfile"), ERROR),
    (23, body("return ctypes.CDLL(None)", head="import ctypes"), ERROR),
    (23, body("return open('/proc/self/mem', 'r+b')"), ERROR),
    (23, body("return eval('1')"), ERROR),
    (23, body("exec('x = 1')"), ERROR),
    (23, body("return compile('1', 'a', 'eval')"), ERROR),
    (23, body("return marshal.loads(b'')", head="import marshal"), ERROR),
    (23, body("return pickle.loads(b'cos\\nsystem\\n')", head="import pickle"), ERROR),
    (24, body("os.setsid()", head="import os"), ERROR),
    (24, body("signal.signal(15, signal.SIG_IGN)", head="import signal"), ERROR),
    (25, body("sys.stdout.buffer.write(b'\\x00\\x00\\x00\\x05forge')", head="import sys"), ERROR),
    (25, body("open('/proc/self/fd/1', 'wb').write(b'forged')"), ERROR),
    (25, body("open(1, 'w').write('forged')"), ERROR),
    (27, "x" * (64 * 1024 + 1), ERROR),
    (27, "def main(args):\n    return 1\x00", ERROR),
    (27, "\ud800", ERROR),
    (27, "a7 0d 0d 0a 00 00 00 00", ERROR),
    (27, "def main(args):\n    return " + "(" * 5000 + "1" + ")" * 5000, ERROR),
    (27, "def main(args):\n    return " + "-" * 60000 + "1", ERROR),
    (27, "def main(args):\n    return " + "1+" * 30000 + "1", ERROR),
    (28, body("return secrets"), ERROR),
    (28, body("return secrets.PAY_TOKEN"), ERROR),
    (28, body("return _staterail_args.secrets"), ERROR),
]


@pytest.mark.parametrize(
    ("row", "source", "expected"), ROWS, ids=[f"{row}-{number}" for number, (row, _, _) in enumerate(ROWS)]
)
def test_an_attack_fails_its_step_and_nothing_else(
    executor: ScriptExecutor, row: int, source: str, expected: tuple[str, bool], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    seconds, began = "300ms", time.monotonic()

    failure = failure_of(executor.execute, script_call(source, time=seconds))
    failed_at = time.monotonic()
    after = executor.execute(script_call(NEXT, "next"))

    assert (failure.code, failure.retryable) == expected, failure.message
    assert failed_at - began < 0.3 + 1.0 + 5.0  # its limit, the grace of a process that must be killed, a busy machine
    assert (after, time.monotonic() - failed_at < 5.0) == ("next", True)
    assert list(tmp_path.iterdir()) == []
    assert not Path("/tmp/staterail-canary-of-the-script-corpus").exists()
    assert len(descendants(os.getpid())) <= 2  # one sandbox: the process and the one that waits for it


@pytest.mark.parametrize(
    ("row", "source", "args", "output"),
    [
        (3, body("return bool(re.match('^(a+)+$', 'a' * 40 + '!'))", head="import re"), None, False),
        (15, body("return args"), {"__proto__": {"a": 1}, "constructor": 2, "__class__": 3, "self": 4}, None),
        (16, body("return 'ok' if str(args) else 0"), {"a": "().__class__"}, "ok"),
        (17, body("return '{0}'.format(args['t'])"), {"t": "{0.__class__}"}, "{0.__class__}"),
        (26, body("return datetime.date.today().year > 2000", head="import datetime"), None, True),
        (27, "\ufeff" + NEXT, 1, 1),
        (27, "#!/usr/bin/env python\n" + NEXT, 1, 1),
        (27, NEXT.replace("\n", "\r\n"), 1, 1),
        (28, body("return args['t']"), {"t": "${secrets.PAY_TOKEN}"}, "${secrets.PAY_TOKEN}"),
    ],
)
def test_what_looks_like_an_attack_and_is_only_data(
    executor: ScriptExecutor, row: int, source: str, args: Any, output: Any
) -> None:
    assert executor.execute(script_call(source, args)) == (args if output is None else output)


@pytest.mark.parametrize(
    ("module", "use"),
    [
        ("os", "os.listdir('/')"), ("os", "os.environ['PATH']"), ("os", "os.fork()"), ("os", "os.system('id')"),
        ("sys", "sys.modules"), ("sys", "sys._getframe()"), ("pathlib", "pathlib.Path('/etc/passwd').read_text()"),
        ("pathlib", "list(pathlib.Path('/proc').iterdir())"), ("socket", "socket.socket()"), ("io", "io.open('a')"),
        ("subprocess", "subprocess.run('id')"), ("ctypes", "ctypes.CDLL(None)"), ("builtins", "builtins.open('a')"),
        ("importlib", "importlib.import_module('os')"), ("gc", "gc.get_objects()"), ("inspect", "inspect.stack()"),
    ],
)  # fmt: skip
def test_the_engine_has_nothing_harmful_although_its_import_is_not_refused_by_us(
    executor: ScriptExecutor, module: str, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.definition.scripts.ALLOWED", frozenset({module}))

    failure = failure_of(executor.execute, script_call(body(f"return {use}", head=f"import {module}")))

    assert (failure.code, failure.retryable) == ERROR


@pytest.mark.parametrize(
    "leave",
    [
        "x = 1",
        "import json\njson.loads = None",
        "list = None",
        "print = None",
        "_staterail_json = 1",
        "def loads(): pass",
    ],
)
def test_a_script_finds_nothing_of_the_one_before(executor: ScriptExecutor, leave: str) -> None:
    """Row 12: each script has a session of its own."""
    with suppress(StepFailure):  # what becomes of the first is another test's matter
        executor.execute(script_call(leave + "\n" + body("return list([1])")))

    clean = body("print(json.loads('[1]'))", "return list((1, 2))", head="import json")
    assert executor.execute(script_call(clean)) == [1, 2]
    assert failure_of(executor.execute, script_call(body("return x"))).message == (
        "NameError: name 'x' is not defined (line 3)"
    )


@pytest.mark.parametrize("line", ["'a line'", "''", "'x' * 50, end=''"])
def test_a_million_lines_are_cut_with_a_notice(executor: ScriptExecutor, line: str) -> None:
    """Row 14."""
    call = script_call(body(f"for i in range(10**6): print({line})", "return 1"), time="20s")

    assert executor.execute(call) == 1
    lines = logged(call)
    assert lines[-1] == ("warning", CUT)
    assert lines.count(("warning", CUT)) == 1
    assert sum(len(text) + 1 for _, text in lines[:-1]) <= LIMIT_BYTES + 1


def test_what_is_printed_is_escaped(executor: ScriptExecutor) -> None:
    """Row 14."""
    call = script_call(body(r"print('\x1b[2J\x00 a\rb\r\n\u202e', end='')", "return 1"))

    executor.execute(call)

    assert logged(call) == [("info", "\\x1b[2J\\x00 a\\rb"), ("info", "\\u202e")]


def test_the_worker_holds_no_more_memory_after_attacks_on_it(executor: ScriptExecutor) -> None:
    attacks = [
        body("return 'x' * 10_000_000"),
        body("print('x' * 5_000_000)"),
        body("a = []\n    while 1: a += [1] * 99999"),
    ]

    def attack() -> None:
        for source in attacks:
            call = script_call(source, memory_mb=64, time="2s")
            with suppress(StepFailure):
                executor.execute(call)

    attack()
    before = _resident()
    for _ in range(2):
        attack()

    assert _resident() - before < 5 * 1024 * 1024


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
