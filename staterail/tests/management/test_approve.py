"""What the command does beside REST, to which it owes its rules (runs/tests/rest/test_approvals.py)."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from runs.tests.rest.client import Api, approval, flow, stored
from runs.tests.rest.engine import Engine

pytestmark = pytest.mark.django_db
FORM = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}


@pytest.fixture
def engine():
    made = Engine()
    yield made
    made.reactor.pool.close()


@pytest.fixture
def waiting(engine):
    """A run whose step `review` waits, with this configuration: its caller and its id."""

    def start(**config):
        api = Api()
        run_id = api.started(api.published(flow(approval("review", **config))))
        engine.wait(run_id, "review")
        return api, run_id

    return start


def _approve(api, run_id, *given):
    out = io.StringIO()
    call_command("approve", run_id, "review", "--tenant", api.tenant.slug, *given, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_an_approval_is_stored_as_the_command_lines(waiting, tmp_path):
    api, run_id = waiting(form_schema=FORM)
    (tmp_path / "form.json").write_text('{"amount": 3}')
    assert _approve(api, run_id, "--comment", "Looks right.", "--data", f"@{tmp_path / 'form.json'}") == "approved\n"
    step = api.step(run_id, "review")
    decision = {name: step["output"][name] for name in ("action", "actor", "comment", "data")}
    assert decision == {
        "action": "approve", "actor": "command line", "comment": "Looks right.", "data": {"amount": 3},
    }  # fmt: skip


def test_a_rejection_fails_the_step(waiting):
    api, run_id = waiting()
    assert _approve(api, run_id, "--reject", "--comment", "Too dear.") == "rejected\n"
    step = api.step(run_id, "review")
    assert (step["state"], step["reason"], step["error"]["message"]) == ("failed", "rejected", "Too dear.")


def test_a_second_decision_is_told_of_the_first(waiting):
    api, run_id = waiting()
    _approve(api, run_id)
    with pytest.raises(CommandError, match="command line approved this at"):
        _approve(api, run_id, "--reject")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "`data` does not fit the form.\n  /data: 'amount' is a required property"),
        (["--data", json.dumps({"amount": "many"})], "  /data/amount: "),
        (["--data", "{"], "--data: This is no JSON"),
        (["--comment", "x" * 2001], "  /comment: A comment has 2000 characters at most."),
        (["--comment", "\udcff"], "--comment: A text contains half of a surrogate pair"),
    ],
    ids=["no data", "other data", "no json", "long comment", "no text"],
)
def test_what_rest_refuses_the_command_refuses_and_nothing_changes(waiting, given, says):
    api, run_id = waiting(form_schema=FORM)
    before = stored()
    with pytest.raises(CommandError) as caught:
        _approve(api, run_id, *given)
    assert says in str(caught.value)
    assert stored() == before


def test_a_step_of_somebody_else_is_not_the_command_lines_to_decide(waiting):
    api, run_id = waiting(assignees=["user:ada"])
    with pytest.raises(CommandError, match="You are not an assignee"):
        _approve(api, run_id)


def test_a_run_of_another_tenant_is_not_found(waiting):
    _, run_id = waiting()
    with pytest.raises(CommandError, match="There is no run"):
        _approve(Api(), run_id)
    with pytest.raises(CommandError, match="There is no run 'latest'"):
        _approve(Api(), "latest")
