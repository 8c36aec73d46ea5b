"""What commands say to a person: what they print to be copied works as it stands."""

import shlex
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from django.conf import settings


def manage_py() -> str:
    """`.venv/bin/python manage.py`, with what else must be typed so that it finds this data and port."""
    return f"{_variables()}{_from_here(Path(sys.executable))} {_from_here(settings.BASE_DIR / 'manage.py')}"


def manage_py_elsewhere() -> str:
    """The same for a page: who reads it may sit at another machine, whom a server tells no path of its own."""
    if settings.EMBEDDED:
        return manage_py()
    ours = Path(sys.executable).is_relative_to(settings.BASE_DIR)
    return f"{Path(sys.executable).relative_to(settings.BASE_DIR) if ours else 'python'} manage.py"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to add to a refusal, or "" where nothing known is like it."""
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _variables() -> str:
    if not settings.EMBEDDED:
        return ""  # a server's commands take their settings from its environment
    told = {"STATERAIL_DATA": str(settings.STATERAIL_DATA), "STATERAIL_PORT": str(settings.STATERAIL_PORT)}
    usual = {"STATERAIL_DATA": str(settings.BASE_DIR / ".staterail"), "STATERAIL_PORT": "8000"}
    return "".join(f"{name}={shlex.quote(told[name])} " for name in told if told[name] != usual[name])
