"""What evaluating an expression may cost, judged before and after CEL has it.

CEL counts iterations (9,999) and nothing else: it copies a list for every entry that `map` and
`filter` add, joins text without a bound, and looks for a text within a text by trying every place.
A line of 40 characters over an input of 1 MiB could so take gigabytes. Expressions without
a macro, a literal list or object, or `contains` cost what they read, and are not looked at.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON = Any
MAX_ITERATIONS = 9_999  # CEL's own
MAX_COPIES = 2_500 * 2_500  # list entries copied by map and filter, about 100 ms and 100 MB
MAX_TEXT = 64 * 1024 * 1024  # characters read or built within macros
MAX_SEARCH = 4_000_000_000  # places times length, in `contains`: about 100 ms
MAX_VALUE = 1024 * 1024  # characters of JSON
MAX_ENTRIES = 50_000  # entries of the lists and objects that an expression makes itself
MAX_GROWTH = 1024
ANYTHING = "?"  # an argument that is no plain name

_MACRO = re.compile(r"\.\s*(map|filter|all|exists|exists_one)\s*\(\s*([A-Za-z_]\w*)?")
_CONTAINS = re.compile(r"\.\s*contains\s*\(\s*([^()]*)\)")
_PART = re.compile(r"\s*([A-Za-z_]\w*)(?:\s*\.\s*\w+|\s*\[[^\[\]]*\])*\s*")
_CLOSING = {")": "(", "]": "[", "}": "{"}


class TooExpensive(Exception):
    """The message says what is too large."""


@dataclass(frozen=True, slots=True)
class _Macro:
    builds: bool  # map and filter make a list
    variable: str
    receiver: str
    start: int
    body: str
    end: int

    def holds(self, other: "_Macro") -> bool:
        return self.start < other.start and other.end <= self.end


@dataclass(frozen=True, slots=True)
class Budget:
    """What an expression does that multiplies the size of what it reads."""

    macros: bool
    builds: int  # how many of them make a list
    depth: int  # how often every entry that is read is looked at again for every other one
    literal: int  # and how often for every entry of literal lists
    dependent: bool  # whether an inner macro goes through a part of the entry of the outer one
    joins: int  # how many times longer than what is read a list may be
    growth: int  # the same for text
    sought: tuple[str, ...]  # arguments of `contains`
    levels: int  # of lists and objects that the expression makes itself

    @classmethod
    def of(cls, bare: str) -> "Budget | None":
        """`bare` is the source with blanks for its strings. None: it costs what it reads."""
        macros = _macros(bare)
        sought = tuple(match.group(1).strip() for match in _CONTAINS.finditer(bare))
        sought += (ANYTHING,) * (len(re.findall(r"\.\s*contains\s*\(", bare)) - len(sought))
        levels = len(macros) + bare.count("[") + bare.count("{")
        if not macros and not sought and not levels:
            return None
        joined = bare if len(macros) > 1 else "".join(macro.receiver for macro in macros)
        depths = [_depth_of(macro, macros) for macro in macros]
        return cls(
            macros=bool(macros),
            builds=sum(macro.builds for macro in macros),
            depth=max((depth for depth, _, _ in depths), default=0),
            literal=max((literal for _, literal, _ in depths), default=1),
            dependent=any(dependent for _, _, dependent in depths),
            joins=1 + joined.count("+"),
            growth=growth(bare),
            sought=sought,
            levels=levels,
        )

    @property
    def counts(self) -> bool:
        """Whether the size of what it reads matters."""
        return self.macros or bool(self.sought)

    def check(self, source: str, read: Mapping[str, JSON], size: "Size") -> None:
        """Raises TooExpensive. `read` are the values that the expression reads, by path, `size` is theirs."""
        longest = max(size.longest, 1 + source.count(",")) * self.joins
        text = max(size.text, len(source))
        times = min(MAX_ITERATIONS, self.literal * max(longest**self.depth, size.entries if self.dependent else 0))
        squares = max(size.squares, longest) * self.joins**2 * self.literal
        copies = self.builds * (min(longest * times, squares) if self.depth < 2 else longest * times)
        if copies > MAX_COPIES:
            raise TooExpensive(f"map and filter over {size.longest} entries build lists too large to copy")
        if self.macros and text * times * self.growth > MAX_TEXT:
            raise TooExpensive(f"text of {size.text} characters is too long for macros over {size.longest} entries")
        for argument in self.sought:
            its = read.get(argument)  # blank is a literal
            length = len(its) if isinstance(its, str) else text if argument else len(source)
            if text * self.growth * length * max(1, times if self.macros else 1) > MAX_SEARCH:
                raise TooExpensive(f"contains looks for {length} characters in {text}: that is too long")


def growth(bare: str) -> int:
    """How many times its operands an expression may multiply by `+` within macros."""
    product = 1
    for macro in _macros(bare):
        product *= 1 + macro.body.count("+")
    return product


def plain(value: Any, levels: int) -> JSON:
    """A value of CEL as Python's, the `levels` that the expression made itself entry by entry. Raises TooExpensive."""
    if levels == 0:
        return value.plain_value()
    left = [MAX_VALUE, MAX_ENTRIES]
    return _plain(value, levels, left)


def _plain(value: Any, levels: int, left: list[int]) -> JSON:
    inner = value.value() if levels else value.plain_value()
    if levels and isinstance(inner, list | dict):
        left[0] -= 2
        left[1] -= len(inner)
        _refuse_spent(left)
        if isinstance(inner, list):
            return [_plain(item, levels - 1, left) for item in inner]
        return {key: _plain(item, levels - 1, left) for key, item in inner.items()}
    left[0] -= _weight(inner)
    _refuse_spent(left)
    return inner


def _refuse_spent(left: Sequence[int]) -> None:
    if left[0] < 0:
        raise TooExpensive("the value is larger than 1 MiB")
    if left[1] < 0:
        raise TooExpensive(f"the value has more than {MAX_ENTRIES} entries")


def _weight(value: JSON) -> int:
    """Characters of JSON, or a little less."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | dict):
        return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str, skipkeys=True))
    return 1


@dataclass(slots=True)
class Size:
    """Of JSON values: the longest list or object, entries and their squares in all, the longest text."""

    longest: int = 0
    entries: int = 0
    squares: int = 0
    text: int = 0

    @classmethod
    def of(cls, values: Iterable[JSON]) -> "Size":
        size, waiting = cls(), list(values)
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                size.text = max(size.text, len(item))
            elif isinstance(item, list | dict):
                count = len(item)
                size.longest = max(size.longest, count)
                size.entries += count
                size.squares += count * count
                waiting.extend(item.values() if isinstance(item, dict) else item)
        return size


def _macros(bare: str) -> list[_Macro]:
    found = []
    for match in _MACRO.finditer(bare):
        opening = bare.index("(", match.start())
        end = _group(bare, opening, 1)
        found.append(
            _Macro(
                match.group(1) in ("map", "filter"), match.group(2) or "", _receiver(bare, match.start()),
                match.start(), bare[opening + 1 : end], end,
            )
        )  # fmt: skip
    return found


def _depth_of(macro: _Macro, macros: Sequence[_Macro]) -> tuple[int, int, bool]:
    """How deep a macro stands in others that go through what is read; how many entries the literal lists among
    them have, multiplied; and whether one goes through a part of the entry of the next outer one."""
    around = sorted((other for other in macros if other.holds(macro)), key=lambda other: other.start)
    depth, literal, dependent = 0, 1, False
    for n, one in enumerate([*around, macro]):
        receiver = one.receiver.strip()
        part = _PART.fullmatch(receiver)
        if n and part is not None and part.group(1) == around[n - 1].variable:
            dependent = True
        elif receiver.startswith("[") and _group(receiver, 0, 1) == len(receiver) - 1:
            literal *= 1 + receiver.count(",")
        else:
            depth += 1
    return depth, literal, dependent


def _group(bare: str, position: int, step: int) -> int:
    """Where the bracket at `position` is closed (or, backwards, opened); the end of the text if nowhere."""
    up, down = ("([{", ")]}") if step > 0 else (")]}", "([{")
    depth = 0
    while 0 <= position < len(bare):
        depth += (bare[position] in up) - (bare[position] in down)
        if depth == 0:
            return position
        position += step
    return max(0, position)


def _receiver(bare: str, end: int) -> str:
    """What stands before the dot of a call: names, calls, indexes and groups, read backwards."""
    position = end - 1
    while position >= 0:
        char = bare[position]
        if char in _CLOSING:
            position = _group(bare, position, -1) - 1
        elif char.isalnum() or char in "_. \t\r\n":
            position -= 1
        else:
            break
    return bare[position + 1 : end]
