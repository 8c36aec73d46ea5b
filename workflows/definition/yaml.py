"""YAML in and out, read as 1.2 with JSON's types: `on` is a key, not true, and `1:30` is text.

Tags, aliases and anchors are refused, so that a small file cannot become a large document.
"""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError as _LibraryError
from ruamel.yaml.events import AliasEvent, NodeEvent

from staterail.core.strict_json import StrictJSONError, dumps, loads
from workflows.definition.validation import MAX_BYTES

JSON = Any
MAX_NESTING = 64


class _JSONConstructor(SafeConstructor):
    """YAML's types, but for dates: JSON has none, they stay text."""


_JSONConstructor.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)


class YamlError(ValueError):
    """The text is no YAML that says JSON; the message has its line."""


def from_yaml(text: str) -> JSON:
    """Raises YamlError."""
    if len(text.encode("utf-8", "surrogatepass")) > 4 * MAX_BYTES:
        raise YamlError("the file is larger than 4 MiB")
    try:
        depth = 0
        for event in _parser().parse(io.StringIO(text)):
            place = f"line {event.start_mark.line + 1}" if event.start_mark else "somewhere"
            if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
                raise YamlError(f"{place}: anchors and aliases are not read here")
            if getattr(event, "tag", None) is not None and not _plain(event):
                raise YamlError(f"{place}: tags are not read here")
            depth += type(event).__name__.endswith("StartEvent") - type(event).__name__.endswith("EndEvent")
            if depth > MAX_NESTING:
                raise YamlError(f"{place}: nested more than {MAX_NESTING} deep")
        value = _parser().load(io.StringIO(text))
        return loads(dumps(value), max_depth=None)
    except YamlError:
        raise
    except (_LibraryError, StrictJSONError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise YamlError(f"{place}{getattr(error, 'problem', None) or error}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise YamlError(f"this says no JSON: {error}") from None


def to_yaml(value: JSON) -> str:
    """The same document as YAML 1.2, keys in their order."""
    writer = _parser()
    writer.default_flow_style = False
    writer.width = 100
    out = io.StringIO()
    writer.dump(value, out)
    return out.getvalue()


def _parser() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    yaml.allow_duplicate_keys = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # typed None there
    yaml.Constructor = _JSONConstructor
    return yaml


def _plain(event: Any) -> bool:
    return event.tag in (None, "!") and bool(getattr(event, "implicit", True))
