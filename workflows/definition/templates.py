"""Templates: JSON in whose strings `${…}` stands for expressions; `$${` is a literal `${`.

A string that is one expression takes its type; otherwise the values are joined as text, a string
as it is and all else as compact JSON. Built segment by segment: CEL stops at 32 chained `+`.
"""

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from staterail.core.strict_json import dumps
from workflows.definition.expressions import STRING, BadExpression, Expression, ExpressionError, compile_expression

JSON = Any
Segment = str | Expression
Render = Callable[[Mapping[str, JSON], "Room"], JSON]
MAX_MADE = 1024 * 1024  # characters of JSON: what expressions make of one template


class Template:
    """A compiled template. `constant` has no expression in it: `render` needs no context."""

    __slots__ = ("references", "secrets", "constant", "_value", "_render")

    def __init__(self, value: JSON, expressions: list[Expression], render: Render) -> None:
        self.references = frozenset[str]().union(*(e.references for e in expressions))
        self.secrets = frozenset(name.partition(".")[2] for name in self.references if name.startswith("secrets."))
        self.constant = not expressions
        self._value, self._render = value, render

    def render(self, context: Mapping[str, JSON]) -> JSON:
        """The value with its expressions evaluated; not to be changed. Raises ExpressionError."""
        return self._value if self.constant else self._render(context, Room())


class Room:
    """What one rendering may still make: an input of 1 MiB that is put in a thousand times is refused, not written."""

    __slots__ = ("_left", "_known")

    def __init__(self) -> None:
        self._left = MAX_MADE
        self._known: dict[int, tuple[JSON, int]] = {}  # by identity; the value is kept, so that it stays its own

    def take(self, value: JSON) -> JSON:
        """The value, once there is room for it. Raises ExpressionError."""
        if isinstance(value, dict | list):
            known = self._known.get(id(value))
            if known is None:
                known = self._known[id(value)] = value, _size(value, self._left)
            self._left -= known[1]
        else:
            self._left -= len(value) if isinstance(value, str) else 1
        if self._left < 0:
            raise ExpressionError("what the expressions make is larger than 1 MiB")
        return value


def _size(value: JSON, enough: int) -> int:
    """Characters of its JSON, at least; no more than `enough` and a little are counted."""
    size, waiting = 0, [value]
    while waiting and size <= enough:
        item = waiting.pop()
        if isinstance(item, str):
            size += len(item) + 2
        elif isinstance(item, dict):
            size += 2 + sum(map(len, item)) + 4 * len(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            size += 1 + len(item)
            waiting.extend(item)
        else:
            size += 1
    return size


def compile_template(value: JSON, step_ids: Container[str], *, secrets: bool = False) -> Template:
    """Raises BadExpression for the first expression that does not compile."""
    expressions: list[Expression] = []
    render = _compiled(value, step_ids, secrets, expressions)
    template = Template(None, expressions, render)
    if template.constant:
        template._value = render({}, Room())
    return template


def find_expressions(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a string: (is an expression, text). Raises BadExpression for an unclosed `${`."""
    position, literal = 0, ""
    while (start := text.find("${", position)) >= 0:
        if start > 0 and start - 1 >= position and text[start - 1] == "$":
            literal += text[position : start - 1] + "${"
            position = start + 2
            continue
        literal += text[position:start]
        end = _closing(text, start + 2)
        if end is None:
            raise BadExpression("bad_expression", "A `${` is not closed by `}`; a literal one is written `$${`.")
        if literal:
            yield False, literal
            literal = ""
        yield True, text[start + 2 : end]
        position = end + 1
    literal += text[position:]
    if literal:
        yield False, literal


def _closing(text: str, position: int) -> int | None:
    """Where the expression that begins at `position` is closed: not within a string, not a map's brace."""
    depth = 0
    while position < len(text):
        char = text[position]
        if char in "'\"rRbB" and (string := STRING.match(text, position)):
            position = string.end()
            continue
        if char in "'\"":
            return None  # a string that does not end
        if char == "{":
            depth += 1
        elif char == "}":
            if depth == 0:
                return position
            depth -= 1
        position += 1
    return None


def has_expression(value: JSON) -> bool:
    """Whether a string has an expression in it, so that its value is not known before a run."""
    return isinstance(value, str) and "${" in value and any(found for found, _ in _parts(value))


def _parts(text: str) -> list[tuple[bool, str]]:
    try:
        return list(find_expressions(text))
    except BadExpression:
        return [(True, text)]


def _compiled(value: JSON, step_ids: Container[str], secrets: bool, into: list[Expression]) -> Render:
    if isinstance(value, str):
        return _text(value, step_ids, secrets, into)
    if isinstance(value, dict | list):
        before = len(into)
        items = value.items() if isinstance(value, dict) else enumerate(value)
        renders = [(key, _compiled(item, step_ids, secrets, into)) for key, item in items]
        if len(into) == before:
            constant = dict(_each(renders)) if isinstance(value, dict) else [item for _, item in _each(renders)]
            return lambda _, room: constant
        if isinstance(value, dict):
            return lambda context, room: {key: render(context, room) for key, render in renders}
        return lambda context, room: [render(context, room) for _, render in renders]
    return lambda _, room: value


def _each(renders: list[tuple[Any, Render]]) -> Iterator[tuple[Any, JSON]]:
    return ((key, render({}, Room())) for key, render in renders)


def _text(text: str, step_ids: Container[str], secrets: bool, into: list[Expression]) -> Render:
    if "${" not in text:
        return lambda _, room: text
    segments: list[Segment] = []
    for is_expression, part in find_expressions(text):
        if is_expression:
            expression = compile_expression(part.strip(), step_ids, secrets=secrets)
            into.append(expression)
            segments.append(expression)
        else:
            segments.append(part)
    if not any(isinstance(segment, Expression) for segment in segments):
        literal = "".join(str(segment) for segment in segments)
        return lambda _, room: literal
    if len(segments) == 1 and isinstance(segments[0], Expression):
        expression = segments[0]
        return lambda context, room: room.take(expression.evaluate(context))
    return lambda context, room: _joined(segments, context, room)


def _joined(segments: list[Segment], context: Mapping[str, JSON], room: Room) -> str:
    texts = []
    for segment in segments:
        if isinstance(segment, str):
            texts.append(segment)
        else:
            value = room.take(segment.evaluate(context))
            texts.append(value if isinstance(value, str) else dumps(value))
    return "".join(texts)
