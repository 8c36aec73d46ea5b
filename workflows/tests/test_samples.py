import pytest

from staterail.accounts.models import Tenant
from staterail.accounts.tests.factories import ActorFactory
from workflows import services
from workflows.definition.yaml import from_yaml
from workflows.models import Workflow
from workflows.samples import FOLDER, deploy_sample
from workflows.services import problems_of
from workflows.tests.factories import definition

SAMPLES = sorted(FOLDER.glob("*.yaml"))


def _versions():
    rows = Workflow.objects.get(slug="hello-staterail").versions.order_by("version")
    return [(row.version, row.published_by) for row in rows]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_has_no_problems(path):
    assert problems_of(from_yaml(path.read_text(encoding="utf-8"))) == []


def test_hello_staterail_shows_every_kind_of_step():
    (sample,) = SAMPLES
    kinds = {step["kind"] for step in from_yaml(sample.read_text(encoding="utf-8"))["steps"]}
    assert kinds == {"HttpCall", "Task", "Delay", "HumanApproval", "Script"}


@pytest.mark.django_db
def test_the_sample_is_deployed_once_and_anew_where_it_changed():
    for port in (8000, 8000, 8001):
        deploy_sample(port)
    assert _versions() == [(1, "StateRail"), (2, "StateRail")]
    newest = Workflow.objects.get().versions.get(version=2).definition
    assert newest["steps"][1]["config"]["url"] == "http://127.0.0.1:8001/demo/quote"


@pytest.mark.django_db
def test_a_sample_that_somebody_made_their_own_is_left_alone():
    deploy_sample(8000)
    actor = ActorFactory(tenant=Tenant.objects.get(slug="default"), name="ada")
    workflow = Workflow.objects.get()
    services.save_draft(actor=actor, workflow=workflow, definition=definition())
    deploy_sample(8001)
    services.publish(actor=actor, workflow=workflow)
    deploy_sample(8001)
    assert _versions() == [(1, "StateRail"), (2, "ada")]


@pytest.mark.django_db
def test_a_sample_that_was_put_away_stays_there():
    deploy_sample(8000)
    actor = ActorFactory(tenant=Tenant.objects.get(slug="default"))
    services.archive(actor=actor, workflow=Workflow.objects.get())
    deploy_sample(8001)
    assert _versions() == [(1, "StateRail")]
