"""What `run` and `approve` have in common: values from the command line, and what a person is told."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from staterail import single
from staterail.core.cli import manage_py
from staterail.core.errors import StateRailError
from staterail.core.strict_json import StrictJSONError, loads

JSON = Any


def json_given(option: str, text: str) -> JSON:
    """JSON as it stands, or of the file after an `@`. Raises CommandError."""
    where = f"{option}: {text[1:]}" if text.startswith("@") else option
    try:
        source = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
    except OSError as error:
        raise CommandError(f"{where}: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{where}: The file is not UTF-8 (byte {error.start}).") from None
    if not source.strip():
        raise CommandError(f"{where}: There is nothing in it; an empty object is {{}}.")
    try:
        return loads(source)
    except StrictJSONError as error:
        raise CommandError(f"{where}: {error.message}") from None


def told(error: StateRailError) -> str:
    """A refusal, with a line for each of its problems."""
    lines = [f"  {problem['path'] or '/'}: {problem['message']}" for problem in error.problems]
    return "\n".join([error.message, *lines])


def no_server() -> str:
    """A remark where nobody moves the runs of this data, else ""."""
    if not settings.EMBEDDED or single.is_held(Path(settings.STATERAIL_DATA)):
        return ""
    return f"No server is up on this data: the run waits until StateRail is started (`{manage_py()} up`)."
