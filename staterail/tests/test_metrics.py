import pytest
from django.test import Client

from runs import workers
from staterail.accounts.tests.factories import TenantFactory
from staterail.accounts.tokens import create_token
from staterail.core.actor import Role
from staterail.core.ids import uuid7

pytestmark = pytest.mark.django_db


def test_metrics_show_what_waits_and_each_workers_figures() -> None:
    workers.beat(uuid7(), "here:1", "runs", {"owned_runs": 3, "persisted_total": 70})

    text = Client().get("/metrics").content.decode()

    assert "staterail_runs_due 0.0\n" in text
    assert 'staterail_workers{queue="runs"} 1.0\n' in text
    assert 'staterail_worker_owned_runs{worker="here:1"} 3.0\n' in text
    assert 'staterail_worker_persisted_total{worker="here:1"} 70.0\n' in text


@pytest.mark.parametrize("extra", [{"REMOTE_ADDR": "192.0.2.7"}, {"HTTP_X_FORWARDED_FOR": "192.0.2.7"}])
def test_a_stranger_needs_a_token(extra: dict[str, str]) -> None:
    assert Client().get("/metrics", **extra).status_code == 401


def test_a_token_reads_metrics_from_anywhere() -> None:
    token = create_token(tenant=TenantFactory(), name="scraper", role=Role.VIEWER)

    answer = Client().get("/metrics", REMOTE_ADDR="192.0.2.7", HTTP_AUTHORIZATION=f"Bearer {token}")

    assert answer.status_code == 200
