"""Lists: pages, filters, search, and a number of queries that does not grow with them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core import signing
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.models import StepLog, WorkflowRun
from runs.tests.rest.client import Api, approval, flow, problem, task, told
from staterail.accounts.tests.factories import MemberFactory
from staterail.core.actor import Role

pytestmark = pytest.mark.django_db
REFUSED = problem(400, "VALIDATION_FAILED")


def ids(answer):
    status, page = answer
    assert status == 200, page
    return [row["id"] for row in page["results"]]


@pytest.fixture
def workflow(api):
    return api.published(flow(approval("review")))


def test_runs_come_newest_first_page_by_page(api, workflow):
    made = [api.started(workflow) for _ in range(5)][::-1]
    seen, cursor = [], ""
    while cursor is not None:
        _, page = api.get(f"/runs?limit=2{cursor and f'&cursor={cursor}'}")
        seen.append([row["id"] for row in page["results"]])
        cursor = page["next_cursor"]
    assert seen == [made[:2], made[2:4], made[4:]]


def test_a_page_that_ends_the_list_has_no_cursor(api, workflow):
    for _ in range(2):
        api.started(workflow)
    assert [api.get(f"/runs?limit={n}")[1]["next_cursor"] is None for n in (1, 2, 3)] == [False, True, True]


def test_a_run_started_meanwhile_moves_no_page(api, workflow):
    made = [api.started(workflow) for _ in range(3)][::-1]
    _, first = api.get("/runs?limit=2")
    api.started(workflow)
    assert ids(api.get(f"/runs?limit=2&cursor={first['next_cursor']}")) == made[2:]


@pytest.mark.parametrize("path", ["/runs", "/workflows", "/workflows/{}/versions", "/approvals"])
@pytest.mark.parametrize("limit", ["0", "-1", "101", "1000000000", "9" * 40, "x", "", "1.5", "٣", "1 "])
def test_a_page_has_1_to_100_rows(api, workflow, path, limit):
    status, answer = api.find(path.format(workflow), limit=limit)
    assert told((status, answer)) == REFUSED
    assert [found["path"] for found in answer["problems"]] == ["/limit"]


@pytest.mark.parametrize("path", ["/runs/{}/events", "/runs/{}/steps/review/logs"])
@pytest.mark.parametrize(("limit", "status"), [("1000", 200), ("1001", 400), ("0", 400)])
def test_a_page_of_events_or_logs_has_1_to_1000(api, workflow, path, limit, status):
    assert api.get(f"{path.format(api.started(workflow))}?limit={limit}")[0] == status


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "a:b:c",
        "é",
        "x" * 5000,
        pytest.param(signing.dumps(["runs", 1], salt="another"), id="salt"),
        "null",
        "\x00",
    ],
)
@pytest.mark.parametrize("path", ["/runs", "/workflows", "/workflows/{}/versions"])
def test_a_cursor_that_is_none_of_ours_is_refused(api, workflow, path, cursor):
    assert told(api.find(path.format(workflow), cursor=cursor)) == REFUSED


def test_a_cursor_of_another_list_or_tenant_is_refused(api, stranger, workflow):
    for _ in range(2):
        api.started(workflow)
        api.must("POST", "/workflows", {"name": "n"})
        stranger.started(stranger.published(flow("a"), slug=f"f{_}"))
    runs, workflows = (api.get(f"{path}?limit=1")[1]["next_cursor"] for path in ("/runs", "/workflows"))
    theirs = stranger.get("/runs?limit=1")[1]["next_cursor"]
    wrong = [("/runs", workflows), ("/workflows", runs), ("/runs", theirs), (f"/workflows/{workflow}/versions", runs)]
    assert [told(api.get(f"{path}?cursor={cursor}")) for path, cursor in wrong] == [REFUSED] * 4


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/runs", "password__startswith"), ("/runs", "tenant__secrets"), ("/runs", "sort"), ("/workflows", "state"),
        ("/approvals", "cursor"), ("/runs/{}/events", "cursor"), ("/runs/{}/steps/review/logs", "after_seq"),
        ("/runs/{}/steps/review", "attempt"), ("/runs", "state[]"),
    ],
)  # fmt: skip
def test_a_parameter_that_nobody_knows_is_refused(api, workflow, path, name):
    status, answer = api.get(f"{path.format(api.started(workflow))}?{name}=1")
    assert told((status, answer)) == REFUSED
    assert answer["problems"][0]["path"] == f"/{name}"


# Filters


def test_runs_by_state_and_workflow(api, engine, workflow):
    other = api.published(flow("a"), "other")
    done = api.started(other)
    engine.finish(done)
    open_ = api.started(workflow)
    assert ids(api.get("/runs?state=pending")) == [open_]
    assert ids(api.get("/runs?state=pending,completed")) == ids(api.get("/runs?state=completed&state=pending"))
    assert ids(api.get("/runs?state=pending,completed")) == [open_, done]
    assert ids(api.get(f"/runs?workflow_id={other}")) == [done]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "RUNNING"), ("state", "done"), ("state", "running;drop"), ("workflow_id", "flow"),
        ("workflow_id", ""), ("workflow_id", "{0199b3a0-0000-7000-8000-000000000000}"), ("created_after", "yesterday"),
        ("created_after", ""), ("created_after", "2026-01-03"), ("created_after", "2026-01-03T00:00:00"),
        ("created_after", "0001-01-01T00:00:00Z"), ("created_before", "now"),
        ("created_after", "9999-12-31T23:59:59-23:59"), ("created_after", "2026-01-03T00:00:00+99:00"),
        ("search", "x" * 201), ("search", "a\x00b"),
    ],
)  # fmt: skip
def test_a_filter_of_the_wrong_kind_is_refused(api, name, value):
    status, answer = api.find("/runs", **{name: value})
    assert told((status, answer)) == REFUSED
    assert answer["problems"][0]["path"] == f"/{name}"


def test_a_workflow_of_another_tenant_filters_like_one_that_is_not_there(api, stranger, workflow):
    theirs = stranger.published(flow("a"))
    stranger.started(theirs)
    api.started(workflow)
    nothing = (200, {"results": [], "next_cursor": None})
    assert api.get(f"/runs?workflow_id={theirs}") == nothing
    assert api.get("/runs?workflow_id=0199b3a0-0000-7000-8000-000000000000") == nothing


def test_workflows_by_text_and_archive(api):
    made = [api.must("POST", "/workflows", {"name": name})["id"] for name in ("Ship 100%", "Ship_all", "Pay")]
    api.must("POST", f"/workflows/{made[2]}/archive")
    assert ids(api.get("/workflows")) == [made[1], made[0]]
    assert ids(api.get("/workflows?search=SHIP")) == [made[1], made[0]]
    assert ids(api.get("/workflows?search=100%25")) == [made[0]]
    assert ids(api.get("/workflows?search=p_a")) == [made[1]]
    assert ids(api.get("/workflows?archived=true")) == [made[2]]
    assert told(api.get("/workflows?archived=maybe")) == REFUSED


# Search


@pytest.fixture
def found(api, workflow):
    """One run with much to find, beside one with nothing."""
    body = {"input": {"order_id": "A-1", "n": 7, "ok": True, "big": 1.5, "0": "zero"}, "metadata": {"team": "blue"}}
    run_id = api.started(workflow, corr_id="order/100%_é", **body)
    api.started(workflow, corr_id="plain")
    return run_id


@pytest.mark.parametrize(
    "text",
    ["order/", "ORDER/1", "100%", "%_", "é", "order_id:A-1", "n:7", "ok:true", "big:1.5", "team:blue"],
)
def test_search_finds_text_of_the_correlation_id_and_values_by_key(api, found, text):
    assert ids(api.find("/runs", search=text)) == [found]


@pytest.mark.parametrize(
    "text",
    [
        "isnull:", "input__isnull:true", "order_id__regex:.*", "n__gt:1", "contains:x", "has_key:n", "in:1",
        "range:1,2",
        "order_id:A-1 ", "order_id:a-1", "n:٧", "n:²", "n:--7", "n:1e999", "n:99999999999999999999", "n:NaN", "n:07",
        "ok:True", "x:[1]",
        "x:" + "[" * 190, 'a"b:1', "a'b:1", "a.b:1", "$:1", "[0]:1", ":", "::", "_", "\\", "(", "[", "*",
        "'; DROP TABLE",
        "%", "😀", "‮",
    ],
)  # fmt: skip
def test_search_text_is_neither_a_pattern_nor_a_lookup(api, found, text):
    answer = api.find("/runs", search=text)
    wanted = {"_": [found], "%": [found]}.get(text, [])
    assert ids(answer) == wanted


def test_search_finds_a_run_by_its_id(api, found):
    assert ids(api.find("/runs", search=found)) == ids(api.find("/runs", search=found.upper())) == [found]


def test_search_finds_failures_by_code_message_and_step(api, engine):
    failing = flow(task("ship", "core.fail", code="no_stock", message="Grüße: 17 left"))
    run_id = api.started(api.published(failing, "failing"))
    engine.finish(run_id)
    for text in ("no_stock", "17 left", "Grüße", "ship"):
        assert ids(api.find("/runs", search=text)) == [run_id], text
    assert ids(api.find("/runs", search="message")) == []  # a name of ours, not of the failure


# Events and logs


def test_events_go_on_after_a_seq(api, engine):
    run_id = api.started(api.published(flow("a", "b")))
    engine.finish(run_id)
    everything = api.get(f"/runs/{run_id}/events?limit=1000")[1]["results"]
    paged, after = [], 0
    while page := api.get(f"/runs/{run_id}/events?after_seq={after}&limit=3")[1]["results"]:
        assert len(page) <= 3
        paged, after = paged + page, page[-1]["seq"]
    assert paged == everything
    assert [event["seq"] for event in everything] == list(range(1, len(everything) + 1))
    assert api.get(f"/runs/{run_id}/events?after_seq=2147483647") == (200, {"results": []})


@pytest.mark.parametrize("after", ["-1", "x", "2147483648", "1.0", ""])
def test_after_seq_is_a_seq(api, workflow, after):
    assert told(api.get(f"/runs/{api.started(workflow)}/events?after_seq={after}")) == REFUSED


def write_logs(run_id, *lines):
    run = WorkflowRun.objects.get(id=run_id)
    for attempt, number, message in lines:
        StepLog.objects.create(
            tenant_id=run.tenant_id, run=run, step_id="review", attempt=attempt, number=number,
            ts=datetime.now(UTC) - timedelta(seconds=number), level="info", message=message,
        )  # fmt: skip


def test_logs_come_oldest_first_by_attempt_offset_and_text(api, workflow):
    run_id = api.started(workflow)
    write_logs(run_id, (2, 1, "again"), (1, 1, "one 100%"), (1, 2, "Two"), (1, 3, "three"))

    def messages(query=""):
        return [line["message"] for line in api.get(f"/runs/{run_id}/steps/review/logs{query}")[1]["results"]]

    assert messages() == ["one 100%", "Two", "three", "again"]
    assert messages("?attempt=1&offset=1&limit=1") == ["Two"]
    assert messages("?attempt=2") == ["again"]
    assert messages("?search=t") == ["Two", "three"]
    assert messages("?search=%25") == ["one 100%"]
    assert messages("?offset=4") == []


@pytest.mark.parametrize("query", ["attempt=0", "attempt=x", "offset=-1", "offset=2147483648", "search=" + "x" * 201])
def test_a_part_of_the_logs_is_asked_for_in_numbers(api, workflow, query):
    assert told(api.get(f"/runs/{api.started(workflow)}/steps/review/logs?{query}")) == REFUSED


def test_there_are_no_items_yet(api, workflow):
    step = f"/runs/{api.started(workflow)}/steps/review"
    wanted = problem(404, "NOT_FOUND")
    assert [told(api.get(f"{step}{tail}?item_index=0")) for tail in ("", "/logs")] == [wanted, wanted]
    assert told(api.post(f"{step}/retry", {"item_index": 0})) == wanted
    assert told(api.post(f"{step}/transition", {"action": "approve", "item_index": 0})) == wanted


# Queries


def queries(api, path):
    api.get(path)  # plans, tokens and content types are remembered
    with CaptureQueriesContext(connection) as captured:
        assert api.get(path)[0] == 200
    return len(captured)


def test_a_list_costs_as_many_queries_for_1_row_as_for_3(engine):
    owner = MemberFactory(membership__role=Role.ADMIN)
    api = Api(tenant=owner.memberships.get().tenant, owner=owner)
    person = {"assignees": [f"user:{owner.username}"], "forbid_starter": True}
    waiting = api.published(flow(approval("review", **person), "b", sla="1s"), "waiting")
    failing = api.published(flow(task("a", "core.fail", code="bad")), "failing")
    starter = Api(tenant=api.tenant)
    counts = []
    for n in (1, 2):
        for _ in range(n):
            run_id = starter.started(waiting, input={"x": "y"})
            engine.finish(starter.started(failing))
            engine.wait(run_id, "review")
        api.must("PUT", f"/workflows/{waiting}/draft", {"definition": flow("a")})
        paths = ["/runs", "/approvals", "/workflows", f"/workflows/{failing}/versions"]
        counts.append({path: queries(api, path) for path in paths})
    assert len(api.get("/runs")[1]["results"]) == 6
    assert len(api.get("/approvals")[1]["results"]) == 3
    assert counts[0] == counts[1]
    assert max(counts[0].values()) <= 10


def test_a_run_with_many_steps_costs_as_many_queries_as_one_with_few(engine):
    owner = MemberFactory(membership__role=Role.ADMIN)
    api = Api(tenant=owner.memberships.get().tenant, owner=owner)
    person = {"assignees": [f"user:{owner.username}"], "forbid_starter": True}
    counts = []
    for n in (1, 5):
        run_id = api.started(api.published(flow(*[approval(f"r{i}", **person) for i in range(n)]), f"f{n}"))
        engine.wait(run_id, f"r{n - 1}")
        counts.append(queries(api, f"/runs/{run_id}"))
    assert counts[0] == counts[1] <= 10
