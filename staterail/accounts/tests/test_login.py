import time
from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from staterail.accounts.models import Membership, Tenant, User
from staterail.accounts.services import OneTimeLogin, first_run_setup, login_path
from staterail.accounts.sessions import LONGEST, RENEWED_AFTER, SIGNED_IN_AT
from staterail.accounts.tests.factories import MemberFactory

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


def _signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def _try(client, name, password=PASSWORD):
    return client.post(reverse("login"), {"username": name, "password": password})


def test_the_first_start_makes_an_administrator_and_a_link_until_it_is_used():
    first = first_run_setup()
    user = User.objects.get()
    assert (user.username, user.is_superuser, user.has_usable_password()) == ("admin", True, False)
    member = Membership.objects.get()
    assert (member.role, member.tenant) == ("admin", Tenant.objects.get(slug="default"))
    assert first.startswith("/login/once/")
    assert first_run_setup() is not None
    Client().post(first)
    assert first_run_setup() is None
    assert User.objects.count() == 1


def test_where_somebody_has_a_password_nothing_is_made():
    MemberFactory(password=PASSWORD)
    assert first_run_setup() is None
    assert User.objects.count() == 1


def test_looking_at_a_link_uses_nothing_up_and_pressing_its_button_does():
    path, client = first_run_setup(), Client()
    page = client.get(path)
    assert (page.status_code, _signed_in(client)) == (200, False)
    assert "no-store" in page["Cache-Control"]

    assert client.post(path).status_code == 302
    assert _signed_in(client)
    assert [Client().get(path).status_code, Client().post(path).status_code] == [404, 404]


def test_a_link_used_within_the_second_of_the_login_before_is_used_up_all_the_same():
    user = MemberFactory()
    for _ in range(3):
        path = login_path(user)
        assert Client().post(path).status_code == 302
        assert Client().post(path).status_code == 404
        user.refresh_from_db()


def test_a_link_lives_for_24_hours(monkeypatch):
    path = first_run_setup()
    now = datetime.now()  # noqa: DTZ005  # Django's generator counts naive local time
    monkeypatch.setattr(OneTimeLogin, "_now", lambda self: now + timedelta(hours=23, minutes=59))
    assert Client().get(path).status_code == 200
    monkeypatch.setattr(OneTimeLogin, "_now", lambda self: now + timedelta(hours=24, seconds=2))
    assert Client().post(path).status_code == 404


@pytest.mark.parametrize("path", ["/login/once/x/y/", "/login/once/!!!/abc-def/", "/login/once/MQ/abc-def/"])
def test_a_link_that_is_none_says_so(path):
    assert Client().get(path).status_code == 404


def test_a_link_can_set_the_first_password():
    path, client = first_run_setup(), Client()
    weak = client.post(path, {"new_password1": "short", "new_password2": "short"})
    assert (weak.status_code, _signed_in(client)) == (200, False)

    client.post(path, {"new_password1": PASSWORD, "new_password2": PASSWORD})
    assert _signed_in(client)
    other = Client()
    _try(other, "admin")
    assert _signed_in(other)


def test_a_link_is_pressed_only_with_a_csrf_token():
    assert Client(enforce_csrf_checks=True).post(first_run_setup()).status_code == 403
    assert User.objects.get().last_login is None


def test_signing_in_and_out():
    user = MemberFactory(password=PASSWORD)
    client = Client()
    assert client.get(reverse("login")).status_code == 200
    assert _try(client, user.username)["Location"] == reverse("home")
    assert client.get(reverse("logout")).status_code == 405
    client.post(reverse("logout"))
    assert not _signed_in(client)


@pytest.mark.parametrize("told", ["a week ago", "never"])
def test_a_session_ends_a_week_after_the_sign_in_however_often_it_is_used(told):
    user = MemberFactory(password=PASSWORD)
    client = Client()
    _try(client, user.username)
    assert client.get("/api/v1/runs").status_code == 200

    def signed_in(ago):
        session = client.session
        session[SIGNED_IN_AT] = time.time() - ago.total_seconds()
        if told == "never":
            del session[SIGNED_IN_AT]
        session.save()

    if told == "a week ago":
        signed_in(LONGEST - timedelta(minutes=1))
        assert _signed_in(client)
    signed_in(LONGEST)
    assert (client.get("/api/v1/runs").status_code, _signed_in(client)) == (401, False)
    assert not Session.objects.exists()
    _try(client, user.username)
    assert _signed_in(client)


def test_a_session_ends_12_hours_after_the_last_request():
    user = MemberFactory(password=PASSWORD)
    client = Client()
    _try(client, user.username)
    for _ in range(3):
        _idle(timedelta(hours=11, minutes=59))
        answer = client.get("/api/v1/runs")
        assert answer.status_code == 200
        assert answer.cookies[settings.SESSION_COOKIE_NAME]["max-age"] == 12 * 3600

    _idle(timedelta(hours=12))

    assert client.get("/api/v1/runs").status_code == 401


@pytest.mark.parametrize(("idle", "written"), [(RENEWED_AFTER - timedelta(seconds=20), 0), (RENEWED_AFTER, 1)])
def test_requests_that_follow_each_other_closely_do_not_write_the_session(idle, written):
    user = MemberFactory(password=PASSWORD)
    client = Client()
    _try(client, user.username)
    _idle(idle)

    with CaptureQueriesContext(connection) as queries:
        answers = [client.get("/api/v1/runs") for _ in range(5)]

    assert len([query for query in queries if query["sql"].startswith("UPDATE")]) == written
    assert len([answer for answer in answers if settings.SESSION_COOKIE_NAME in answer.cookies]) == written


def _idle(since):
    """Nobody has used the session for this long."""
    Session.objects.update(expire_date=F("expire_date") - since)


def test_a_stranger_and_a_wrong_password_read_alike():
    user = MemberFactory(password=PASSWORD)
    client = Client()
    errors = [_try(client, name, "wrong").context["form"].non_field_errors() for name in (user.username, "nobody")]
    assert errors[0] == errors[1]
    assert errors[0]


def test_after_five_failures_an_account_pauses_for_that_address_only():
    user, other = (MemberFactory(password=PASSWORD) for _ in range(2))
    client = Client()
    answers = [_try(client, user.username, "wrong").status_code for _ in range(6)]
    assert answers == [200] * 5 + [429]
    refused = _try(client, user.username)
    assert (refused.status_code, _signed_in(client)) == (429, False)
    assert 1 <= int(refused["Retry-After"]) <= 60

    assert _try(Client(REMOTE_ADDR="192.0.2.7"), user.username).status_code == 302
    assert _try(client, other.username).status_code == 302


def test_no_open_redirect_after_signing_in():
    user = MemberFactory(password=PASSWORD)
    form = {"username": user.username, "password": PASSWORD, "next": "https://evil.example/"}
    assert Client().post(reverse("login"), form)["Location"] == reverse("home")


def test_openapi_tells_of_the_bearer_token():
    from drf_spectacular.generators import SchemaGenerator

    schema = SchemaGenerator().get_schema(request=None, public=True)
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
