"""What is loaded is a state that was: a run and its steps as of one moment, whoever writes meanwhile."""

import threading

from django.db import connection

from runs.machine.states import RunState, StepState
from runs.machine.stimuli import Cancel, RetryRun
from runs.store.whole import TRIES, load_whole
from runs.tests.reactor.fixtures import committed
from runs.tests.store.worlds import run_id

__all__ = ["committed"]
OPEN = {StepState.IDLE, StepState.QUEUED, StepState.RUNNING}


def test_a_load_beside_a_writer_sees_no_half_of_a_change(committed, world):
    id, over = world.start(input={"x": 1}), threading.Event()

    def cancel_and_retry():
        try:
            for _ in range(150):
                world.tell(id, Cancel())
                world.tell(id, RetryRun())
        finally:
            over.set()
            connection.close()

    writer = threading.Thread(target=cancel_and_retry)
    writer.start()
    seen = set()
    while not over.is_set():
        snapshot = world.store.load([id])[id].snapshot
        is_open = any(row.state in OPEN for row in snapshot.steps.values())
        seen.add((snapshot.run.state, is_open))
    writer.join()

    assert seen <= {(RunState.CANCELLED, False), (RunState.PENDING, True)}


def test_what_was_written_to_while_it_was_read_is_read_again_and_the_rest_is_not():
    asked = []

    def read(ids):
        asked.append(list(ids))
        return {id: f"read {len(asked)}" for id in ids}, [run_id(1)] if len(asked) < 3 else []

    found = load_whole(read, [run_id(0), run_id(1)])

    assert found == {run_id(0): "read 1", run_id(1): "read 3"}
    assert asked == [[run_id(0), run_id(1)], [run_id(1)], [run_id(1)]]


def test_a_run_that_changes_all_the_time_is_handed_out_at_last_for_the_guard_to_judge():
    asked = []

    def read(ids):
        asked.append(list(ids))
        return dict.fromkeys(ids, "read"), list(ids)

    assert load_whole(read, [run_id(0)]) == {run_id(0): "read"}
    assert len(asked) == TRIES + 1
