import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from staterail.accounts import tokens
from staterail.accounts.models import ApiToken, Membership, User
from staterail.accounts.tests.factories import MemberFactory, TenantFactory
from staterail.accounts.tokens import actor_of_token, create_token, revoke_token
from staterail.core.actor import Role

pytestmark = pytest.mark.django_db


def _token(**given):
    ours = given.pop("tenant", None) or TenantFactory()
    return create_token(tenant=ours, name="ci", role=given.pop("role", Role.EDITOR), **given)


def test_a_token_is_kept_as_prefix_and_digest_only():
    text = _token()
    row = ApiToken.objects.get()
    assert re.fullmatch(r"srt_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}", text)
    assert (row.prefix, row.digest) == (text[4:12], hashlib.sha256(text.encode()).hexdigest())
    assert timedelta(days=89) < row.expires_at - datetime.now(UTC) <= timedelta(days=90)


def test_a_token_acts_in_its_tenant_under_its_name():
    ours = TenantFactory()
    actor = actor_of_token(_token(tenant=ours))
    assert (actor.tenant_id, actor.role, actor.name) == (ours.id, Role.EDITOR, "ci")
    assert actor.ref == f"token:{ApiToken.objects.get().id}"


def test_unknown_wrong_expired_and_revoked_look_alike():
    good = _token()
    revoked, expired = _token(), _token(expires_in=timedelta(seconds=-1))
    revoke_token(ApiToken.objects.get(prefix=revoked[4:12]).id)
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    bad = ["", "x", "srt_", f"srt_AAAAAAAA_{'x' * 43}", wrong, good + "x", good.upper(), "\udcff", revoked, expired]
    assert [actor_of_token(text) for text in bad] == [None] * len(bad)


def test_a_revoked_token_is_let_in_for_five_seconds_at_most(monkeypatch):
    text = _token()
    assert actor_of_token(text) is not None
    ApiToken.objects.update(revoked_at=datetime.now(UTC))  # by another process
    later = tokens.time.monotonic() + 5
    monkeypatch.setattr(tokens.time, "monotonic", lambda: later)
    assert actor_of_token(text) is None


@pytest.mark.parametrize(
    ("own", "owners", "expected"),
    [(Role.ADMIN, Role.VIEWER, Role.VIEWER), (Role.VIEWER, Role.ADMIN, Role.VIEWER), (Role.ADMIN, None, None)],
)
def test_a_token_may_what_both_it_and_its_owner_may(own, owners, expected):
    ours = TenantFactory()
    owner = MemberFactory(membership__tenant=ours, membership__role=owners or Role.ADMIN)
    text = _token(tenant=ours, role=own, owner=owner)
    if owners is None:
        Membership.objects.all().delete()
    actor = actor_of_token(text)
    assert (actor.role if actor else None) == expected


def test_the_token_of_a_person_who_was_shut_out_is_none():
    ours = TenantFactory()
    text = _token(tenant=ours, owner=MemberFactory(membership__tenant=ours))
    User.objects.update(is_active=False)
    assert actor_of_token(text) is None


def test_a_burst_costs_no_query_and_its_use_is_noted_once_a_minute(django_assert_num_queries):
    text = _token()
    with django_assert_num_queries(2):  # read, and note the use
        actor_of_token(text)
    with django_assert_num_queries(0):
        actor_of_token(text)
    tokens.forget_cached()
    with django_assert_num_queries(1):
        actor_of_token(text)
    assert ApiToken.objects.get().last_used_at is not None
