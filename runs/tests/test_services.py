"""Commands that race: whoever commits first wins, the other is judged by what is so then (SEMANTICS 5)."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db.models import F

from runs import services, store
from runs.models import Event, StepRun, WorkflowRun
from runs.services import RunRequest, cancel_run, decide_approval, retry_run, retry_step, start_run, start_runs
from runs.tests.rest.client import approval, flow
from runs.tests.rest.engine import Engine
from staterail.accounts.tests.factories import ActorFactory
from staterail.core.actor import Role
from staterail.core.errors import Forbidden, IdempotencyConflict, IllegalTransition, NotFound, Unavailable
from workflows.services import deploy

pytestmark = pytest.mark.django_db
DEFINITION = flow(approval("review"), "b", transitions=[{"from": "review", "to": "b"}])


@pytest.fixture
def actor():
    return ActorFactory()


@pytest.fixture
def workflow(actor):
    version, _ = deploy(actor=actor, slug="flow", name="flow", definition=DEFINITION)
    return version.workflow


@pytest.fixture
def waiting(actor, workflow):
    """A run whose approval waits, owned by nobody."""
    run_id = start_run(actor=actor, workflow=workflow, input={}).run_id
    engine = Engine()
    engine.wait(str(run_id), "review")
    engine.reactor.pool.close()
    return run_id


class Overtaken:
    """The real store, but somebody else acts between what a command read and what it stores."""

    def __init__(self, action, times=1):
        self._store, self._action, self._left = store.current(), action, times

    def __getattr__(self, name):
        return getattr(self._store, name)

    def now(self):
        """What every command asks after its reading and before its transaction."""
        if self._left > 0:
            self._left -= 1
            self._action()
        return self._store.now()


@pytest.fixture
def meanwhile(monkeypatch):
    """Have `action` come first, `times` times."""

    def arrange(action, times=1):
        real, overtaken = store.current, []

        def act():
            monkeypatch.setattr(services.store, "current", real)
            action()
            monkeypatch.setattr(services.store, "current", lambda: overtaken[0])

        overtaken.append(Overtaken(act, times))
        monkeypatch.setattr(services.store, "current", lambda: overtaken[0])

    return arrange


def told(run_id):
    return list(Event.objects.filter(run_id=run_id).order_by("seq").values_list("state_after", "step_id"))


def test_an_approval_that_a_cancel_overtakes_is_refused(actor, waiting, meanwhile):
    meanwhile(lambda: cancel_run(actor=actor, run_id=waiting))
    with pytest.raises(IllegalTransition):
        decide_approval(actor=actor, run_id=waiting, step_id="review", action="approve")
    assert WorkflowRun.objects.get(id=waiting).state == "cancelled"
    assert ("succeeded", "review") not in told(waiting)


def test_a_cancel_that_an_approval_overtakes_cancels_what_is_left(actor, waiting, meanwhile):
    meanwhile(lambda: decide_approval(actor=actor, run_id=waiting, step_id="review", action="approve"))
    cancel_run(actor=actor, run_id=waiting)
    run = WorkflowRun.objects.get(id=waiting)
    steps = dict(StepRun.objects.filter(run=run).values_list("step_id", "state"))
    assert (run.state, steps) == ("cancelled", {"review": "succeeded", "b": "skipped"})


@pytest.mark.parametrize("second", ["approve", "reject"])
def test_of_two_decisions_the_second_hears_who_was_first(actor, waiting, meanwhile, second):
    other = ActorFactory(tenant_id=actor.tenant_id, name="quick")
    meanwhile(lambda: decide_approval(actor=other, run_id=waiting, step_id="review", action="reject"))
    with pytest.raises(IllegalTransition, match="quick rejected this at"):
        decide_approval(actor=actor, run_id=waiting, step_id="review", action=second)
    assert [state for state, step in told(waiting) if step == "review"].count("failed") == 1


def test_of_two_cancels_the_second_changes_nothing(actor, waiting, meanwhile):
    meanwhile(lambda: cancel_run(actor=actor, run_id=waiting, corr_id="first"))
    cancel_run(actor=actor, run_id=waiting, corr_id="second")
    assert not Event.objects.filter(run_id=waiting, corr_id="second").exists()


def test_of_two_retries_the_second_is_refused(actor, waiting, meanwhile):
    cancel_run(actor=actor, run_id=waiting)
    meanwhile(lambda: retry_run(actor=actor, run_id=waiting))
    with pytest.raises(IllegalTransition):
        retry_run(actor=actor, run_id=waiting)
    assert WorkflowRun.objects.get(id=waiting).generation == 2


def test_a_command_overtaken_without_end_gives_up_and_has_written_nothing(actor, waiting, meanwhile):
    before = told(waiting)
    touch = WorkflowRun.objects.filter(id=waiting)
    meanwhile(lambda: touch.update(revision=F("revision") + 1), times=1000)
    with pytest.raises(Unavailable) as refused:
        cancel_run(actor=actor, run_id=waiting)
    assert (refused.value.retry_after, told(waiting)) == (1, before)


@pytest.mark.parametrize("owned", [False, True])
def test_a_command_wakes_a_run_that_nobody_owns_and_leaves_an_owners_lease_alone(actor, waiting, owned):
    run = WorkflowRun.objects.filter(id=waiting)
    lease = {"lease_owner": uuid4(), "wake_at": datetime(2040, 1, 1, tzinfo=UTC)} if owned else {}
    run.update(**lease)
    before = run.get()
    decide_approval(actor=actor, run_id=waiting, step_id="review", action="approve")
    after = run.get()
    assert after.lease_owner == before.lease_owner
    assert (before.wake_at is None, after.wake_at == before.wake_at) == ((False, True) if owned else (True, False))


# Starting under one key


def test_of_two_starts_with_one_key_the_second_names_the_firsts_run(actor, workflow, meanwhile):
    first = []
    start = {"actor": actor, "workflow": workflow, "input": {"n": 1}, "idempotency_key": "k"}
    meanwhile(lambda: first.append(start_run(**start)))
    second = start_run(**start)
    assert (first[0].created, second.created, second.run_id) == (True, False, first[0].run_id)
    assert WorkflowRun.objects.count() == 1


def test_a_start_overtaken_by_another_body_under_its_key_is_a_conflict(actor, workflow, meanwhile):
    meanwhile(lambda: start_run(actor=actor, workflow=workflow, input={"n": 1}, idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):
        start_run(actor=actor, workflow=workflow, input={"n": 2}, idempotency_key="k")
    assert [run.input for run in WorkflowRun.objects.all()] == [{"n": 1}]


def test_a_batch_overtaken_by_another_body_under_one_of_its_keys_is_not_started_at_all(actor, workflow, meanwhile):
    meanwhile(lambda: start_run(actor=actor, workflow=workflow, input={"n": 0}, idempotency_key="k"))
    requests = [RunRequest({"n": 1}), RunRequest({"n": 2}, idempotency_key="k"), RunRequest({"n": 3})]
    with pytest.raises(IdempotencyConflict):
        start_runs(actor=actor, workflow=workflow, requests=requests)
    assert [run.input for run in WorkflowRun.objects.all()] == [{"n": 0}]


# Who may


def test_services_judge_for_every_door(actor, waiting, workflow):
    viewer, stranger = ActorFactory(tenant_id=actor.tenant_id, role=Role.VIEWER), ActorFactory()
    before = told(waiting)
    for caller, refusal in ((viewer, Forbidden), (stranger, NotFound)):
        for command in (
            lambda who: cancel_run(actor=who, run_id=waiting),
            lambda who: retry_run(actor=who, run_id=waiting),
            lambda who: retry_step(actor=who, run_id=waiting, step_id="review"),
            lambda who: decide_approval(actor=who, run_id=waiting, step_id="review", action="approve"),
        ):
            with pytest.raises(refusal):
                command(caller)
    with pytest.raises(Forbidden):
        start_run(actor=viewer, workflow=workflow, input={})
    with pytest.raises(Forbidden):
        start_run(actor=stranger, workflow=workflow, input={})
    assert told(waiting) == before
    assert WorkflowRun.objects.count() == 1
