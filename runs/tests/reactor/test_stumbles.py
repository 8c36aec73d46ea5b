"""The database fails, or answers and nobody hears it: no run fails for it, and no step starts twice (F-11)."""

import pytest
from django.db import DatabaseError, OperationalError

from runs.models import Event, StepLog
from runs.reactor import loop
from runs.services import decide_approval
from runs.store import Lease
from runs.tests.factories import an_actor
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import Bench, fails, failure, releases, row, started, state, step, told, until
from staterail.accounts.secrets import set_secret

pytestmark = [pytest.mark.usefixtures("committed", "nothing_broken")]
GONE = OperationalError("the connection is gone")
AB = definition("a b", "a b")


def stumble(bench: Bench) -> None:
    """A round that fails, and what the loop does then."""
    bench.reactor.ring()
    with pytest.raises(OperationalError):
        bench.reactor.turn()
    bench.reactor._recover(0.0)


def keeps(writes):
    return any(write.lease is Lease.KEEP for write in writes)


@pytest.mark.parametrize("call", ["now", "claim", "load", "persist", "renew"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_of_the_database_at_any_call_fails_no_run(benches, stumbling, call, when):
    bench = benches(stumbling)
    run_id = started(AB)
    getattr(stumbling, when)(call, fails(GONE))

    stumble(bench)
    bench.has_started("a")
    bench.ended("a", 1)
    bench.has_started("b")
    bench.ended("b", 2)
    bench.until(lambda: state(run_id) == "completed")

    assert bench.hands.seen == [("a", 1), ("b", 1)]
    assert [kind for kind, _, _ in told(run_id)].count("step_failed") == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_result_outlives_the_failure_under_which_it_was_stored(benches, stumbling, when):
    bench = benches(stumbling)
    run_id = started(AB)
    bench.has_started("a")
    bench.ended("a", "kept")
    getattr(stumbling, when)("persist", fails(GONE))

    stumble(bench)
    bench.has_started("b")

    assert (step(run_id, "a").output, step(run_id, "a").attempt) == ("kept", 1)
    assert bench.hands.seen == [("a", 1), ("b", 1)]


def test_a_commit_whose_answer_is_lost_starts_its_steps_once(benches, stumbling):
    bench = benches(stumbling)
    run_id = started(definition("a b c"))
    stumbling.after("persist", fails(GONE), keeps)

    stumble(bench)
    committed = [row.state for row in (step(run_id, "a"), step(run_id, "b"), step(run_id, "c"))]
    before = bench.hands.seen
    for id in "abc":
        bench.has_started(id)

    assert (committed, before) == (["running"] * 3, [])
    assert bench.hands.seen == [("a", 1), ("b", 1), ("c", 1)]
    assert not Event.objects.filter(event_type="step_failed").exists()


def test_a_stop_after_a_lost_answer_puts_back_what_that_commit_began(benches, stumbling):
    bench = benches(stumbling)
    run_id = started(AB)
    stumbling.after("persist", fails(GONE), keeps)
    stumble(bench)

    bench.reactor.stop(0)
    bench.reactor._drain_and_release()

    put_back = step(run_id, "a")
    assert (put_back.state, put_back.reason, put_back.losses, put_back.error["details"]) == (
        "queued", "ready", 0, {"orderly": True},
    )  # fmt: skip


def test_two_failures_in_a_row_lose_nothing_of_the_first(benches, stumbling):
    bench = benches(stumbling)
    started(AB)
    stumbling.after("persist", fails(GONE), keeps)
    stumble(bench)
    stumbling.before("load", fails(GONE))
    stumble(bench)

    bench.has_started("a")

    assert bench.hands.seen == [("a", 1)]
    assert not Event.objects.filter(event_type="step_failed").exists()


def test_what_starts_after_a_lost_answer_has_its_secrets(benches, stumbling):
    actor = an_actor()
    set_secret(actor=actor, name="TOKEN", value="hush-hush")
    config = {"name": "core.echo", "args": {"t": "Bearer ${secrets.TOKEN}"}}
    bench = benches(stumbling)
    started(definition({"a": {"config": config}}), actor=actor)
    stumbling.after("persist", fails(GONE), keeps)
    stumble(bench)
    bench.reactor.gates._values = {}  # another batch came between

    bench.has_started("a")

    assert bench.hands.calls[0].config["args"] == {"t": "Bearer hush-hush"}


def test_a_release_whose_answer_is_lost_is_taken_for_what_it_was(benches, stumbling):
    ask = {"kind": "HumanApproval", "config": {"title": "t"}}
    actor, bench = an_actor(), benches(stumbling)
    run_id = started(definition({"ask": ask, "b": {}}, "ask b"), actor=actor)
    stumbling.after("persist", fails(GONE), releases)

    stumble(bench)
    bench.turn()
    let_go = not bench.owns(run_id)
    decide_approval(actor=actor, run_id=run_id, step_id="ask", action="approve")
    bench.has_started("b")

    assert let_go


def test_steps_started_in_a_commit_are_not_lost_to_a_breaker_that_cannot_be_told(benches, monkeypatch):
    guarded = {"circuit_breaker": {"key": "k"}, "retry": {"max_attempts": 1}}
    bench = benches()
    first = started(definition({"a": guarded}, on_failure="continue"), slug="first")
    bench.has_started("a")
    second = started(definition("z"), slug="second")
    bench.ended("a", failure("network"))
    real, asked = loop.Outcomes.tell, []

    def tell(self, mine):
        asked.append(1)
        if len(asked) == 1:
            raise DatabaseError("no")
        return real(self, mine)

    monkeypatch.setattr(loop.Outcomes, "tell", tell)
    bench.reactor.ring()
    with pytest.raises(DatabaseError):
        bench.reactor.turn()
    bench.reactor._recover(0.0)
    bench.until(lambda: state(first) == "failed")
    bench.has_started("z")

    assert bench.hands.seen == [("a", 1), ("z", 1)]
    assert step(second, "z").losses == 0


def test_lines_that_could_not_be_stored_are_stored_later_under_their_numbers(benches, stumbling):
    bench = benches(stumbling)
    run_id = started(AB)
    bench.has_started("a")
    bench.hands.calls[0].log.write("one")
    stumbling.before("append_logs", fails(GONE))
    bench.reactor.attempts._next_logs = 0.0
    stumble(bench)
    bench.hands.calls[0].log.write("two")

    bench.ended("a")
    bench.has_started("b")

    assert log_of(run_id) == [(1, "one"), (2, "two")]


def test_lines_go_on_counting_after_the_run_was_loaded_anew(bench):
    run_id = started(AB)
    bench.has_started("a")
    bench.hands.calls[0].log.write("one")
    bench.reactor.attempts._next_logs = 0.0
    bench.turn()
    stored = log_of(run_id)
    bench.reactor.poke(run_id)
    bench.turn()
    bench.hands.calls[0].log.write("two")

    bench.ended("a")
    bench.has_started("b")

    assert stored == [(1, "one")]
    assert log_of(run_id) == [(1, "one"), (2, "two")]


def log_of(run_id):
    return list(StepLog.objects.filter(run_id=run_id, step_id="a").order_by("number").values_list("number", "message"))


def test_the_loop_itself_recovers_and_ends_its_runs(stumbling):
    bench = Bench(stumbling)
    bench.hands.let_go()
    for call in ("claim", "persist", "load"):
        stumbling.after(call, fails(GONE))
    run_id = started(AB)

    bench.reactor.start()
    try:
        until(lambda: state(run_id) == "completed")
    finally:
        bench.reactor.stop()
        bench.reactor.join(20)

    assert bench.reactor.failure is None
    assert not bench.reactor.is_alive()
    assert row(run_id).lease_owner is None
