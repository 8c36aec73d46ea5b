"""Commands on one workflow at the same time: one after the other, each judged by what the other left."""

import threading

import pytest
from django.db import connection

from staterail.accounts.tests.factories import ActorFactory
from staterail.core.errors import Conflict
from workflows import services
from workflows.models import Workflow, WorkflowVersion
from workflows.tests.factories import definition, step

pytestmark = pytest.mark.django_db(transaction=True)
MANY = 6


def _at_once(*commands):
    """What each command came to, begun together: its value, or the Conflict it raised."""
    gate, outcomes = threading.Barrier(len(commands)), [None] * len(commands)

    def carry_out(n, command):
        gate.wait()
        try:
            outcomes[n] = command()
        except Conflict as error:
            outcomes[n] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=carry_out, args=each) for each in enumerate(commands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


@pytest.fixture
def actor():
    return ActorFactory()


@pytest.fixture
def workflow(actor):
    return services.create_workflow(actor=actor, name="x", definition=definition())


def _winners(outcomes):
    return [outcome for outcome in outcomes if not isinstance(outcome, Conflict)]


def test_of_saves_on_one_revision_one_is_stored(actor, workflow):
    documents = [definition(step(f"s{n}")) for n in range(MANY)]
    given = {"actor": actor, "workflow": workflow, "base_revision": 1}
    outcomes = _at_once(*(lambda d=d: services.save_draft(**given, definition=d) for d in documents))

    (winner,) = _winners(outcomes)
    assert [outcome for outcome in outcomes if outcome is None] == []
    stored = WorkflowVersion.objects.get()
    assert (stored.revision, stored.definition) == (2, winner.definition)


def test_of_saves_after_a_published_version_one_opens_the_draft(actor, workflow):
    services.publish(actor=actor, workflow=workflow)
    given = {"actor": actor, "workflow": workflow, "definition": definition(step("b"))}
    outcomes = _at_once(*(lambda: services.save_draft(**given) for _ in range(MANY)))
    assert {outcome.version for outcome in outcomes} == {2}
    assert sorted(outcome.revision for outcome in outcomes) == list(range(2, 2 + MANY))


def test_of_publications_one_is_carried_out(actor, workflow):
    outcomes = _at_once(*(lambda: services.publish(actor=actor, workflow=workflow) for _ in range(MANY)))
    assert [version.version for version in _winners(outcomes)] == [1]


def test_a_publication_and_an_archival_are_never_both_of_the_workflow_before(actor, workflow):
    outcomes = _at_once(
        lambda: services.publish(actor=actor, workflow=workflow),
        lambda: services.archive(actor=actor, workflow=workflow),
    )
    archived_at = Workflow.objects.get().archived_at
    published_at = WorkflowVersion.objects.get().published_at
    assert archived_at is not None
    assert isinstance(outcomes[0], Conflict) == (published_at is None)
    assert published_at is None or published_at <= archived_at


def test_of_workflows_of_one_slug_one_is_made(actor):
    outcomes = _at_once(*(lambda: services.create_workflow(actor=actor, name="x", slug="ship") for _ in range(MANY)))
    assert len(_winners(outcomes)) == 1
    assert Workflow.objects.filter(slug="ship").count() == 1


def test_workflows_of_one_name_get_a_slug_each(actor):
    outcomes = _at_once(*(lambda: services.create_workflow(actor=actor, name="Ship") for _ in range(MANY)))
    assert {workflow.slug for workflow in outcomes} == {"ship", *(f"ship-{n}" for n in range(2, MANY + 1))}
