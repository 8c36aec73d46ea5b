"""The pytest plugin of all apps: a data folder of the session's own, and nothing remembered between tests."""

import atexit
import os
import shutil
import tempfile

import pytest

_data = tempfile.mkdtemp(prefix="staterail-tests-")
atexit.register(shutil.rmtree, _data, ignore_errors=True)
os.environ["STATERAIL_DATA"] = _data  # before the settings are read: a test never sees a developer's data
os.environ["STATERAIL_TEST_TASKS"] = "1"
os.environ.setdefault("STATERAIL_LOG_LEVEL", "WARNING")


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """What this process keeps between requests is forgotten between tests."""
    from staterail.accounts import throttle, tokens

    throttle.tokens.clear()
    throttle.logins.clear()
    tokens.forget_cached()
