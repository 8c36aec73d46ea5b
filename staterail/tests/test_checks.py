"""`check --deploy` finds what a server lacks."""

import re

import pytest

from staterail.testing.server import Instance

SERVER = {"DATABASE_URL": "postgres://x@127.0.0.1:1/x", "STATERAIL_HOSTS": "staterail.example"}
WHOLE = SERVER | {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "SECRET_KEY": f"{__name__}-" * 8,
    "STATERAIL_SECRET_KEYS": "k" * 32,
}


@pytest.mark.parametrize(
    ("without", "found"),
    [
        ({}, []),
        ({"SECRET_KEY": ""}, ["security.W009", "staterail.E001"]),
        ({"STATERAIL_SECRET_KEYS": " ,"}, ["staterail.E002"]),
        ({"STATERAIL_SECRET_KEYS": f"short, {'k' * 32}"}, ["staterail.W002"]),
        ({"REDIS_URL": ""}, ["staterail.E003"]),
    ],
    ids=["whole", "no key", "no ring", "weak ring", "no redis"],
)
def test_what_a_server_lacks_is_found_by_its_id(tmp_path, without, found):
    done = Instance(tmp_path, WHOLE | without).command("check", "--deploy", "--fail-level", "WARNING", status=None)
    assert sorted(re.findall(r"\((\w+\.[EW]\d+)\)", done.stderr)) == found
    assert done.returncode == bool(found)


def test_a_server_that_is_checked_without_deploy_may_still_be_put_together(tmp_path):
    assert Instance(tmp_path, SERVER).command("check").returncode == 0
