"""The pytest plugin of all apps: a data folder of the session's own, servers where asked for, nothing remembered.

STATERAIL_TEST_SERVERS=1 runs the same tests on PostgreSQL and Redis, started for the session.
"""

import atexit
import os
import secrets
import shutil
import tempfile
from contextlib import ExitStack

import pytest

_stack = ExitStack()
atexit.register(_stack.close)


def _own_folder() -> None:
    """Before the settings are read: a test never sees a developer's data."""
    folder = tempfile.mkdtemp(prefix="staterail-tests-")
    _stack.callback(shutil.rmtree, folder, ignore_errors=True)
    os.mkdir(f"{folder}/static")  # a server's has been filled by collectstatic; without it whitenoise warns
    os.environ["STATERAIL_DATA"] = folder
    os.environ["STATERAIL_TEST_TASKS"] = "1"
    os.environ.setdefault("STATERAIL_LOG_LEVEL", "WARNING")


def _own_servers() -> None:
    """In the process that the workers of xdist come from: they find the addresses in their environment."""
    from staterail.testing.servers import Postgres, RedisServer

    database, broker = _stack.enter_context(Postgres(fsync="off")), _stack.enter_context(RedisServer())
    os.environ |= {
        "DATABASE_URL": database.url, "REDIS_URL": broker.url, "STATERAIL_TLS": "0",
        "SECRET_KEY": secrets.token_hex(32), "STATERAIL_SECRET_KEYS": secrets.token_hex(32),
    }  # fmt: skip


def _own_redis_database(worker: str) -> None:
    """Workers of xdist share the server, not what is counted there."""
    url, _, _ = os.environ["REDIS_URL"].rpartition("/")
    os.environ["REDIS_URL"] = f"{url}/{int(worker.removeprefix('gw')) % 15 + 1}"


_own_folder()
if os.environ.get("STATERAIL_TEST_SERVERS") == "1" and "PYTEST_XDIST_WORKER" in os.environ:
    _own_redis_database(os.environ["PYTEST_XDIST_WORKER"])
if os.environ.get("STATERAIL_TEST_SERVERS") == "1" and "PYTEST_XDIST_WORKER" not in os.environ:
    _own_servers()


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """What this process keeps between requests is forgotten between tests."""
    from staterail.accounts import throttle, tokens

    throttle.tokens.clear()
    throttle.logins.clear()
    throttle.writes.clear()
    tokens.forget_cached()


def pytest_report_header() -> str:
    database = os.environ.get("DATABASE_URL", "SQLite")
    return f"database: {database}, redis: {os.environ.get('REDIS_URL', 'none (in memory)')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A suite that is not there is no test that could be skipped: its name is told instead."""
    from staterail.testing.left_out import left_out

    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if whole or any("journeys" in argument for argument in config.args):
        for line in left_out():
            terminalreporter.write_line(line)
