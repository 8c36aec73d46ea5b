"""Approvals over REST: who may decide what, and that it counts once (RELIABILITY 4.6)."""

import pytest

from runs.tests.rest.client import Api, approval, flow, problem, refused
from staterail.accounts.models import ApiToken, Membership
from staterail.accounts.tests.factories import MemberFactory, MembershipFactory
from staterail.accounts.tokens import forget_cached
from staterail.core.actor import Role
from workflows.models import Workflow

pytestmark = pytest.mark.django_db
ILLEGAL, FORBIDDEN = problem(409, "ILLEGAL_TRANSITION"), problem(403, "FORBIDDEN")
INVALID, MISSING = problem(400, "VALIDATION_FAILED"), problem(404, "NOT_FOUND")
FORM = {"type": "object", "required": ["n"], "additionalProperties": False, "properties": {"n": {"type": "integer"}}}


def waiting(api, engine, *steps, **settings):
    run_id = api.started(
        api.published(flow(*steps or [approval("review")], **settings), f"w{Workflow.objects.count()}")
    )
    engine.wait(run_id, "review")
    return run_id, f"/runs/{run_id}/steps/review/transition"


def person(api, role=Role.OPERATOR):
    """A member of the tenant, and their token."""
    user = MemberFactory(membership__tenant=api.tenant, membership__role=role)
    return user, Api(Role.ADMIN, api.tenant, owner=user, name=f"token of {user.username}")


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("then", ["approve", "reject"])
def test_an_approval_is_decided_once_and_afterwards_says_by_whom(api, engine, first, then):
    _, path = waiting(api, engine)
    api.must("POST", path, {"action": first})
    told_by = refused(Api(Role.ADMIN, api.tenant, name="late"), path, {"action": then}, ILLEGAL)
    verb = {"approve": "approved", "reject": "rejected"}[first]
    assert told_by["detail"].startswith(f"ci {verb} this at 20")


def test_an_approval_is_decided_when_its_turn_has_come_and_not_after_a_cancel(api, engine):
    definition = flow(approval("first"), approval("review"), transitions=[{"from": "first", "to": "review"}])
    run_id = api.started(api.published(definition))
    engine.wait(run_id, "first")
    refused(api, f"/runs/{run_id}/steps/review/transition", {"action": "approve"}, ILLEGAL)
    api.must("POST", f"/runs/{run_id}/cancel")
    for step in ("first", "review"):
        refused(api, f"/runs/{run_id}/steps/{step}/transition", {"action": "reject"}, ILLEGAL)


def test_an_approval_that_timed_out_is_over(api, engine):
    run_id = api.started(api.published(flow(approval("review", timeout="50ms"))))
    engine.finish(run_id)
    refused(api, f"/runs/{run_id}/steps/review/transition", {"action": "approve"}, ILLEGAL)


def test_what_is_no_approval_cannot_be_approved(api):
    run_id = api.started(api.published(flow("a")))
    refused(api, f"/runs/{run_id}/steps/a/transition", {"action": "approve"}, ILLEGAL)


@pytest.mark.parametrize(
    "body", [{}, {"action": "APPROVE"}, {"action": "maybe"}, {"action": None}, {"action": ["approve"]},
             {"action": "approve", "decision": 1}, {"action": "approve", "comment": "x" * 2001},
             {"action": "approve", "comment": 7}, {"action": "approve", "comment": "a\u0000b"}],
)  # fmt: skip
def test_a_decision_that_is_none_is_refused(api, engine, body):
    _, path = waiting(api, engine)
    refused(api, path, body, INVALID)


@pytest.mark.parametrize("data", [None, {}, {"n": "1"}, {"n": 1, "m": 2}, [], "text"])
def test_an_approval_fits_its_form_and_a_rejection_need_not(api, engine, data):
    run_id, path = waiting(api, engine, approval("review", form_schema=FORM))
    answer = refused(api, path, {"action": "approve", "data": data}, INVALID)
    assert all(found["path"].startswith("/data") for found in answer["problems"])
    assert api.post(path, {"action": "reject", "data": data})[0] == 200
    assert api.step(run_id, "review")["error"]["details"]["data"] == data


def test_data_that_fits_is_the_steps_output(api, engine):
    _, path = waiting(api, engine, approval("review", form_schema=FORM))
    assert api.must("POST", path, {"action": "approve", "data": {"n": 1}})["output"]["data"] == {"n": 1}


def test_data_that_no_output_can_hold_is_too_large(api, engine):
    run_id, path = waiting(api, engine)
    refused(api, path, {"action": "approve", "data": "x" * (1024 * 1024 - 100)}, problem(413, "PAYLOAD_TOO_LARGE"))
    step = api.must("POST", path, {"action": "approve", "data": "é" * 500 * 1024, "comment": "x" * 2000})
    assert step["state"] == "succeeded"
    engine.finish(run_id)


def rejected(api, engine, **config):
    run_id, path = waiting(api, engine, approval("review", **config))
    api.must("POST", path, {"action": "reject"})
    engine.finish(run_id)
    return run_id, path


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (None, "/input"), ([], "/input"), ({}, "/input/title"), ({"title": 7}, "/input/title"),
        ({"title": "t", "colour": 1}, "/input/colour"), ({"title": "t", "assignees": "role:admin"}, "/input/assignees"),
        ({"title": "t", "assignees": ["role:root"]}, "/input/assignees/0"),
        ({"title": "t", "form_schema": {"$ref": "file:///etc/hostname"}}, "/input/form_schema/$ref"),
    ],
    ids=str,
)  # fmt: skip
def test_an_input_that_is_no_config_of_an_approval_is_refused(api, engine, given, path):
    run_id, _ = rejected(api, engine)
    answer = refused(api, f"/runs/{run_id}/steps/review/retry", {"input": given}, INVALID)
    assert [found["path"] for found in answer["problems"]] == [path]


def test_a_retry_lifts_neither_assignees_nor_form_nor_forbid_starter(api, engine):
    rules = {"assignees": ["role:admin"], "form_schema": FORM, "forbid_starter": True}
    starter = Api(Role.ADMIN, api.tenant, name="starter")
    run_id = starter.started(api.published(flow(approval("review", **rules))))
    path = f"/runs/{run_id}/steps/review/transition"
    engine.wait(run_id, "review")
    api.must("POST", path, {"action": "reject"})
    engine.finish(run_id)
    lifted = {"title": "t", "assignees": [], "form_schema": {}, "forbid_starter": False}
    starter.must("POST", f"/runs/{run_id}/steps/review/retry", {"input": lifted})
    engine.wait(run_id, "review")
    refused(starter, path, {"action": "approve", "data": {"n": 1}}, FORBIDDEN)
    refused(Api(Role.OPERATOR, api.tenant, name="other"), path, {"action": "approve", "data": {"n": 1}}, FORBIDDEN)
    refused(api, path, {"action": "approve", "data": {}}, INVALID)
    assert api.post(path, {"action": "approve", "data": {"n": 1}})[0] == 200


def test_a_comment_is_text_and_credentials_in_it_are_masked(api, engine):
    _, path = waiting(api, engine)
    comment = f"<script>alert(1)</script> {api.token} {'x' * 100}"
    output = api.must("POST", path, {"action": "approve", "comment": comment})["output"]
    assert output["comment"] == comment.replace(api.token, "***")


@pytest.mark.parametrize(
    ("assignees", "role", "may"),
    [
        ([], Role.OPERATOR, True), (None, Role.OPERATOR, True), (["role:operator"], Role.OPERATOR, True),
        (["role:operator"], Role.ADMIN, True), (["role:editor"], Role.OPERATOR, False),
        (["role:viewer"], Role.VIEWER, False), (["user:nobody"], Role.ADMIN, False),
        (["user:nobody", "role:admin"], Role.ADMIN, True),
    ],
)  # fmt: skip
def test_who_is_assigned_decides(api, engine, assignees, role, may):
    config = {} if assignees is None else {"assignees": assignees}
    run_id, path = waiting(api, engine, approval("review", **config))
    _, caller = person(api, role)
    step = caller.step(run_id, "review")
    allowed = {a["action"]: a["allowed"] for a in step["allowed_actions"]}
    assert (allowed["approve"], allowed["reject"]) == (may, may)
    assert [row["run_id"] for row in caller.must("GET", "/approvals")["results"]] == ([run_id] if may else [])
    if may:
        assert caller.post(path, {"action": "approve"})[0] == 200
    else:
        refused(caller, path, {"action": "approve"}, FORBIDDEN)


@pytest.mark.parametrize("called", ["username", "email", "id"])
def test_a_person_is_assigned_by_name_address_or_id_and_acts_through_their_token(api, engine, called):
    user, theirs = person(api)
    _, other = person(api)
    run_id, path = waiting(api, engine, approval("review", assignees=[f"user:{getattr(user, called)}"]))
    refused(other, path, {"action": "approve"}, FORBIDDEN)
    refused(api, path, {"action": "approve"}, FORBIDDEN)
    assert theirs.post(path, {"action": "approve"})[0] == 200


def test_a_role_is_judged_when_the_decision_is_made(api, engine):
    user, theirs = person(api, Role.ADMIN)
    _, path = waiting(api, engine, approval("review", assignees=["role:admin"]))
    Membership.objects.filter(user=user).update(role=Role.OPERATOR)
    forget_cached()
    refused(theirs, path, {"action": "approve"}, FORBIDDEN)


def test_who_started_the_run_may_not_decide_where_that_is_forbidden_by_any_of_their_tokens(api, engine):
    user, theirs = person(api, Role.ADMIN)
    second = Api(Role.ADMIN, api.tenant, owner=user, name="second")
    run_id, path = waiting(theirs, engine, approval("review", forbid_starter=True))
    for caller in (theirs, second):
        refused(caller, path, {"action": "approve"}, FORBIDDEN)
        assert caller.must("GET", "/approvals")["results"] == []
        said = caller.step(run_id, "review")["allowed_actions"][1]
        assert said == {
            "action": "approve", "allowed": False, "reason": "Whoever started the run may not decide this approval.",
        }  # fmt: skip
    assert [row["can_act"] for row in api.must("GET", "/approvals")["results"]] == [True]
    assert api.post(path, {"action": "approve"})[0] == 200


def test_a_token_of_nobody_is_its_own_starter(api, engine):
    _, path = waiting(api, engine, approval("review", forbid_starter=True))
    refused(api, path, {"action": "reject"}, FORBIDDEN)
    assert ApiToken.objects.get().user is None
    assert Api(Role.OPERATOR, api.tenant).post(path, {"action": "reject"})[0] == 200


def test_an_approval_of_another_tenant_is_not_there_even_for_one_who_is_named(api, stranger, engine):
    user = MemberFactory(membership__tenant=stranger.tenant, membership__role=Role.ADMIN)
    MembershipFactory(tenant=api.tenant, user=user, role=Role.ADMIN)
    run_id, path = waiting(api, engine, approval("review", assignees=[f"user:{user.username}"]))
    there = Api(Role.ADMIN, stranger.tenant, owner=user)
    refused(there, path, {"action": "approve"}, MISSING)
    assert there.must("GET", "/approvals")["results"] == []
    here = Api(Role.ADMIN, api.tenant, owner=user)
    assert [row["run_id"] for row in here.must("GET", "/approvals")["results"]] == [run_id]


def test_approvals_come_oldest_first_up_to_a_limit(api, engine):
    made = [waiting(api, engine)[0] for _ in range(3)]
    rows = api.must("GET", "/approvals")["results"]
    assert [row["run_id"] for row in rows] == made
    assert api.must("GET", "/approvals?limit=2")["results"] == rows[:2]


def test_an_approval_tells_what_it_asks_for(api, engine):
    config = {"title": "Check ${input.id}", "instructions": "Look", "assignees": ["role:operator"], "form_schema": FORM}
    run_id = api.started(api.published(flow(approval("review", timeout="1h", **config))), input={"id": "A-1"})
    engine.wait(run_id, "review")
    [row] = api.must("GET", "/approvals")["results"]
    assert {name: row[name] for name in ("title", "instructions", "assignees", "form_schema")} == {
        **config, "title": "Check A-1",
    }  # fmt: skip
    step = api.step(run_id, "review")
    assert (row["step_run_id"], row["due_at"], row["requested_at"]) == (step["id"], step["wake_at"], step["started_at"])
