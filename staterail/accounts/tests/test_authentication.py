from datetime import UTC, datetime, timedelta

import pytest
from django.urls import path
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from staterail.accounts.models import ApiToken, Membership
from staterail.accounts.tests.factories import MemberFactory, MembershipFactory, TenantFactory
from staterail.accounts.tokens import create_token
from staterail.core.actor import Role

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class _Who(APIView):
    def get(self, request):
        return Response({"ref": request.user.ref, "role": request.user.role, "tenant": request.user.tenant_id})

    post = get


urlpatterns = [path("api/v1/who", _Who.as_view())]
handler404 = "staterail.core.rest.not_found"
WHO = "/api/v1/who"


def _bearer(token, **headers):
    return APIClient(enforce_csrf_checks=True).get(WHO, headers={"Authorization": f"Bearer {token}", **headers})


def _token(ours=None, **given):
    return create_token(tenant=ours or TenantFactory(), name="ci", role=Role.OPERATOR, **given)


def test_a_token_lets_in_and_needs_no_csrf():
    ours = TenantFactory()
    answer = APIClient(enforce_csrf_checks=True).post(WHO, headers={"Authorization": f"bearer {_token(ours)}"})
    assert (answer.status_code, answer.json()["tenant"], answer.json()["role"]) == (200, str(ours.id), "operator")


def test_every_failed_attempt_gets_the_same_answer():
    revoked, expired = _token(), _token(expires_in=timedelta(seconds=-1))
    ApiToken.objects.filter(prefix=revoked[4:12]).update(revoked_at=datetime.now(UTC))
    client = APIClient()
    headers = [
        {}, {"Authorization": "Bearer x"}, {"Authorization": f"Token {_token()}"}, {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {revoked}"}, {"Authorization": f"Bearer {expired}"},
        {"Authorization": "Bearer " + "x" * 9000},
    ]  # fmt: skip
    answers = [client.get(WHO, headers=each) for each in headers]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["code"] == "UNAUTHENTICATED"


def test_a_token_in_the_address_is_no_credential():
    assert APIClient().get(f"{WHO}?token={_token()}&access_token={_token()}").status_code == 401


def test_the_eleventh_failure_of_a_minute_is_told_to_wait_and_a_good_token_never():
    answers = [_bearer("x") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert _bearer(_token()).status_code == 200


def test_failures_count_by_address():
    for _ in range(11):
        _bearer("x")
    answer = APIClient().get(WHO, headers={"Authorization": "Bearer x"}, REMOTE_ADDR="192.0.2.7")
    assert answer.status_code == 401


@pytest.mark.parametrize(("named", "status"), [("own", 200), ("other", 403), ("garbage", 403)])
def test_a_tenant_named_by_the_caller_is_the_tokens_or_refused(named, status):
    ours, theirs = TenantFactory(), TenantFactory()
    header = {"own": str(ours.id), "other": str(theirs.id)}.get(named, named)
    assert _bearer(_token(ours), **{"X-Tenant-Id": header}).status_code == status


@pytest.mark.parametrize(("named", "status"), [("ours", 200), ("theirs", 403), ("nowhere", 403), ("", 403)])
def test_a_tenant_named_by_its_slug_is_the_tokens_or_refused(named, status):
    ours = TenantFactory(slug="ours")
    TenantFactory(slug="theirs")
    answer = _bearer(_token(ours), **{"X-StateRail-Tenant": named})
    assert answer.status_code == status
    assert status == 200 or answer.json()["detail"] == "You act in another tenant."


def test_a_session_acts_in_the_tenant_that_it_names_where_it_belongs_to_it():
    first, second, foreign = TenantFactory(), TenantFactory(), TenantFactory()
    user = MemberFactory(membership__tenant=first)
    MembershipFactory(tenant=second, user=user, role=Role.ADMIN)
    client = APIClient()
    client.force_login(user)
    answers = [client.get(WHO, headers={"X-StateRail-Tenant": each.slug}) for each in (first, second, foreign)]
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert [answer.json()["tenant"] for answer in answers[:2]] == [str(first.id), str(second.id)]


def test_a_session_acts_in_the_chosen_tenant_or_the_first():
    first, second = TenantFactory(), TenantFactory()
    user = MemberFactory(membership__tenant=first)
    MembershipFactory(tenant=second, user=user, role=Role.ADMIN)
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.get(WHO).json() == {"ref": f"user:{user.id}", "role": "viewer", "tenant": str(first.id)}

    session = client.session
    session["tenant_id"] = str(second.id)
    session.save()
    assert client.get(WHO).json()["role"] == "admin"


def test_a_session_writes_only_with_its_csrf_token():
    user = MemberFactory()
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    refused = client.post(WHO)
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")

    client.cookies["csrftoken"] = "a" * 32
    assert client.post(WHO, headers={"X-CSRFToken": "a" * 32}).status_code == 200


def test_who_belongs_to_no_tenant_is_forbidden():
    user = MemberFactory()
    Membership.objects.all().delete()
    client = APIClient()
    client.force_login(user)
    assert client.get(WHO).status_code == 403


def test_a_bad_token_beside_a_good_session_is_refused():
    client = APIClient()
    client.force_login(MemberFactory())
    assert client.get(WHO, headers={"Authorization": "Bearer x"}).status_code == 401
