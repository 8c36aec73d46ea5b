"""Expressions: CEL, behind this one module.

Names are declared dotted (`steps.fetch.output`), so that a typo is a compile error with its
place. CEL's own budgets hold (9,999 iterations, recursion 32); for what they leave open there are
those of `budgets`.
"""

import math
import re
from collections.abc import Container, Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

from workflows.definition.budgets import MAX_GROWTH, Budget, Size, TooExpensive, growth, plain
from workflows.definition.values import Path, Values, at, values_of

JSON = Any
MAX_CHARACTERS = 1000
MAX_OPERAND = 2048  # characters of JSON that an event keeps of a value that a condition read
MIN_INT, MAX_INT = -(2**63), 2**63 - 1

_T = cel.Type
_FIELDS = {"output": _T.DYN, "error": _T.DYN, "state": _T.STRING, "attempt": _T.INT}
_RUN = {"run.id": _T.STRING, "run.corr_id": _T.STRING, "run.metadata": _T.DYN}
STRING = re.compile(
    r"""[bB]?[rR][bB]?(?:"{3}.*?"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')"""
    r"""|[bB]?(?:"{3}(?:[^\\]|\\.)*?"{3}|'{3}(?:[^\\]|\\.)*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""",
    re.DOTALL,
)
_UNREAD = re.compile(STRING.pattern + r"|//[^\n]*", re.DOTALL)  # strings and comments
_CHAIN = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*")
_ABSOLUTE = re.compile(r"((?:^|\bin\b|[^\w\s.)\]}])\s*)\.(?=\s*[A-Za-z_])")  # `.input` is CEL's long name of `input`
_HAS = re.compile(r"\bhas\s*\(\s*([A-Za-z_][\w\s.]*?)\s*\)")
_UNDECLARED = re.compile(r"<input>:(\d+):(\d+): undeclared reference to '([^']*)'")
_PLACE = re.compile(r"<input>:(-?\d+):(-?\d+): (.*)")
_MISSING = object()
_SCALARS = {_T.BOOL.name(), _T.INT.name(), _T.NULL.name()}


class ExpressionError(Exception):
    """An expression could not be evaluated. It is never read as false."""


class BadExpression(Exception):
    """An expression that does not compile.

    `code` is `bad_expression`, `undeclared_name`, `unknown_reference` or `secret_not_allowed`;
    `place` is (line, column), both from 1, None where there is none.
    """

    def __init__(self, code: str, message: str, place: tuple[int, int] | None = None) -> None:
        line, column = place or (0, 0)
        where = f" (line {line}, column {column})" if line > 1 else f" (column {column})" if place else ""
        super().__init__(message + where)
        self.code, self.message, self.place = code, str(self), place


class Expression:
    """A compiled expression. `references` are the dotted names it reads, `reads` the full paths."""

    __slots__ = ("source", "references", "reads", "kind", "_paths", "_program", "_budget", "_is_path")

    def __init__(self, source: str, paths: Mapping[str, Path], program: Any, budget: Budget | None) -> None:
        self.source, self._program, self._budget = source, program, budget
        self.references = frozenset(path[0] for path in paths.values())
        self.reads, self._paths = tuple(paths), tuple(paths.values())
        self._is_path = len(paths) == 1 and re.sub(r"\s", "", source) == self.reads[0]
        self.kind: str = program.return_type().name()  # CEL's name of the type, DYN where it is not known

    def evaluate(self, context: Mapping[str, JSON]) -> JSON:
        """The value as JSON, not to be changed. `context` is by dotted name. Raises ExpressionError.

        What a path leads to is as it was written; objects that come out of CEL have their keys in alphabetical
        order, for CEL has them in any.
        """
        if self._is_path:
            found = at(self._paths[0], context, _MISSING)
            if found is not _MISSING:
                return found
        values = values_of(self._paths, context)
        try:
            if self._budget is not None and self._budget.counts:
                self._check(self._budget, values)
            value = self._program.eval(values.activation)
            kind = value.type().name()
            if kind == "ERROR":
                raise ExpressionError(f"{self.source}: {_readable(str(value.value()))}")
            found = plain(value, self._budget.levels if self._budget is not None else 0)
        except ExpressionError:
            raise
        except TooExpensive as error:
            raise ExpressionError(f"{self.source}: {error}") from None
        except (Exception, MemoryError) as error:
            raise ExpressionError(f"{self.source}: {_readable(str(error) or type(error).__name__)}") from None
        return found if kind in _SCALARS else self._as_json(found, kind)

    def _check(self, budget: Budget, values: Values) -> None:
        read = {name: at(path, values.by_name) for name, path in zip(self.reads, self._paths, strict=True)}
        budget.check(self.source, read, values.once(self.reads, Size.of, read.values()))

    def _as_json(self, value: JSON, kind: str) -> JSON:
        if kind in ("BYTES", "TIMESTAMP", "DURATION", "TYPE"):
            raise ExpressionError(f"{self.source}: a {kind.lower()} is no JSON: convert it, as with string(…)")
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, dict):
                if not all(isinstance(key, str) for key in item):
                    raise ExpressionError(f"{self.source}: a key of a JSON object is text")
                entries = sorted(item.items())
                item.clear()
                item.update(entries)
                waiting.extend(item)
                waiting.extend(item.values())
            elif isinstance(item, list):
                waiting.extend(item)
            elif isinstance(item, str):
                if "\x00" in item:
                    raise ExpressionError(f"{self.source}: a text has the character NUL, which is no JSON here")
            elif isinstance(item, float):
                if not math.isfinite(item):
                    raise ExpressionError(f"{self.source}: {item} is no JSON number")
            elif isinstance(item, int) and not isinstance(item, bool):
                if not MIN_INT <= item <= MAX_INT:
                    raise ExpressionError(f"{self.source}: a number does not fit 64 bits")
            elif item is not None and not isinstance(item, bool):
                raise ExpressionError(f"{self.source}: a {type(item).__name__} is no JSON: convert it")
        return value

    def operands(self, context: Mapping[str, JSON]) -> dict[str, JSON]:
        """The values that it read, by path; large ones as a note of their size."""
        values = values_of(self._paths, context)
        return {
            name: values.once(name, _kept, at(path, values.by_name))
            for name, path in zip(self.reads, self._paths, strict=True)
        }


def compile_expression(
    source: str, step_ids: Container[str], *, secrets: bool = False, expect_bool: bool = False
) -> Expression:
    """Raises BadExpression.

    Args:
        step_ids: the steps that exist.
        secrets: whether `secrets.NAME` may be read.
        expect_bool: refuse an expression whose type is known and not bool.
    """
    if len(source) > MAX_CHARACTERS:
        raise BadExpression("bad_expression", f"An expression has {MAX_CHARACTERS} characters at most.")
    chains = _chains(source)
    declared = {}
    for chain in chains:
        name, kind = _declaration(chain, step_ids)
        if name is not None and (secrets or not name.startswith("secrets.")):
            declared[name] = kind
    expression = _compiled(source, tuple(sorted(declared)))
    if isinstance(expression, str):
        raise _explained(expression, source, step_ids)
    if expect_bool and expression.kind not in ("BOOL", "DYN"):
        raise BadExpression("bad_expression", f"A condition gives a bool; this gives {expression.kind.lower()}.")
    return expression


@lru_cache(maxsize=20_000)
def _compiled(source: str, names: tuple[str, ...]) -> Expression | str:
    """The expression, or CEL's message. `names` are declared, each with the type that it always has."""
    bare = _bare(source)
    for match in _HAS.finditer(bare):
        if re.sub(r"\s", "", match.group(1)) in names:
            column = match.start() + 1
            return f"<input>:1:{column}: has(x.f) asks for a field of an object, not for a whole variable"
    if growth(bare) > MAX_GROWTH:
        return "<input>:1:1: The text or list that this builds may grow without bound: use fewer nested macros"
    variables = ("input", *names)
    try:
        program = _environment(names).compile(source)
    except Exception as error:
        return str(error) or "Syntax error"
    paths: dict[str, Path] = {}
    for chain in _chains(source):
        name = next((n for n in variables if chain == n or chain.startswith(n + ".")), None)
        if name is not None:
            paths[chain] = (name, *chain[len(name) + 1 :].split(".")) if chain != name else (name,)
    return Expression(source, paths, program, Budget.of(bare))


@lru_cache(maxsize=1000)
def _environment(names: tuple[str, ...]) -> Any:
    return cel.NewEnv(variables={"input": _T.DYN, **{name: _type_of(name) for name in names}})


def _bare(source: str) -> str:
    """The source with blanks for its strings and comments."""
    return _UNREAD.sub(lambda match: " " * len(match.group()), source)


def _chains(source: str) -> list[str]:
    """Dotted names as they stand in the source, without what is in strings and without calls."""
    bare = _ABSOLUTE.sub(r"\1 ", _bare(source))
    found = []
    for match in _CHAIN.finditer(bare):
        chain = re.sub(r"\s", "", match.group())
        if bare[match.end() :].lstrip().startswith("("):
            chain = chain.rpartition(".")[0]  # a call: `input.items.size()` reads `input.items`
        if chain:
            found.append(chain)
    return list(dict.fromkeys(found))


def _declaration(chain: str, step_ids: Container[str]) -> tuple[str | None, Any]:
    root, *rest = chain.split(".")
    if root == "input":
        return "input", _T.DYN
    if root == "steps" and len(rest) >= 2 and rest[0] in step_ids and rest[1] in _FIELDS:
        return f"steps.{rest[0]}.{rest[1]}", _FIELDS[rest[1]]
    if root == "run" and rest and f"run.{rest[0]}" in _RUN:
        return f"run.{rest[0]}", _RUN[f"run.{rest[0]}"]
    if root == "secrets" and rest:
        return f"secrets.{rest[0]}", _T.STRING
    return None, None


def _type_of(name: str) -> Any:
    if name.startswith("steps."):
        return _FIELDS[name.rpartition(".")[2]]
    return _RUN.get(name, _T.STRING if name.startswith("secrets.") else _T.DYN)


def _explained(message: str, source: str, step_ids: Container[str]) -> BadExpression:
    undeclared = _UNDECLARED.search(message)
    if undeclared is not None:
        name = undeclared.group(3)
        place = _place_of(name, source) or (int(undeclared.group(1)), int(undeclared.group(2)))
        root, _, rest = name.partition(".")
        id = rest.partition(".")[0]
        if root == "secrets":
            text = "Secrets may be read in the config of HttpCall and Task steps only."
            return BadExpression("secret_not_allowed", text, place)
        if root == "steps" and id and id not in step_ids:
            return BadExpression("unknown_reference", f"There is no step {id[:63]!r}.", place)
        if root == "steps":
            text = f"{name[:100]!r} is not known: of a step one reads output, state, error or attempt."
            return BadExpression("undeclared_name", text, place)
        if re.search(rf"(?<!\w){re.escape(name)}\s*\(", _bare(source)):
            return BadExpression("undeclared_name", f"There is no function {name[:100]!r}.", place)
        text = f"{name[:100]!r} is not known: there are input, steps.<id>.…, run.id, run.metadata and run.corr_id."
        return BadExpression("undeclared_name", text, place)
    found = _PLACE.search(message)
    if found is None:
        return BadExpression("bad_expression", _readable(message))
    line, column = int(found.group(1)), int(found.group(2))
    return BadExpression("bad_expression", _readable(found.group(3)), (line, column) if column > 0 else None)


def _place_of(name: str, source: str) -> tuple[int, int] | None:
    """Where a dotted name begins: CEL tells the place of its last dot."""
    match = re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", _bare(source))
    if match is None:
        return None
    before = source[: match.start()]
    return before.count("\n") + 1, match.start() - before.rfind("\n")


def _readable(message: str) -> str:
    """CEL's message without its frame."""
    text = re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]\s*$", "", message.splitlines()[0] if message else "error")
    text = re.sub(r"^(?:INVALID_ARGUMENT: )?ERROR: (?:<input>:-?\d+:-?\d+: )?", "", text)
    return re.sub(r" expecting \{.*", "", text)[:300]


def _kept(value: JSON) -> JSON:
    if value is None or isinstance(value, bool | int | float):
        return value
    size = len(value) if isinstance(value, str) else len(repr(value))
    return value if size <= MAX_OPERAND else f"({size} characters)"
