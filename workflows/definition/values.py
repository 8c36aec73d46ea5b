"""The values that expressions read, and what is found out about them once.

CEL copies all that it is given, and an input may have 1 MiB: a thousand conditions over it copy it once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cel_expr_python import cel

JSON = Any
Path = tuple[str, ...]  # a dotted name and the keys that follow it
KEPT = 4  # copies of CEL's: each takes some twenty times the JSON text

_env = cel.NewEnv()


class Values:
    """Values by dotted name. Nobody changes them."""

    __slots__ = ("by_name", "_activation", "_known")

    def __init__(self, by_name: Mapping[str, JSON]) -> None:
        self.by_name = by_name
        self._activation: Any = None
        self._known: dict[Any, Any] = {}

    @property
    def activation(self) -> Any:
        """What CEL's programs are given. It copies a value when the first of them reads it."""
        if self._activation is None:
            self._activation = _env.Activation(self.by_name)
        return self._activation

    def once(self, key: Any, find: Callable[..., Any], *arguments: Any) -> Any:
        """What `find` says of these values, asked at the first call with this key."""
        if key not in self._known:
            self._known[key] = find(*arguments)
        return self._known[key]

    def are(self, by_name: Mapping[str, JSON]) -> bool:
        """Whether these are the very same values; texts may be equal ones."""
        return self.by_name.keys() == by_name.keys() and all(
            value is by_name[name] or (isinstance(value, str) and value == by_name[name])
            for name, value in self.by_name.items()
        )


def at(path: Path, context: Mapping[str, JSON], missing: JSON = None) -> JSON:
    """What a path leads to."""
    value: JSON = context.get(path[0], missing)
    for key in path[1:]:
        if not isinstance(value, dict) or key not in value:
            return missing
        value = value[key]
    return value


_recent: deque[Values] = deque(maxlen=KEPT)


def values_of(paths: Iterable[Path], context: Mapping[str, JSON]) -> Values:
    """What these paths read: without all that stands beside them, where they lead to scalars only."""
    scalars = scalars_of(paths, context)
    if scalars is not None:
        return Values(scalars)
    by_name = {path[0]: context[path[0]] for path in paths if path[0] in context}
    for values in tuple(_recent):
        if values.are(by_name):
            return values
    values = Values(by_name)
    if not any(name.startswith("secrets.") for name in by_name):
        _recent.append(values)
    return values


def scalars_of(paths: Iterable[Path], context: Mapping[str, JSON]) -> dict[str, JSON] | None:
    """The context with nothing but what these paths read; None where that is not scalars only."""
    read: dict[str, JSON] = {}
    for path in paths:
        source, into = context, read
        for more, key in zip(range(len(path) - 1, -1, -1), path, strict=True):
            if key not in source:
                break
            value = source[key]
            if more and isinstance(value, dict):
                source, into = value, into.setdefault(key, {})
            elif isinstance(value, dict | list):
                return None
            else:
                into[key] = value
                break
    return read
