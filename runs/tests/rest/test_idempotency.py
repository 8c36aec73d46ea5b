"""A key that comes twice is carried out once (RELIABILITY 4.2)."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from runs.models import Event, WorkflowRun
from runs.tests.rest.client import Api, approval, flow, problem, told
from staterail.accounts import idempotency
from staterail.accounts.models import IdempotencyRecord, Membership
from staterail.accounts.tests.factories import ActorFactory, MemberFactory
from staterail.accounts.tokens import forget_cached
from staterail.core.actor import Role
from staterail.core.errors import Conflict, NotFound
from workflows.models import Workflow, WorkflowVersion

pytestmark = pytest.mark.django_db
DEFINITION = flow(approval("review"))


def rows():
    return [model.objects.count() for model in (Workflow, WorkflowVersion, WorkflowRun, Event)]


@pytest.fixture
def workflow(api):
    return api.published(DEFINITION)


@pytest.fixture
def waiting(api, engine, workflow):
    run_id = api.started(workflow)
    engine.wait(run_id, "review")
    return run_id


@pytest.fixture
def command(request, api, workflow, waiting):
    """(method, path, body, another body) of a command that works once."""
    run, step = f"/runs/{waiting}", f"/runs/{waiting}/steps/review"
    if request.param == "retry":
        api.must("POST", f"{run}/cancel")
    if request.param == "retry step":
        api.must("POST", f"{step}/transition", {"action": "reject"})
    return {
        "create": ("POST", "/workflows", {"name": "n", "slug": "s"}, {"name": "m", "slug": "s"}),
        "draft": ("PUT", f"/workflows/{workflow}/draft", {"definition": DEFINITION}, {"definition": {}}),
        "archive": ("POST", f"/workflows/{workflow}/archive", {}, {"archived": False}),
        "validate": ("POST", "/definitions/validate", {"definition": {}}, {"definition": []}),
        "batch": ("POST", f"/workflows/{workflow}/runs/batch", {"runs": [{}, {}]}, {"runs": [{}]}),
        "cancel": ("POST", f"{run}/cancel", {"reason": "a"}, {"reason": "b"}),
        "retry": ("POST", f"{run}/retry", {}, {"x": 1}),
        "retry step": ("POST", f"{step}/retry", {}, {"input": {"title": "other"}}),
        "transition": ("POST", f"{step}/transition", {"action": "approve"}, {"action": "reject"}),
    }[request.param]


COMMANDS = ["create", "draft", "archive", "validate", "batch", "cancel", "retry", "retry step", "transition"]


@pytest.mark.parametrize("command", COMMANDS, indirect=True)
def test_a_repeat_gets_the_first_answer_byte_for_byte_and_does_nothing(api, command):
    method, path, body, _ = command
    first = api.send(method, path, body, Idempotency_Key="k 1")
    before = rows()
    again = api.send(method, path, dict(reversed(body.items())), Idempotency_Key="k 1")
    assert (first.status_code < 300, again.status_code, again.content) == (True, first.status_code, first.content)
    assert (first.get("Idempotency-Replayed"), again["Idempotency-Replayed"]) == (None, "true")
    assert rows() == before


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "retry"], indirect=True)
def test_the_same_key_with_another_body_is_a_conflict(api, command):
    method, path, body, other = command
    api.must(method, path, body, Idempotency_Key="k")
    before = rows()
    assert told(api.call(method, path, other, Idempotency_Key="k")) == problem(409, "IDEMPOTENCY_CONFLICT")
    assert rows() == before


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "validate"], indirect=True)
def test_a_repeat_by_a_caller_who_may_not_is_refused_like_a_first_call(api, command):
    method, path, body, _ = command
    api.must(method, path, body, Idempotency_Key="k")
    before = rows()
    viewer = Api(Role.VIEWER, api.tenant)
    answers = [viewer.call(method, path, body, Idempotency_Key=key) for key in ("k", "other")]
    assert told(answers[0]) == problem(403, "FORBIDDEN")
    assert answers[0] == answers[1]
    assert rows() == before


@pytest.mark.parametrize("command", COMMANDS, indirect=True)
def test_the_same_key_of_another_caller_is_a_conflict(api, command):
    method, path, body, _ = command
    api.must(method, path, body, Idempotency_Key="k")
    before = rows()
    other = Api(Role.ADMIN, api.tenant, name="other")
    assert told(other.call(method, path, body, Idempotency_Key="k")) == problem(409, "IDEMPOTENCY_CONFLICT")
    assert rows() == before


def test_a_caller_who_has_lost_the_right_gets_no_repeat(api, workflow):
    owner = MemberFactory(membership__tenant=api.tenant, membership__role=Role.OPERATOR)
    theirs, run_id = Api(tenant=api.tenant, owner=owner), api.started(workflow)
    theirs.must("POST", f"/runs/{run_id}/cancel", Idempotency_Key="k")
    Membership.objects.filter(user=owner).update(role=Role.VIEWER)
    forget_cached()
    assert told(theirs.post(f"/runs/{run_id}/cancel", Idempotency_Key="k")) == problem(403, "FORBIDDEN")


def test_the_same_key_for_another_object_is_a_conflict(api, workflow):
    runs = [api.started(workflow) for _ in range(2)]
    api.must("POST", f"/runs/{runs[0]}/cancel", Idempotency_Key="k")
    assert told(api.post(f"/runs/{runs[1]}/cancel", Idempotency_Key="k")) == problem(409, "IDEMPOTENCY_CONFLICT")
    assert api.must("GET", f"/runs/{runs[1]}")["state"] == "pending"


def test_the_same_key_for_another_operation_is_another_key(api, workflow):
    run_id = api.started(workflow)
    assert api.post(f"/runs/{run_id}/cancel", Idempotency_Key="k")[0] == 200
    assert api.post(f"/runs/{run_id}/retry", Idempotency_Key="k")[1]["state"] == "pending"


def test_a_key_is_the_tenants_own(api, stranger):
    mine = api.must("POST", "/workflows", {"name": "n"}, Idempotency_Key="k")
    theirs = stranger.must("POST", "/workflows", {"name": "other"}, Idempotency_Key="k")
    assert mine["id"] != theirs["id"]
    workflows = api.published(DEFINITION), stranger.published(DEFINITION)
    started = [
        who.send("POST", f"/workflows/{id}/runs", {"input": n}, Idempotency_Key="k").status_code
        for n, (who, id) in enumerate(zip((api, stranger), workflows, strict=True))
    ]
    assert started == [201, 201]


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "schlüssel", "a\tb", "\x7f"])
@pytest.mark.parametrize(
    "path", ["/workflows", "/workflows/{}/runs", "/workflows/{}/runs/batch", "/definitions/validate"]
)
def test_a_key_is_1_to_255_printable_ascii_characters(api, workflow, path, key):
    body = {
        "/workflows": {"name": "n"},
        "/workflows/{}/runs/batch": {"runs": [{}]},
        "/definitions/validate": {"definition": 1},
    }
    before = rows()
    answer = api.post(path.format(workflow), body.get(path, {}), Idempotency_Key=key)
    assert told(answer) == problem(400, "VALIDATION_FAILED")
    assert rows() == before


def test_a_key_of_255_characters_is_one(api):
    assert api.post("/workflows", {"name": "n"}, Idempotency_Key="x" * 255)[0] == 201


def test_a_command_that_failed_leaves_its_key_free(api, workflow):
    before = rows()
    for body in ({"name": ""}, {"name": "n", "slug": "flow"}, {"name": "n", "definition": 7}):
        assert api.post("/workflows", body, Idempotency_Key="k")[0] in (400, 409)
    assert (rows(), IdempotencyRecord.objects.count()) == (before, 0)
    assert api.post("/workflows", {"name": "n"}, Idempotency_Key="k")[0] == 201


def test_an_answer_is_kept_for_24_hours(api, waiting):
    api.must("POST", f"/runs/{waiting}/cancel", Idempotency_Key="k")
    age = timedelta(hours=24, seconds=1)
    IdempotencyRecord.objects.update(created_at=datetime.now(UTC) - age)
    answer = api.send("POST", f"/runs/{waiting}/cancel", {"reason": "another"}, Idempotency_Key="k")
    assert (answer.status_code, answer.get("Idempotency-Replayed")) == (200, None)
    assert IdempotencyRecord.objects.get().created_at > datetime.now(UTC) - timedelta(minutes=1)


@pytest.mark.django_db(transaction=True)
def test_a_repeat_while_the_first_call_is_under_way_is_told_to_come_again():
    actor, inside, go_on = ActorFactory(), threading.Event(), threading.Event()
    answers = []

    def slow():
        inside.set()
        assert go_on.wait(10)
        return 200, {"done": True}

    def first_call():
        from django.db import connection

        answers.append(idempotency.once(actor, "op", "k", "hash", slow))
        connection.close()

    first = threading.Thread(target=first_call)
    first.start()
    assert inside.wait(10)
    try:
        with pytest.raises(Conflict) as refused:
            idempotency.once(actor, "op", "k", "hash", lambda: (200, {"done": "twice"}))
    finally:
        go_on.set()
        first.join(10)
    assert (refused.value.code, refused.value.retry_after) == ("CONFLICT", 1)
    assert answers == [(200, {"done": True}, False)]
    assert idempotency.once(actor, "op", "k", "hash", lambda: (200, {})) == (200, {"done": True}, True)


def test_what_raises_ends_the_turn_of_its_key():
    actor = ActorFactory()

    def fails():
        raise NotFound

    for _ in range(2):
        with pytest.raises(NotFound):
            idempotency.once(actor, "op", "k", "hash", fails)
    assert idempotency.once(actor, "op", "k", "other", lambda: (200, 1)) == (200, 1, False)


# Starting: the run keeps its key, for ever


def start(api, workflow, body, key="k", **headers):
    answer = api.send("POST", f"/workflows/{workflow}/runs", body, Idempotency_Key=key, **headers)
    return answer.status_code, answer.json(), answer.get("Idempotency-Replayed")


def test_a_start_that_comes_twice_answers_the_same_run_as_it_is_now(api, engine, workflow):
    status, first, replayed = start(api, workflow, {"input": {"a": 1, "b": 2}})
    assert (status, replayed) == (201, None)
    engine.wait(first["id"], "review")
    status, again, replayed = start(api, workflow, {"input": {"b": 2, "a": 1}})
    assert (status, replayed, again["id"], again["state"]) == (200, "true", first["id"], "running")
    assert WorkflowRun.objects.count() == 1


@pytest.mark.parametrize(
    "other", [{"input": {"a": 2}}, {"input": {"a": 1.0}}, {"input": {"a": True}}, {"input": {"a": 1}, "version": 1},
              {"input": {"a": 1}, "corr_id": "c"}, {"input": {"a": 1}, "metadata": {"x": 1}}, {}],
)  # fmt: skip
def test_a_start_with_another_body_is_a_conflict(api, workflow, other):
    start(api, workflow, {"input": {"a": 1}})
    status, answer, _ = start(api, workflow, other)
    assert told((status, answer)) == problem(409, "IDEMPOTENCY_CONFLICT")
    assert WorkflowRun.objects.count() == 1


def test_a_start_of_another_workflow_is_another_body(api, workflow):
    start(api, workflow, {})
    status, answer, _ = start(api, api.published(DEFINITION, "other"), {})
    assert told((status, answer)) == problem(409, "IDEMPOTENCY_CONFLICT")


def test_a_workflow_is_the_same_by_its_slug(api, workflow):
    _, first, _ = start(api, workflow, {})
    status, again, _ = start(api, "flow", {})
    assert (status, again["id"]) == (200, first["id"])


def test_headers_of_a_request_are_no_part_of_its_body(api, workflow):
    _, first, _ = start(api, workflow, {}, X_Correlation_Id="try-1", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    status, again, _ = start(api, workflow, {}, X_Correlation_Id="try-2", traceparent=f"00-{'c' * 32}-{'b' * 16}-01")
    assert (status, again["id"], again["corr_id"], again["trace_id"]) == (200, first["id"], "try-1", "a" * 32)


def test_the_key_of_a_start_outlives_archiving_and_is_free_after_a_refusal(api, workflow):
    _, first, _ = start(api, workflow, {})
    api.must("POST", f"/workflows/{workflow}/archive")
    assert start(api, workflow, {})[1]["id"] == first["id"]
    assert start(api, workflow, {}, "k2")[0] == 409
    api.must("POST", f"/workflows/{workflow}/archive", {"archived": False})
    assert start(api, workflow, {}, "k2")[0] == 201


# Batches


def batch(api, workflow, *items, **headers):
    return api.post(f"/workflows/{workflow}/runs/batch", {"runs": list(items)}, **headers)


def test_a_thousand_runs_start_at_once_in_order(api, workflow):
    status, answer = batch(api, workflow, *[{"input": n, "idempotency_key": f"k{n}"} for n in range(1000)])
    inputs = dict(WorkflowRun.objects.values_list("id", "input"))
    assert (status, [inputs[id] for id in map(UUID, answer["run_ids"])]) == (201, list(range(1000)))
    assert batch(api, workflow, {"input": 7, "idempotency_key": "k7"})[1]["run_ids"] == [answer["run_ids"][7]]


def test_a_run_too_many_is_refused(api, workflow):
    assert told(batch(api, workflow, *[{}] * 1001)) == problem(400, "VALIDATION_FAILED")
    assert WorkflowRun.objects.count() == 0


def test_a_key_twice_in_a_batch_is_one_run_and_with_two_bodies_a_conflict(api, workflow):
    item = {"input": 1, "idempotency_key": "k"}
    _, answer = batch(api, workflow, item, {"input": 2}, item)
    assert (answer["run_ids"][0], WorkflowRun.objects.count()) == (answer["run_ids"][2], 2)

    twice = {"input": 1, "idempotency_key": "l"}, {"input": 2, "idempotency_key": "l"}
    assert told(batch(api, workflow, *twice)) == problem(409, "IDEMPOTENCY_CONFLICT")
    assert WorkflowRun.objects.count() == 2


@pytest.mark.parametrize(
    ("bad", "refusal"),
    [
        ({"input": {"n": "text"}}, problem(400, "VALIDATION_FAILED")),
        ({"input": {"n": 1}, "idempotency_key": "used"}, problem(409, "IDEMPOTENCY_CONFLICT")),
        ({"input": {"n": 1, "x": "x" * 1024 * 1024}}, problem(413, "PAYLOAD_TOO_LARGE")),
    ],
)
def test_a_batch_is_started_whole_or_not_at_all(api, bad, refusal):
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    workflow = api.published(flow("a", input_schema=schema))
    api.must("POST", f"/workflows/{workflow}/runs", {"input": {"n": 9}}, Idempotency_Key="used")
    good = {"input": {"n": 1}}
    assert told(batch(api, workflow, good, bad, good)) == refusal
    assert (WorkflowRun.objects.count(), IdempotencyRecord.objects.count()) == (1, 0)
