"""What is stored is what is read: the same JSON, letter by letter, in every store."""

import json

import pytest

from runs.machine.stimuli import Cancel, Succeeded
from runs.models import Event, StepLog, StepRun, WorkflowRun
from runs.store import LogBatch
from runs.tests.store.worlds import all_rows, lines, run_id

pytestmark = pytest.mark.django_db
X = {"x": 1}
VALUES = [
    "null", "false", "0", "-0.0", '""', "[]", "{}", "1.0", "1e22", "1e-7", "9007199254740993", "-9223372036854775808",
    '{"b":1,"a":2}', '"\\u0000"', '"é ü 漢 🚂"', '" "', '"\\"quoted\\\\"', '{"":{"":[null,[],{}]}}', '"\\ud83d\\ude82"',
]  # fmt: skip


@pytest.mark.parametrize("text", VALUES)
def test_an_output_is_kept_as_it_was_written(world, text):
    id = world.start(input=X)
    world.run_ready(id)

    world.tell(id, Succeeded(0, 1, text))

    kept = world.store.load([id])[id].snapshot.steps[0].output
    assert json.dumps(json.loads(kept)) == json.dumps(json.loads(text))
    assert json.dumps(StepRun.objects.get(run_id=id, step_id="a").output) == json.dumps(json.loads(text))


def test_an_output_that_is_null_is_no_missing_output(world):
    id = world.start(1)
    world.run_ready(id)

    world.tell(id, Succeeded(0, 1, "null"))

    run = world.store.load([id])[id].snapshot
    assert (run.steps[0].output, run.run.output) == ("null", "null")
    assert StepRun.objects.filter(run_id=id, output__isnull=True).count() == 0
    assert WorkflowRun.objects.filter(id=id, output__isnull=True).count() == 0


def test_a_step_that_has_not_ended_has_no_output(world):
    id = world.start(input=X)
    world.run_ready(id)

    assert world.store.load([id])[id].snapshot.steps[0].output is None
    assert StepRun.objects.filter(run_id=id, output__isnull=True).count() == 1


def test_a_large_value_is_kept_whole(world):
    id, text = world.start(input=X), json.dumps({"blob": "x€" * 250_000}, ensure_ascii=False)
    world.run_ready(id)

    world.tell(id, Succeeded(0, 1, text))

    assert json.loads(world.store.load([id])[id].snapshot.steps[0].output) == json.loads(text)


def test_input_and_metadata_keep_the_order_of_their_keys(world):
    value = {"z": 1, "a": {"y": 1.0, "b": 1e22}, "m": "é"}

    id = world.start(input=value, metadata=value)

    head = world.store.load([id])[id].snapshot.head
    for kept in (json.loads(head.input), json.loads(head.metadata), WorkflowRun.objects.get(id=id).input):
        assert json.dumps(kept) == json.dumps(value)


def test_the_input_of_an_attempt_stays_when_a_later_write_says_nothing_of_it(world):
    id = world.start(input={"x": 7})
    world.run_ready(id)

    world.tell(id, Succeeded(0, 1, "1"))

    assert StepRun.objects.get(run_id=id, step_id="a").input == {"name": "core.echo", "args": {"x": 7}}


def test_a_key_that_has_been_used_starts_nothing(world):
    first = world.new(key="once")
    again = world.new(key="once")

    won = (world.store.persist([first]), world.store.persist([again]))

    assert won == ({first.head.id}, set())
    assert not Event.objects.filter(run_id=again.head.id).exists()
    assert not StepRun.objects.filter(run_id=again.head.id).exists()


def test_a_key_that_stands_twice_in_a_batch_starts_one_run(world):
    first, again, other = world.new(key="once"), world.new(key="once"), world.new(key="other")

    won = world.store.persist([first, again, other])

    assert won == {first.head.id, other.head.id}
    assert WorkflowRun.objects.count() == 2


def test_keys_are_the_tenants_own(world):
    mine, theirs = world.new(0, key="once"), world.new(2, key="once")

    assert world.store.persist([mine, theirs]) == {mine.head.id, theirs.head.id}


def test_a_decision_on_an_older_revision_changes_nothing(world):
    id = world.start(input=X)
    world.look(id)
    world.run_ready(id)
    stale = world.write(id, Cancel("c", "late", "someone"), stale=True, logs=[LogBatch("a", 1, 1, lines("late"))])
    before = all_rows()

    won = world.store.persist([stale])

    assert won == set()
    assert all_rows() == before


def test_of_a_batch_only_what_still_holds_is_stored(world):
    stale_id, id = world.start(input=X), world.start(input=X)
    world.look(stale_id)
    world.run_ready(stale_id)
    stale, holds = world.write(stale_id, Cancel(), stale=True), world.write(id, Cancel())

    won = world.store.persist([stale, holds])

    assert won == {id}
    assert WorkflowRun.objects.get(id=stale_id).state == "running"
    assert WorkflowRun.objects.get(id=id).state == "cancelled"


def test_a_write_to_a_run_that_is_gone_wins_nothing(world):
    write = world.new()
    write.new = None

    assert world.store.persist([write]) == set()
    assert not WorkflowRun.objects.exists()


def test_nothing_to_store_stores_nothing(world):
    assert world.store.persist([]) == set()
    assert world.store.load([]) == {}
    assert world.store.load([run_id(99)]) == {}


def test_lines_are_numbered_once(world):
    id = world.start(input=X)
    head = world.store.load([id])[id].snapshot.head

    world.store.append_logs(head, [LogBatch("a", 1, 1, lines("one", "two"))])
    world.store.append_logs(head, [LogBatch("a", 1, 2, lines("other", "three"))])

    kept = StepLog.objects.filter(run_id=id).order_by("number").values_list("number", "message")
    assert list(kept) == [(1, "one"), (2, "two"), (3, "three")]
