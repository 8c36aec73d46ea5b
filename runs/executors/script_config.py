"""The config of a Script step, checked anew: a retry may bring any input."""

import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from runs.executors.base import StepFailure
from workflows.definition.durations import parse_duration

JSON = Any
ALLOWED = frozenset({"json", "re", "math", "datetime", "hashlib", "collections", "itertools"})
MAX_SOURCE = 64 * 1024  # bytes
MAX_MEMORY_MB = 512
MIN_TIME, MAX_TIME = timedelta(milliseconds=1), timedelta(seconds=60)
DEFAULT_MEMORY_MB, DEFAULT_TIME = 32, "1s"
_STARTS = frozenset({tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT})


@dataclass(frozen=True, slots=True)
class ScriptConfig:
    source: str
    args: JSON
    seconds: float
    memory: int  # bytes


def parse_config(config: JSON) -> ScriptConfig:
    """Raises StepFailure `script_error`."""
    if not isinstance(config, dict):
        _refuse("The step's input is no object.")
    source, memory = config.get("source"), config.get("memory_mb", DEFAULT_MEMORY_MB)
    if not isinstance(source, str) or len(source.encode("utf-8", "replace")) > MAX_SOURCE or "\x00" in source:
        _refuse("`source` is text of at most 64 KiB.")
    if isinstance(memory, bool) or not isinstance(memory, int) or not 1 <= memory <= MAX_MEMORY_MB:
        _refuse(f"`memory_mb` is a whole number between 1 and {MAX_MEMORY_MB}.")
    try:
        time = parse_duration(config.get("time", DEFAULT_TIME))
    except ValueError as error:
        _refuse(f"`time`: {error}")
    if not MIN_TIME <= time <= MAX_TIME:
        _refuse("`time` is between 1 ms and 60 s.")
    for name, line in imported(source):
        if name.split(".")[0] not in ALLOWED:
            known = ", ".join(sorted(ALLOWED))
            _refuse(f"ImportError: a script cannot import {name[:60]!r}, only {known} (line {line})")
    return ScriptConfig(source, config.get("args"), time.total_seconds(), memory * 1024 * 1024)


def imported(source: str) -> Iterator[tuple[str, int]]:
    """The (module, line) of each import statement, as far as the source can be read.

    The engine reads the rest, refuses it, and has nothing harmful to import anyway: this is to say
    early and clearly what a script may use. Tokens, not a parser: it cannot be made to recurse.
    """
    if "import" not in source:
        return
    statement: list[str] | None = None  # the words of the one being read
    line, at_start = 1, True
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if statement is None:
                if token.type == tokenize.NAME and (token.string == "import" or (token.string == "from" and at_start)):
                    statement, line = [token.string], token.start[0]
            elif token.type == tokenize.NEWLINE or token.string == ";":
                yield from ((name, line) for name in _modules(statement))
                statement = None
            elif token.type not in _STARTS:
                statement.append(token.string)
            at_start = token.type in _STARTS or token.string in (";", ":")
    except (tokenize.TokenError, SyntaxError):  # the engine says where
        return


def _modules(statement: list[str]) -> list[str]:
    if statement[0] == "from":
        end = statement.index("import") if "import" in statement else len(statement)
        return ["".join(statement[1:end])]
    parts = "".join(f" {word} " if word == "as" else word for word in statement[1:]).split(",")
    return [part.split(" as ")[0].strip() for part in parts]


def _refuse(message: str) -> NoReturn:
    raise StepFailure("script_error", message, retryable=False)
