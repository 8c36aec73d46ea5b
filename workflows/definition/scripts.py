"""The source of a Script, read and never run: what is sure to fail is told before a run meets it.

Python's own parser is older than the dialect's. Where it fails at what newer Pythons know, nothing is said: the
sandbox has the last word.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

ALLOWED = frozenset({"json", "re", "math", "datetime", "hashlib", "collections", "itertools"})
_STARTS = frozenset({tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT})
# In lines like these newer Pythons take more: quotes and lines within f-strings, type parameters, bare tuples
_NEWER = re.compile(r"""\b[rR]?[fF][rR]?['"]|\b(def|class)\s+\w+\s*\[|\bexcept\b.*,""")
_QUOTED_WITHIN = re.compile(r"""\b[rR]?[fF][rR]?['"].*\{[^}]*['"]""")  # an f-string that may end lines later
_NO_CODE = re.compile(r"\A\ufeff|\\\s*\Z")  # a byte order mark, a last line that goes on


def source_problems(source: str) -> Iterator[str]:
    """What keeps a source from being run, in words, with its place."""
    yield from (forbidden(name, line, column) for name, line, column in imported(source) if not is_allowed(name))
    try:
        tree = ast.parse(_NO_CODE.sub("", source), "script.py")
    except TabError:
        return
    except SyntaxError as error:
        line, column = error.lineno or 1, max(1, error.offset or 1)
        *before, text = source.splitlines()[:line] or [""]
        newer = _NEWER.search(text) or any(map(_QUOTED_WITHIN.search, before))
        if not newer and not error.msg.startswith("f-string"):
            yield f"SyntaxError: {error.msg} (line {line}, column {column})"
    except (RecursionError, MemoryError, ValueError):
        return
    else:
        if not any(_binds_main(node) for node in ast.walk(tree)):
            yield "the script defines no main(args)"


def is_allowed(module: str) -> bool:
    return module.split(".")[0] in ALLOWED


def forbidden(module: str, line: int, column: int) -> str:
    known = ", ".join(sorted(ALLOWED))
    return f"ImportError: a script cannot import {module[:60]!r}, only {known} (line {line}, column {column})"


def _binds_main(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id == "main" and isinstance(node.ctx, ast.Store)
    if isinstance(node, ast.alias):
        return (node.asname or node.name) in ("main", "*")
    return getattr(node, "name", None) == "main"


def imported(source: str) -> Iterator[tuple[str, int, int]]:
    """The (module, line, column) of each import statement, as far as the source can be read.

    The engine reads the rest, refuses it, and has nothing harmful to import anyway: this is to say
    early and clearly what a script may use. Tokens, not a parser: it cannot be made to recurse.
    """
    if "import" not in source:
        return
    statement: list[str] | None = None  # the words of the one being read
    place, at_start = (1, 0), True
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if statement is None:
                if at_start and token.type == tokenize.NAME and token.string in ("import", "from"):
                    statement, place = [token.string], token.start
            elif token.type == tokenize.NEWLINE or token.string == ";":
                yield from ((name, place[0], place[1] + 1) for name in _modules(statement))
                statement = None
            elif token.type not in _STARTS:
                statement.append(token.string)
            at_start = token.type in _STARTS or token.string in (";", ":")
    except (tokenize.TokenError, SyntaxError):  # the engine says where
        return


def _modules(statement: list[str]) -> list[str]:
    if statement[0] == "from":
        end = statement.index("import") if "import" in statement else len(statement)
        return ["".join(statement[1:end])]
    parts = "".join(f" {word} " if word == "as" else word for word in statement[1:]).split(",")
    return [part.split(" as ")[0].strip() for part in parts]
