"""Definition files: YAML or JSON, one workflow each, named after the file unless it says otherwise."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from staterail.core.errors import Problem
from staterail.core.strict_json import StrictJSONError, loads
from workflows.definition.yaml import YamlError, from_yaml
from workflows.selectors import SLUG_RULE, is_slug

JSON = Any
MAX_BYTES = 16 * 1024 * 1024


class BadFile(ValueError):
    """A definition file that cannot be read; the message names it."""


def read_definition(path: Path) -> JSON:
    """Raises BadFile."""
    data = _bytes(path)
    try:
        found = loads(data.strip() or "null") if path.suffix.lower() == ".json" else from_yaml(data.decode("utf-8"))
    except StrictJSONError as error:
        raise BadFile(f"{path}: {error.message}") from None
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: The file is not UTF-8 (byte {error.start}).") from None
    except YamlError as error:
        raise BadFile(f"{path}: {error}") from None
    if found is None:
        raise BadFile(f"{path}: The file is empty: it says nothing of a workflow.")
    return found


def read_json(path: Path) -> JSON:
    """A JSON file of another program, 16 MiB at most. Raises BadFile."""
    try:
        return loads(_bytes(path), max_bytes=MAX_BYTES, max_depth=None)
    except StrictJSONError as error:
        raise BadFile(f"{path}: {error.message}") from None


def slug_of(path: Path, given: str | None = None) -> str:
    """What a file's workflow is called: as given, or by the file's name. Raises BadFile."""
    slug = given or path.stem.lower().replace("_", "-").replace(".", "-").replace(" ", "-")[:63].strip("-")
    if not is_slug(slug):
        where, help = ("--slug", "") if given else (path, " Give one with --slug.")
        raise BadFile(f"{where}: {slug!r} is no slug. {SLUG_RULE}{help}")
    return slug


def lines_of(problems: Iterable[Problem]) -> list[str]:
    """Problems for a terminal, one a line."""
    lines = []
    for problem in problems:
        step = problem.get("step_id")
        where = f"{problem['path'] or '/'}{f' (step {step})' if step else ''}"
        lines.append(f"  {problem['severity']} {problem['code']} at {where}: {problem['message']}")
    return lines


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise BadFile(f"{path}: The file is larger than 16 MiB.")
    return data
