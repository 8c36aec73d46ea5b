"""Commands that race the reactor and one another: one wins, the others are judged by what it left."""

import threading
from collections import Counter

import pytest

from staterail.testing.definitions import chain, echo, edge, step, task, workflow
from staterail.testing.server import FINAL
from staterail.tests.servers.flows import SHORT, starts

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
ROUNDS = [20, pytest.param(300, marks=pytest.mark.chaos)]


def at_once(*calls):
    """Make these calls at the same time; their answers in this order."""
    barrier, answers = threading.Barrier(len(calls)), [None] * len(calls)

    def make(n, call):
        barrier.wait()
        answers[n] = call()

    threads = [threading.Thread(target=make, args=(n, call)) for n, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def post(api, run_id, path, **body):
    return lambda: api.call("POST", f"/api/v1/runs/{run_id}/{path}", body)


def ends(api, run_id):
    """The run's own ends in its log."""
    return [e["state_after"] for e in api.events(run_id) if e["step_id"] is None and e["state_after"] in FINAL]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_cancel_against_the_end_of_the_run(api, rounds):
    flow = api.publish(workflow([echo("a"), echo("b"), echo("c")], chain("a", "b", "c")))
    outcomes = Counter()
    for n in range(rounds):
        run_id = api.start(flow)
        threading.Event().wait(n % 10 / 500)
        status, answer = api.call("POST", f"/api/v1/runs/{run_id}/cancel", {})

        state = api.ended(run_id)["state"]
        assert ends(api, run_id) == [state]
        if state == "completed":
            assert (status, answer["code"]) == (409, "ILLEGAL_TRANSITION")
        else:
            assert (status, state) == (200, "cancelled")
        outcomes[state] += 1
    assert len(outcomes) == 2 or rounds < 100, outcomes


@pytest.mark.parametrize("rounds", ROUNDS)
def test_approve_reject_cancel_and_timeout_at_once_give_one_decision(api, rounds):
    approval = step("w", "HumanApproval", {"title": "?", "assignees": []}, timeout="400ms")
    flow = api.publish(workflow([approval, echo("after")], chain("w", "after")))
    for n in range(rounds):
        run_id = api.start(flow)
        api.step_in(run_id, "w", "running")
        threading.Event().wait(n % 8 / 18)  # up to, and past, its timeout

        answers = at_once(
            post(api, run_id, "steps/w/transition", action="approve"),
            post(api, run_id, "steps/w/transition", action="reject"),
            post(api, run_id, "cancel"),
        )

        run = api.ended(run_id)
        (approved, approve), (rejected, reject), (cancelled, cancel) = answers
        assert [approved, rejected].count(200) <= 1
        assert {s for s, _ in answers} <= {200, 409}
        assert {a["code"] for s, a in answers if s == 409} <= {"ILLEGAL_TRANSITION"}
        decided = [e for e in api.events(run_id) if e["step_id"] == "w" and e["state_before"] == "running"]
        assert len(decided) == 1
        row = next(s for s in run["step_runs"] if s["step_id"] == "w")
        expected = {
            (True, False): ("succeeded", None), (False, True): ("failed", "rejected"),
        }.get((approved == 200, rejected == 200))  # fmt: skip
        if expected is not None:
            assert (row["state"], row["reason"]) == expected
        else:
            assert (row["state"], row["reason"]) in {("failed", "timeout"), ("failed", "interrupted")}
        assert len(ends(api, run_id)) == 1


@pytest.mark.parametrize("rounds", ROUNDS)
def test_two_retries_of_one_step_and_a_cancel_are_judged_one_after_the_other(api, rounds):
    flow = api.publish(
        workflow([task("f", "core.fail", code="no", message="no"), task("s", "core.sleep", seconds=0.2)])
    )
    for _ in range(rounds):
        run_id = api.start(flow)
        api.step_in(run_id, "f", "failed")

        answers = at_once(
            post(api, run_id, "steps/f/retry"), post(api, run_id, "steps/f/retry"), post(api, run_id, "cancel")
        )

        api.ended(run_id)
        assert {status for status, _ in answers} <= {200, 409}
        assert {a["code"] for status, a in answers if status == 409} <= {"ILLEGAL_TRANSITION"}
        attempts = starts(api, run_id, "f")
        assert attempts == list(range(1, len(attempts) + 1))
        assert api.run(run_id)["generation"] == 1 + sum(status == 200 for status, _ in answers[:2])


def test_starts_with_one_key_at_once_make_one_run(api):
    flow = api.publish(SHORT)
    for n in range(20):
        start = lambda n=n: api.call(  # noqa: E731
            "POST", f"/api/v1/workflows/{flow}/runs", {"input": {}}, Idempotency_Key=f"{flow}-{n}"
        )

        answers = at_once(*[start] * 8)

        assert len({answer["id"] for _, answer in answers}) == 1
        assert Counter(status for status, _ in answers) == {201: 1, 200: 7}


def test_batches_that_share_keys_at_once_make_each_run_once(cluster, api):
    """Two statements insert the same keys in opposite order: neither waits for the other for ever."""
    flow = api.publish(SHORT)
    keys = [f"{flow}-{n}" for n in range(200)]

    def batch(keys):
        runs = [{"input": {}, "idempotency_key": key} for key in keys]
        return lambda: api.call("POST", f"/api/v1/workflows/{flow}/runs/batch", {"runs": runs})

    answers = at_once(batch(keys), batch(keys[::-1]), batch(keys[50:]), batch(keys[150::-1]))

    assert {status for status, _ in answers} <= {201, 503}
    status, answer = batch(keys)()
    assert status == 201
    assert len(set(answer["run_ids"])) == 200
    assert cluster.rows("SELECT count(*) FROM runs_workflowrun WHERE workflow_id = %s", flow) == [(200,)]
    assert set(cluster.ended(answer["run_ids"]).values()) == {"completed"}


def test_a_start_while_others_publish_has_a_published_version(api):
    definition = workflow([echo("a")])
    flow = api.publish(definition)

    def publish():
        api.call("PUT", f"/api/v1/workflows/{flow}/draft", {"definition": definition})
        return api.call("POST", f"/api/v1/workflows/{flow}/publish", {})

    def start():
        return api.call("POST", f"/api/v1/workflows/{flow}/runs", {"input": {}})

    for _ in range(5):
        answers = at_once(publish, publish, publish, start, start, start)

        assert {status for status, _ in answers[:3]} <= {200, 201, 409}
        assert [status for status, _ in answers[3:]] == [201, 201, 201]
        assert {api.ended(answer["id"])["state"] for _, answer in answers[3:]} == {"completed"}
    versions = api.must("GET", f"/api/v1/workflows/{flow}/versions")["results"]
    numbers = sorted(version["version"] for version in versions)
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_cancel_while_a_fan_out_executes_starts_nothing_more(cluster, api):
    wide = [task(f"s{n}", "core.sleep", seconds=0.3) for n in range(200)]
    flow = api.publish(workflow([echo("a"), *wide], [edge("a", f"s{n}") for n in range(200)]))
    run_id = api.start(flow)
    api.step_in(run_id, "a", "succeeded")

    cancelled = api.must("POST", f"/api/v1/runs/{run_id}/cancel", {})
    run = api.ended(run_id)

    assert cancelled["state"] in ("running", "cancelled")
    assert run["state"] == "cancelled"
    events = api.events(run_id)
    told = next(e["seq"] for e in events if e["payload"].get("reason") in ("cancelling", "operator"))
    assert [e for e in events if e["event_type"] == "step_started" and e["seq"] > told] == []
