"""The command line as a whole: what no command can tell of itself, in a sentence and not a traceback."""

import sqlite3
import sys
from textwrap import wrap

from dj_database_url import ParseError, UnknownSchemeError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility, get_commands, load_command_class
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from environs import EnvError

from staterail.core.cli import manage_py

OURS = ("staterail", "workflows", "runs", "analytics", "alerts")
INTERRUPTED = 130  # as a shell tells of Ctrl-C
UNDEFINED = ("42P01", "42703")  # PostgreSQL's codes for a table and a column that are not there


def main(argv: list[str]) -> None:
    """Run a command. `--traceback` shows where a failure came from."""
    try:
        CommandLine(argv).execute()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        said = None if "--traceback" in argv else sentence_of(error)
        if said is None:
            raise
        sys.exit(f"manage.py: {said}")


class CommandLine(ManagementUtility):
    """Django's, whose `help` begins with what is ours."""

    def main_help_text(self, commands_only: bool = False) -> str:
        if commands_only or self.settings_exception is not None:
            return super().main_help_text(commands_only)
        lines = [f"Type '{self.prog_name} help COMMAND' for help on one of these.", ""]
        for name, command in our_commands().items():
            lines.append(f"  {name:<18}{command.help.partition('. ')[0].rstrip('.')}.")
        others = ", ".join(sorted(get_commands().keys() - our_commands().keys()))
        return "\n".join([*lines, "", *wrap(f"Django's own, and of what we build on: {others}", 100)])


def our_commands() -> dict[str, BaseCommand]:
    """By name."""
    found = {name: app for name, app in get_commands().items() if app.partition(".")[0] in OURS}
    return {name: load_command_class(app, name) for name, app in sorted(found.items())}


def sentence_of(error: Exception) -> str | None:
    """What went wrong and what helps, or None for what is a fault of ours."""
    if isinstance(error, EnvError | ImproperlyConfigured):
        return str(error)
    if isinstance(error, UnknownSchemeError | ParseError):
        return "DATABASE_URL is not understood: it looks like postgres://user:password@host:5432/name, percent-encoded."
    if isinstance(error, DatabaseError | InterfaceError):
        return _of_the_database(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return None


def _of_the_database(error: Exception) -> str | None:
    database = f"The database in {settings.STATERAIL_DATA}" if settings.EMBEDDED else "The database of DATABASE_URL"
    if _has_no_table(error) and _is_behind():
        start = "start StateRail (`make up`), or " if settings.EMBEDDED else ""
        return f"{database} is not set up yet, or of an older version: {start}type `{manage_py()} migrate`."
    a_bug = getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR  # wrong SQL, to SQLite
    if a_bug or not isinstance(error, OperationalError | InterfaceError):
        return None
    what = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{database} cannot be used: {what}."


def _has_no_table(error: Exception) -> bool:
    if getattr(error.__cause__, "sqlstate", None) in UNDEFINED:
        return True
    return str(error).startswith(("no such table", "no such column"))  # SQLite has no code of its own for it


def _is_behind() -> bool:
    """Whether the database has not seen all migrations."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
