"""Script steps: what goes in and comes out, how errors read, which limits hold."""

import math
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from runs.executors.script import ScriptExecutor
from runs.tests.executors.calls import CallFactory, body, failure_of, logged, script_call, told
from workflows.definition.scripts import imported

ENDLESS = "def main(args):\n    while True: pass"


@pytest.fixture(scope="module")
def executor() -> Iterator[ScriptExecutor]:
    with closing(ScriptExecutor(2)) as executor:
        yield executor


# Values.


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -1, 2**63 - 1, -(2**63), 1.5, 1e300, -0.0, "", "grüße 日本 😀", "\\ \" \n \t", [], {},
        [1, [2, [3, None]]], {"a": {"b": [True, 1.5, "x"]}, "ü": None}, {"": 1}, "x" * 1_000_000,
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_json_goes_in_and_comes_out_as_it_is(executor: ScriptExecutor, value: Any) -> None:
    output = executor.execute(script_call("def main(args):\n    return args", value))

    assert output == value
    assert type(output) is type(value)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        (body("return 7 / 2"), 3.5),
        (body("return (1, 2)"), [1, 2]),
        (body("return {1: 'a', 2.5: 'b', None: 'c'}"), {"1": "a", "2.5": "b", "null": "c"}),
        (body("pass"), None),
        ("main = lambda args: args['a']", 1),
        (body("return helper(args['a'])", head="def helper(n):\n    return n + 1"), 2),
        (body("return LIMIT", head="LIMIT = 5"), 5),
        (body("return sorted(args.items())"), [["a", 1]]),
        (body("return json.loads(json.dumps({'a': 1}))", head="import json"), {"a": 1}),
        (body("return re.sub('[aeiou]', '', 'staterail')", head="import re"), "sttrl"),
        (body("return math.floor(2.7)", head="import math"), 2),
        (body("return str(timedelta(hours=1))", head="from datetime import timedelta"), "1:00:00"),
        (body("return sha256(b'x').hexdigest()[:8]", head="from hashlib import sha256"), "2d711642"),
        (body("return dict(collections.Counter('aab'))", head="import collections"), {"a": 2, "b": 1}),
        (body("return list(it.chain([1], [2]))", head="import itertools as it"), [1, 2]),
        (body("return 1", head="import json, re as r, math"), 1),
        (body('"""', "import nothing from here", "from os import path", '"""', "return 1"), 1),
        (body("return 'import os'  # import sys"), "import os"),
    ],
)
def test_what_a_script_computes(executor: ScriptExecutor, source: str, output: Any) -> None:
    assert executor.execute(script_call(source, {"a": 1})) == output


@pytest.mark.parametrize(("count", "fits"), [(1024 * 1024 - 2, True), (1024 * 1024 - 1, False)])
def test_an_output_of_one_mebibyte_fits_and_no_byte_more(executor: ScriptExecutor, count: int, fits: bool) -> None:
    call = script_call(body(f"return 'x' * {count}"))

    if fits:
        assert executor.execute(call) == "x" * count
    else:
        assert told(failure_of(executor.execute, call)) == (
            "output_too_large", "The output is larger than 1 MiB.", False,
        )  # fmt: skip


def test_an_output_is_measured_in_bytes(executor: ScriptExecutor) -> None:
    failure = failure_of(executor.execute, script_call(body("return 'ü' * 600_000")))

    assert failure.code == "output_too_large"


# Prints.


def test_what_it_prints_is_in_the_log_line_by_line(executor: ScriptExecutor) -> None:
    call = script_call(body("print('a', 1, None)", "print('b\\n\\nc', end='')", "print('d')", "print('e', end='')"))

    executor.execute(call)

    assert logged(call) == [("info", "a 1 None"), ("info", "b"), ("info", ""), ("info", "cd"), ("info", "e")]


@pytest.mark.parametrize("end", ["raise ValueError('x')", "while True: pass", "print('x' * 3000000000)"])
def test_what_it_printed_before_it_failed_is_in_the_log(executor: ScriptExecutor, end: str) -> None:
    call = script_call(body("print('before', end='')", end), time="200ms")

    failure_of(executor.execute, call)

    assert logged(call) == [("info", "before")]


# Errors.


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (body("return args['missing']"), "KeyError: 'missing' (line 2)"),
        (body("return 1 / 0"), "ZeroDivisionError: division by zero (line 2)"),
        (body("raise ValueError('no luck')"), "ValueError: no luck (line 2)"),
        (body("x = 1", "", "raise ValueError('a\\x00\\x1b[2J')"), "ValueError: a\\x00\\x1b[2J (line 4)"),
        (
            body("return f()", head="def f():\n    return undefined"),
            "NameError: name 'undefined' is not defined (line 2)",
        ),
        ("1 / 0\n" + body("return 1"), "ZeroDivisionError: division by zero (line 1)"),
        ("x = 1", "The script defines no main(args)."),
        ("", "The script defines no main(args)."),
        (
            body("return json.dumps({1})", head="import json"),
            "TypeError: Object of type set is not JSON serializable (line 3)",
        ),
        (body("raise TimeoutError('mine')"), "TimeoutError: mine (line 2)"),
    ],
)
def test_an_error_says_what_and_where(executor: ScriptExecutor, source: str, message: str) -> None:
    assert told(failure_of(executor.execute, script_call(source, {}))) == ("script_error", message, False)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("2**70", "The number 1180591620717411303424 does not fit 64 bits."),
        ("-(2**63) - 1", "The number -9223372036854775809 does not fit 64 bits."),
        ("float('nan')", "NaN is no JSON number."),
        ("[float('-inf')]", "-Infinity is no JSON number."),
        ("'a\\x00b'", "A text contains the character NUL, which cannot be stored."),
        ("{1, 2}", "Object of type set is not JSON serializable"),
        ("{'x': b'x'}", "Object of type bytes is not JSON serializable"),
        ("main", "Object of type function is not JSON serializable"),
        ("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple"),
        ("around", "Circular reference detected"),
        ("deep", "maximum recursion depth exceeded"),
    ],
)
def test_an_output_that_is_no_json_is_a_bad_output(executor: ScriptExecutor, value: str, says: str) -> None:
    head = "around = []\naround.append(around)\ndeep = []\nfor _ in range(500): deep = [deep]"

    failure = failure_of(executor.execute, script_call(body(f"return {value}", head=head)))

    assert told(failure) == ("bad_output", f"The output is no JSON: {says}", False)


@pytest.mark.parametrize(("source", "line"), [("def main(args)\n    return 1", 1), (body("return 1", "  x = 2"), 3)])
def test_a_syntax_error_names_its_line(executor: ScriptExecutor, source: str, line: int) -> None:
    failure = failure_of(executor.execute, script_call(source))

    assert (failure.code, failure.retryable) == ("script_error", False)
    assert failure.message.startswith("SyntaxError: ")
    assert f"(line {line})" in failure.message


@pytest.mark.parametrize("source", [body("return ("), body("return 1", "if args:"), body("return [1,"), "x = 1 +"])
def test_a_source_that_ends_too_early_is_told_as_such(executor: ScriptExecutor, source: str) -> None:
    message = failure_of(executor.execute, script_call(source)).message

    assert message == "SyntaxError: The source ends in the middle of a statement."


@pytest.mark.parametrize("source", ["def main(): return 1", "def main(a, b): return 1", "main = 5", "class main: pass"])
def test_a_main_that_cannot_be_called_with_args_is_an_error(executor: ScriptExecutor, source: str) -> None:
    assert failure_of(executor.execute, script_call(source)).code == "script_error"


def test_a_long_message_is_cut(executor: ScriptExecutor) -> None:
    failure = failure_of(executor.execute, script_call(body("raise ValueError('x' * 100_000)")))

    assert len(failure.message) < 2000
    assert failure.message.endswith("(line 2)")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os", [("os", 1)]),
        ("import json, os.path as p, re", [("json", 1), ("os.path", 1), ("re", 1)]),
        ("from os import path, sep", [("os", 1)]),
        ("from os.path import (\n  join,\n  sep)\nimport re", [("os.path", 1), ("re", 4)]),
        ("from . import a", [(".", 1)]),
        ("from ..b import a", [("..b", 1)]),
        ("x = 1; import os; import sys", [("os", 1), ("sys", 1)]),
        ("if x: import os", [("os", 1)]),
        ("def f():\n    # why\n    from os import path\n", [("os", 3)]),
        ("import \\\n  os", [("os", 1)]),
        ("import os # import sys", [("os", 1)]),
        ("'''\nimport os\n'''\nx = 'import sys'", []),
        ("raise ValueError from error", []),
        ("def f():\n    yield from important", []),
        ("import", []),
        ("import os\n'", [("os", 1)]),
    ],
)
def test_the_modules_that_a_source_imports(source: str, found: list[tuple[str, int]]) -> None:
    assert [item[:2] for item in imported(source) if item[0]] == found


def test_an_import_that_is_not_allowed_is_told_with_what_is(executor: ScriptExecutor) -> None:
    failure = failure_of(executor.execute, script_call("\n\nimport requests\n" + body("return 1")))

    assert told(failure) == (
        "script_error",
        "ImportError: a script cannot import 'requests', "
        "only collections, datetime, hashlib, itertools, json, math, re (line 3, column 1)",
        False,
    )


# Limits.


@pytest.mark.parametrize(
    "config",
    [
        None, [], "x", {}, {"source": None}, {"source": 5}, {"source": "a\x00"}, {"source": "x" * 65_537},
        {"source": "ü" * 40_000}, {"source": "x", "memory_mb": 0}, {"source": "x", "memory_mb": 513},
        {"source": "x", "memory_mb": True}, {"source": "x", "memory_mb": 1.5}, {"source": "x", "memory_mb": "32"},
        {"source": "x", "time": "soon"}, {"source": "x", "time": -1}, {"source": "x", "time": 0},
        {"source": "x", "time": "61s"}, {"source": "x", "time": None}, {"source": "x", "time": True},
        {"source": "x", "time": math.nan},
    ],
)  # fmt: skip
def test_a_config_out_of_bounds_is_an_error(executor: ScriptExecutor, config: Any) -> None:
    failure = failure_of(executor.execute, CallFactory(kind="Script", config=config))

    assert (failure.code, failure.retryable) == ("script_error", False)


@pytest.mark.parametrize(("time_limit", "seconds"), [("100ms", 0.1), (0.2, 0.2), ("0.3s", 0.3)])
def test_the_time_is_what_the_config_says(executor: ScriptExecutor, time_limit: Any, seconds: float) -> None:
    began = time.monotonic()

    failure = failure_of(executor.execute, script_call(ENDLESS, time=time_limit))

    assert told(failure) == ("script_timeout", f"The script ran longer than {seconds:g} s.", True)
    assert seconds <= time.monotonic() - began < seconds + 5


def test_the_time_is_one_second_where_nothing_is_said(executor: ScriptExecutor) -> None:
    assert failure_of(executor.execute, script_call(ENDLESS)).message == "The script ran longer than 1 s."


def test_the_time_is_for_the_whole_source_and_not_for_main_alone(executor: ScriptExecutor) -> None:
    busy = "n = 0\nwhile n < args_n: n += 1\n".replace("args_n", "10**7")

    failure = failure_of(executor.execute, script_call(busy + ENDLESS, time="150ms"))

    assert failure.code == "script_timeout"


def test_more_memory_may_be_asked_for(executor: ScriptExecutor) -> None:
    source = body("return len('x' * 50_000_000)")

    assert failure_of(executor.execute, script_call(source)).code == "script_memory"
    assert failure_of(executor.execute, script_call(source, memory_mb=16)).code == "script_memory"
    assert executor.execute(script_call(source, memory_mb=128)) == 50_000_000


def test_args_count_as_memory_of_the_script(executor: ScriptExecutor) -> None:
    args = ["x" * 100] * 9000

    assert failure_of(executor.execute, script_call(body("return 1"), args, memory_mb=1)).code == "script_memory"
