"""Definition files: YAML or JSON, one workflow each, named after the file unless it says otherwise."""

from pathlib import Path
from typing import Any

from staterail.core.strict_json import StrictJSONError, loads
from workflows.definition.yaml import YamlError, from_yaml

JSON = Any


class BadFile(ValueError):
    """A definition file that cannot be read; the message names it."""


def read_definition(path: Path) -> JSON:
    """Raises BadFile."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise BadFile(f"{path}: {error}") from None
    try:
        return loads(text) if path.suffix == ".json" else from_yaml(text)
    except StrictJSONError as error:
        raise BadFile(f"{path}: {error.message}") from None
    except YamlError as error:
        raise BadFile(f"{path}: {error}") from None
