"""The config of a Script step, checked anew: a retry may bring any input."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from runs.executors.base import StepFailure
from workflows.definition.durations import parse_duration
from workflows.definition.scripts import forbidden, imported, is_allowed

JSON = Any
MAX_SOURCE = 64 * 1024  # bytes
MAX_MEMORY_MB = 512
MIN_TIME, MAX_TIME = timedelta(milliseconds=1), timedelta(seconds=60)
DEFAULT_MEMORY_MB, DEFAULT_TIME = 32, "1s"


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
    for name, line, column in imported(source):
        if not is_allowed(name):
            _refuse(forbidden(name, line, column))
    return ScriptConfig(source, config.get("args"), time.total_seconds(), memory * 1024 * 1024)


def _refuse(message: str) -> NoReturn:
    raise StepFailure("script_error", message, retryable=False)
