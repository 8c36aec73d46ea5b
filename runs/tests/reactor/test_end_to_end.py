"""Whole runs: a reactor in its own thread, real executors, a real database."""

import time

import pytest

from runs import reactor
from runs.bootstep import make_reactor
from runs.models import Event, StepLog, StepRun, WorkflowRun
from runs.services import RunRequest, cancel_run, decide_approval, retry_run, start_runs
from runs.tests.factories import an_actor, published
from runs.tests.machine.simulation import definition
from runs.tests.reactor.bench import row, started, state, step, until
from staterail.accounts.secrets import set_secret

pytestmark = pytest.mark.usefixtures("committed", "nothing_broken")


@pytest.fixture
def engine(committed, settings):
    """A worker's reactor."""
    settings.STATERAIL_THREADS = 8
    settings.REDIS_URL = ""  # no worker for isolated tasks beside it: it executes them in children of its own
    made = make_reactor()
    made.start()
    until(lambda: reactor.current() is made)
    yield made
    made.stop(2)
    made.join(20)
    assert made.failure is None


def task(name, **args):
    return {"kind": "Task", "config": {"name": name, "args": args}}


def test_a_task_whose_name_is_made_to_be_no_text_fails_its_step_alone(engine):
    steps = {"a": {"kind": "Task", "config": {"name": "${input.l}", "args": {}}}, "b": task("core.noop")}
    run_id = started(definition(steps, on_failure="continue"), input={"l": [1]})

    until(lambda: state(run_id) == "failed")

    assert step(run_id, "a").error["code"] == "unknown_task"
    assert step(run_id, "b").state == "succeeded"


def test_every_kind_of_step_leads_to_the_next(engine):
    actor = an_actor()
    script = {"source": "def main(args):\n    print('counting')\n    return {'total': args['n'] * 2}",
              "args": {"n": "${input.n}"}}  # fmt: skip
    run_id = started(
        definition(
            {
                "price": {"kind": "Script", "config": script},
                "pause": {"kind": "Delay", "config": {"for": "100ms"}},
                "ask": {"kind": "HumanApproval", "config": {"title": "Pay ${steps.price.output.total}?"}},
                "pay": task("core.echo", total="${steps.price.output.total}", by="${steps.ask.output.actor}"),
                "never": task("core.noop"),
            },
            "price pause", "pause ask", "ask pay", ("ask", "never", {"on": "failure"}),
            output={"paid": "${steps.pay.output}"},
        ),
        input={"n": 21}, actor=actor,
    )  # fmt: skip
    until(lambda: StepRun.objects.filter(run_id=run_id, step_id="ask", state="running").exists())
    until(lambda: row(run_id).lease_owner is None)
    decide_approval(actor=actor, run_id=run_id, step_id="ask", action="approve")
    until(lambda: state(run_id) == "completed")

    assert row(run_id).output == {"paid": {"total": 42, "by": "someone"}}
    assert {s.step_id: s.state for s in StepRun.objects.filter(run_id=run_id)} == {
        "price": "succeeded", "pause": "succeeded", "ask": "succeeded", "pay": "succeeded", "never": "skipped",
    }  # fmt: skip
    assert list(StepLog.objects.filter(run_id=run_id).values_list("step_id", "message")) == [("price", "counting")]


def test_a_task_that_fails_for_a_while_succeeds_in_the_end(engine):
    flaky = {**task("core.flaky", succeed_on_attempt=3, value="well"),
             "retry": {"max_attempts": 3, "initial_interval": "10ms", "jitter": "none"}}  # fmt: skip
    run_id = started(definition({"a": flaky}))

    until(lambda: state(run_id) == "completed")

    assert (step(run_id, "a").attempt, step(run_id, "a").output) == (3, "well")


def test_many_runs_and_a_wide_one_all_complete(engine):
    actor = an_actor()
    chain = published(definition("a b c", "a b", "b c"), actor, "chain")
    wide = published(
        definition({"s": {}, **{f"w{n}": {} for n in range(300)}, "e": {}},
                   *[f"s w{n}" for n in range(300)], *[f"w{n} e" for n in range(300)]),
        actor, "wide",
    )  # fmt: skip
    ids = start_runs(actor=actor, workflow=chain.workflow, requests=[RunRequest()] * 200)
    ids += start_runs(actor=actor, workflow=wide.workflow, requests=[RunRequest()])

    until(lambda: not WorkflowRun.objects.exclude(state="completed").exists())

    assert WorkflowRun.objects.count() == len(ids)
    assert Event.objects.filter(event_type="step_started").count() == 200 * 3 + 302


def test_a_cancel_interrupts_a_running_task_at_once(engine):
    actor = an_actor()
    run_id = started(definition({"a": task("core.sleep", seconds=30)}), actor=actor)
    until(lambda: StepRun.objects.filter(run_id=run_id, state="running").exists())
    since = time.monotonic()

    cancel_run(actor=actor, run_id=run_id)
    until(lambda: state(run_id) == "cancelled")

    assert time.monotonic() - since < 5  # by the poke, not by its patience of 10 s
    assert step(run_id, "a").reason == "interrupted"


def test_an_orderly_stop_puts_back_and_the_next_process_goes_on(engine, settings):
    run_id = started(definition({"a": {**task("test.sleep_at_first", seconds=30), "retry": {"max_attempts": 1}}}))
    until(lambda: StepRun.objects.filter(run_id=run_id, state="running").exists())
    engine.stop(0.1)
    engine.join(20)
    between = step(run_id, "a")
    heir = make_reactor()

    heir.start()
    try:
        until(lambda: state(run_id) == "completed")
    finally:
        heir.stop(2)
        heir.join(20)

    assert (between.state, between.tries, between.losses) == ("queued", 0, 0)
    assert (step(run_id, "a").output, step(run_id, "a").losses) == (2, 0)


def test_a_step_that_kills_its_process_three_times_is_poison_and_spares_the_worker(engine):
    run_id = started(definition({"a": task("test.isolated_kill")}))

    until(lambda: state(run_id) == "failed")

    assert (step(run_id, "a").reason, step(run_id, "a").attempt, step(run_id, "a").losses) == ("poison", 3, 3)
    assert engine.is_alive()


def test_a_failed_run_is_taken_up_by_a_retry(engine):
    actor = an_actor()
    run_id = started(definition({"a": task("core.flaky", succeed_on_attempt=2, value=1), "b": {}}, "a b"), actor=actor)
    until(lambda: state(run_id) == "failed")

    retry_run(actor=actor, run_id=run_id)
    until(lambda: state(run_id) == "completed")

    assert (step(run_id, "a").attempt, row(run_id).generation) == (2, 2)


def test_a_secret_reaches_the_task_and_no_row(engine):
    actor = an_actor()
    set_secret(actor=actor, name="TOKEN", value="canary-4711")
    run_id = started(definition({"a": task("core.echo", text="Bearer ${secrets.TOKEN}")}), actor=actor)

    until(lambda: state(run_id) == "completed")

    rows = [list(model.objects.values()) for model in (WorkflowRun, StepRun, Event, StepLog)]
    assert "canary" not in repr(rows)
    assert step(run_id, "a").output == {"text": "Bearer ***"}
