import io
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from staterail.accounts.models import ApiToken, Secret, Tenant
from staterail.accounts.secrets import secret_values
from staterail.accounts.tests.factories import TenantFactory
from staterail.accounts.tokens import actor_of_token

pytestmark = pytest.mark.django_db


def _call(*args, stdin=None, monkeypatch=None, stderr=None):
    out = io.StringIO()
    if stdin is not None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    call_command(*args, stdout=out, stderr=stderr or io.StringIO())
    return out.getvalue()


def test_token_prints_the_token_alone_and_makes_its_tenant():
    text = _call("token", "--name", "ci", "--role", "operator", "--tenant", "acme", "--expires", "7")
    token = text.removesuffix("\n")
    assert actor_of_token(token).tenant_id == Tenant.objects.get(slug="acme").id
    assert ApiToken.objects.get().expires_at < datetime.now(UTC) + timedelta(days=7, seconds=1)


def test_token_says_that_a_tenant_is_new_and_which_one_it_is_like():
    told = []
    for slug in ("default", "acme", "acme", "acmee"):
        err = io.StringIO()
        assert _call("token", "--name", "ci", "--role", "viewer", "--tenant", slug, stderr=err).startswith("srt_")
        told.append(err.getvalue().strip())
    assert told == [
        "", "The tenant 'acme' was not there: it has been made.", "",
        "The tenant 'acmee' was not there: it has been made. Did you mean 'acme'?",
    ]  # fmt: skip


def test_token_lists_the_roles_as_they_are_typed():
    with pytest.raises(CommandError, match=r"choose from 'viewer', 'operator', 'editor', 'admin'"):
        _call("token", "--name", "ci", "--role", "root")


@pytest.mark.parametrize(
    "wrong",
    [
        {"--expires": "0"}, {"--expires": "366"}, {"--role": "root"}, {"--tenant": "Acme!"}, {"--tenant": "acme\n"},
        {"--name": " "},
    ],
)  # fmt: skip
def test_token_refuses_what_is_wrong_and_makes_nothing(wrong):
    options = {"--name": "ci", "--role": "viewer"} | wrong
    with pytest.raises(CommandError):
        _call("token", *[word for pair in options.items() for word in pair])
    assert not ApiToken.objects.exists()
    assert not Tenant.objects.exists()


@pytest.mark.parametrize(("typed", "stored"), [("s3cret\n", "s3cret"), ("s3cret", "s3cret"), ("a\n\n", "a\n")])
def test_secret_set_stores_standard_input_without_its_last_newline(monkeypatch, typed, stored):
    assert _call("secret", "set", "PAY", stdin=typed, monkeypatch=monkeypatch) == ""
    assert secret_values(Tenant.objects.get(slug="default").id, ["PAY"]) == {"PAY": stored}


def test_secret_list_prints_names_and_makes_no_tenant(monkeypatch):
    _call("secret", "set", "PAY", stdin="s3cret", monkeypatch=monkeypatch)
    assert _call("secret", "list") == "PAY\n"
    with pytest.raises(CommandError, match="There is no tenant 'defualt'. Did you mean 'default'"):
        _call("secret", "list", "--tenant", "defualt")
    assert Tenant.objects.count() == 1


def test_secret_set_makes_no_tenant_of_a_slip(monkeypatch):
    TenantFactory(slug="acme")
    with pytest.raises(CommandError, match="There is no tenant 'acmee'. Did you mean 'acme'"):
        _call("secret", "set", "PAY", "--tenant", "acmee", stdin="s3cret", monkeypatch=monkeypatch)
    assert not Secret.objects.exists()
    assert Tenant.objects.count() == 1


@pytest.mark.parametrize(("name", "value"), [("1X", "v"), ("OK", "")])
def test_secret_set_says_what_is_wrong(monkeypatch, name, value):
    with pytest.raises(CommandError, match="A secret"):
        _call("secret", "set", name, stdin=value, monkeypatch=monkeypatch)
    assert not Secret.objects.exists()
