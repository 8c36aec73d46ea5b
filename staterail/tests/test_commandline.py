"""What goes wrong before a command begins is told in a sentence."""

import re

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from staterail.commandline import our_commands, sentence_of
from staterail.testing.server import ROOT, Instance

NOWHERE = "postgres://staterail:hush@127.0.0.1:1/staterail"


@pytest.fixture
def given(tmp_path):
    """Runs a command on a data folder that is new, with these variables: what it said as it failed."""

    def run(*arguments, **variables):
        done = Instance(tmp_path, variables).command(*arguments, status=1)
        assert done.stdout == ""
        return done.stderr

    return run


def _is_one_sentence(said):
    return said.startswith("manage.py: ") and said.endswith(".\n") and said.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    ["run hello-staterail", "token --name me --role admin", "secret list", "login_link", "check_invariants"],
)
def test_before_the_first_start_a_command_says_how_to_start(given, tmp_path, command):
    said = given(*command.split())
    assert _is_one_sentence(said)
    assert f"The database in {tmp_path / 'data'} is not set up yet" in said
    assert re.search(rf"`make up`.*`STATERAIL_DATA={tmp_path / 'data'} .*python manage\.py migrate`", said)


def test_what_it_says_is_typed_as_it_stands_and_then_the_command_works(tmp_path):
    instance = Instance(tmp_path)
    instance.command("migrate")
    assert instance.command("token", "--name", "me", "--role", "admin").stdout.startswith("srt_")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"STATERAIL_PORT": "eighty"}, '"STATERAIL_PORT" invalid: Not a valid integer.'),
        ({"STATERAIL_DEBUG": "perhaps"}, '"STATERAIL_DEBUG" invalid: Not a valid boolean.'),
        ({"STATERAIL_DATA": "/dev/null/data"}, "/dev/null/data: Not a directory."),
        ({"DATABASE_URL": NOWHERE, "SECRET_KEY": "k" * 60}, "The database of DATABASE_URL cannot be used: connection"),
        ({"DATABASE_URL": "posgres://x/y"}, "DATABASE_URL is not understood"),
    ],
    ids=["number", "truth", "folder", "unreachable", "scheme"],
)
def test_a_setting_that_cannot_be_is_told_without_a_traceback(given, variables, says):
    said = given("token", "--name", "me", "--role", "admin", **variables)
    assert _is_one_sentence(said)
    assert says in said
    assert "hush" not in said


def test_traceback_still_shows_where_it_came_from(given):
    said = given("token", "--name", "me", "--role", "admin", "--traceback")
    assert "Traceback" in said
    assert "no such table" in said


def test_help_begins_with_our_commands_a_line_each_and_names_djangos(tmp_path):
    lines = Instance(tmp_path).command("help").stdout.splitlines()
    listed = lines[2 : 2 + len(our_commands())]
    assert [line.split()[0] for line in listed] == list(our_commands())
    assert "  up                Start StateRail here: web server, worker and database in one process." in listed
    assert all(len(line) < 140 for line in listed)
    assert "migrate" in " ".join(lines[2 + len(our_commands()) :])


def test_the_documentation_has_every_command():
    headings = re.findall(r"^## (\S+)", (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) - {"make"} == set(our_commands())


WRONG = ["SELECT 1 FROM no_such", "SELECT no_such FROM django_session", "SELECT ("]


def _said_of(statement):
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    return sentence_of(caught.value)


@pytest.mark.django_db
@pytest.mark.parametrize(("statement", "known"), [*zip(WRONG, (True, True, False), strict=True)])
def test_a_missing_table_or_column_of_an_older_database_is_known_in_each(statement, known):
    (newest,) = MigrationLoader(connection).graph.leaf_nodes("runs")
    MigrationRecorder(connection).record_unapplied(*newest)
    assert ("not set up" in (_said_of(statement) or "")) == known


@pytest.mark.django_db
@pytest.mark.parametrize("statement", WRONG)
def test_wrong_sql_in_a_database_that_is_set_up_is_a_fault_of_ours(statement):
    assert _said_of(statement) is None


@pytest.mark.parametrize("error", [ConnectionResetError("x"), TimeoutError(), BrokenPipeError()], ids=repr)
def test_a_connection_that_breaks_shows_where(error):
    assert sentence_of(error) is None
