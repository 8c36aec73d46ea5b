"""YAML in and out, read as 1.2 with JSON's types: `on` is a key, not true, and `1:30` is text.

Tags, aliases and anchors are refused, so that a small file cannot become a large document. Values
are made from the parser's events in one pass: the library's own constructors know merge keys,
YAML 1.1 where a directive asks for it, and more numbers than the core schema of 1.2.
"""

import io
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError as _LibraryError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from staterail.core.strict_json import StrictJSONError, dumps, loads
from workflows.definition.validation import MAX_BYTES

JSON = Any
MAX_NESTING = 64
_INT = re.compile(r"[-+]?[0-9]+")
_OTHER_INT = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS: dict[str, JSON] = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_ESCAPED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


_PLAINLY = [  # what the parser says, and what a person has most likely done
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("mapping values are not allowed", "no `key: value` can stand here: is the indentation right, or a quote missing?"),
    (r"found character '\\t'", "a tab cannot indent: use spaces"),
    (r"found character '[@`%]'", "text that begins with this character needs quotes"),
    ("found unexpected end of stream", "a quote is opened before and not closed"),
]


class YamlError(ValueError):
    """The text is no YAML that says JSON; the message has its line."""


class _Reader:
    """A document from its events."""

    def __init__(self) -> None:
        self.root: list[JSON] = []
        self._open: list[tuple[JSON, dict[str, str]]] = []  # collections, and the pending key of each mapping

    def read(self, event: Any) -> None:
        if isinstance(event, DocumentStartEvent) and self.root:
            raise YamlError(f"{_place(event)}: there is another document: one file is one definition")
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            raise YamlError(f"{_place(event)}: anchors and aliases are not read here")
        if getattr(event, "tag", None) is not None:
            raise YamlError(f"{_place(event)}: tags are not read here")
        if isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._open.pop()
        elif isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            if len(self._open) >= MAX_NESTING:
                raise YamlError(f"{_place(event)}: nested more than {MAX_NESTING} deep")
            made: JSON = {} if isinstance(event, MappingStartEvent) else []
            self._put(made, event)
            self._open.append((made, {}))

    def _scalar(self, event: ScalarEvent) -> None:
        if self._open and isinstance(self._open[-1][0], dict) and not self._open[-1][1]:
            mapping, pending = self._open[-1]
            if event.value in mapping:
                raise YamlError(f"{_place(event)}: the key {event.value[:100]!r} stands twice")
            pending["key"] = event.value  # as it is written: JSON's keys are text
        else:
            self._put(_plain(event) if event.style is None else event.value, event)

    def _put(self, value: JSON, event: Any) -> None:
        if not self._open:
            self.root.append(value)
            return
        parent, pending = self._open[-1]
        if isinstance(parent, list):
            parent.append(value)
        elif pending:
            parent[pending.pop("key")] = value
        else:
            raise YamlError(f"{_place(event)}: a key is text")


def from_yaml(text: str) -> JSON:
    """Raises YamlError."""
    if len(text.encode("utf-8", "surrogatepass")) > 4 * MAX_BYTES:
        raise YamlError("the file is larger than 4 MiB")
    reader = _Reader()
    try:
        for event in _parser().parse(io.StringIO(text)):
            reader.read(event)
        return loads(dumps(reader.root[0] if reader.root else None), max_depth=None)
    except _LibraryError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise YamlError(f"{place}{_plainly(str(getattr(error, 'problem', None) or error))}") from None
    except StrictJSONError as error:
        raise YamlError(error.message) from None


def to_yaml(value: JSON) -> str:
    """The same document as YAML 1.2, keys in their order."""
    writer = _parser()
    writer.default_flow_style = False
    writer.width = 100
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # typed None there
    writer.Representer = _Representer
    out = io.StringIO()
    writer.dump(value, out)
    return out.getvalue()


class _Representer(SafeRepresenter):
    """Line breaks that only YAML knows, and what cannot be seen, are escaped."""


def _text(representer: SafeRepresenter, text: str) -> ScalarNode:
    style = '"' if _ESCAPED.search(text) else None
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _text)


def _parser() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    return yaml


def _plain(event: ScalarEvent) -> JSON:
    """A plain scalar by the core schema of YAML 1.2."""
    text: str = event.value
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        if len(text) > 20:
            raise YamlError(f"{_place(event)}: the number {text[:30]} does not fit 64 bits")
        return int(text)
    other = _OTHER_INT.fullmatch(text)
    if other is not None:
        return int(other.group(1), 8) if other.group(1) else int(other.group(2), 16)
    if _FLOAT.fullmatch(text) or _NO_NUMBER.fullmatch(text):
        number = float(text.replace(".", "", 1) if _NO_NUMBER.fullmatch(text) else text)
        if not abs(number) < float("inf"):
            raise YamlError(f"{_place(event)}: {text[:30]} is no JSON number")
        return number
    return text


def _plainly(problem: str) -> str:
    return next((said for known, said in _PLAINLY if re.match(known, problem)), problem)


def _place(event: Any) -> str:
    return f"line {event.start_mark.line + 1}" if event.start_mark else "somewhere"
