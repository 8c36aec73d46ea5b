"""What must hold of every story: seen as it happens, at each quiet point, and when all is at rest."""

from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

from runs.machine.commands import CANCEL_PATIENCE, run_due
from runs.machine.decision import Event
from runs.machine.states import STEP_OPEN, Reason, RunState, StepState
from runs.reactor.pool import Job
from runs.store.admission import HELD
from runs.store.interface import LEASE, Write
from runs.tests.machine.simulation import check_log
from runs.tests.simulation.memory_store import MemoryStore, Row

SOON = timedelta(seconds=1)  # two polls
LET_ALONE = timedelta(minutes=1)  # a run of which nothing can be stored
Attempt = tuple[UUID, int, int]


def living(store: MemoryStore) -> set[UUID]:
    """The runs whose lease is not over."""
    now = store.now()
    owned = (row for row in store.rows.values() if row.lease_owner is not None and row.wake_at is not None)
    return {row.head.id for row in owned if row.wake_at is not None and row.wake_at > now}


class Witness:
    """Sees every claim, write and start, and trusts nobody's guard."""

    def __init__(self) -> None:
        self.begun: dict[Attempt, tuple[UUID, int]] = {}  # stored as running, by whom, after which claim of the run
        self.executed: set[Attempt] = set()
        self.died: set[Attempt] = set()  # a child of its own died under it
        self._claims: Counter[UUID] = Counter()

    def claimed(self, run_ids: list[UUID], living: set[UUID]) -> None:
        """A claim took these, while those had a living owner."""
        assert not living.intersection(run_ids), "a run was taken from a living owner"
        self._claims.update(run_ids)

    def stored(self, write: Write, by: UUID | None, owner: UUID | None) -> None:
        """A write that won; `owner` had the run's lease just before."""
        id, decision = write.decision.run_id, write.decision
        if by is not None:
            assert owner == by, f"a reactor wrote to {id}, which it does not own"
        for event in decision.events:
            if event.event_type == "step_started" and event.step_id is not None and event.attempt is not None:
                assert by is not None, f"a command started {event.step_id} of {id}"
                key = (id, write.plan.index[event.step_id], event.attempt)
                assert key not in self.begun, f"{key} began twice"
                self.begun[key] = (by, self._claims[id])
            elif _is_loss(event):
                key = (id, write.plan.index[event.step_id or ""], event.attempt or 0)
                mine = self.begun.get(key) == (by, self._claims[id])
                assert not mine or key in self.died, f"{key} was given up by whom had begun it and had it all along"

    def executes(self, job: Job, by: UUID) -> None:
        """A thread gets an attempt."""
        key = (job.call.run_id, job.step, job.call.attempt)
        assert key not in self.executed, f"{key} was executed twice"
        begun = self.begun.get(key)
        assert begun is not None, f"{key} was executed before it was stored"
        assert begun[0] == by, f"{key} was executed by one who had not begun it"
        self.executed.add(key)


def _is_loss(event: Event) -> bool:
    error = event.payload.get("error") if event.event_type == "step_failed" else None
    return error is not None and error["code"] == "worker_lost" and not error.get("details")


def check_quiet(store: MemoryStore, let_alone: set[UUID], set_back: timedelta) -> None:
    """Between any two statements: each open run has a cause of progress, and limits hold (I-6, I-21).

    `let_alone` are runs of which something could not be stored; the clock may have been `set_back` since a write.
    """
    assert store.won_twice == [], "a revision was won twice"
    now = store.now()
    for row in store.rows.values():
        if not row.open:
            assert (row.lease_owner, row.wake_at, row.run.admission) == (None, None, None), f"{row.head.id} has ended"
        elif row.lease_owner is not None:
            assert row.wake_at is not None, f"{row.head.id} is owned for ever"
        else:
            _check_free(row, now, SOON + set_back + (LET_ALONE if row.head.id in let_alone else timedelta(0)))
    for workflow_id, limit in store.limits.items():
        assert store.taken(workflow_id) <= limit, f"more than {limit} runs of {workflow_id}"


def _check_free(row: Row, now: datetime, patience: timedelta) -> None:
    """A run that nobody owns is looked at when something is due, at once if a step is ready or its worker gone."""
    open_steps = [step for step in row.steps.values() if step.state in STEP_OPEN]
    due = [step.wake_at for step in open_steps if step.wake_at is not None]
    whole = run_due(row.run)
    due += [whole] if whole is not None else []
    if row.run.admission == HELD and row.run.state is RunState.PENDING:
        assert row.wake_at is not None, f"{row.head.id} is held for ever"
        return
    if any(step.reason is Reason.READY for step in open_steps):
        due.append(now)
    if any(step.reason is Reason.EXECUTING for step in open_steps):
        given_up = row.run.stopping is not None  # its thread was deaf to the stop: the next owner ends the run at once
        assert given_up or patience >= LET_ALONE, f"{row.head.id} was let go while it executes"
        due.append(now)
    if not due:
        assert all(step.reason is Reason.WAITING_APPROVAL for step in open_steps), f"{row.head.id} waits for nothing"
        assert open_steps, f"{row.head.id} is open without an open step"
        return
    latest = max(min(due), now) + patience
    assert row.wake_at is not None, f"{row.head.id} sleeps for ever"
    assert row.wake_at <= latest, f"{row.head.id} sleeps until {row.wake_at}, due {min(due)}"


def check_stops(store: MemoryStore, owners: set[UUID], since: datetime, let_alone: set[UUID]) -> None:
    """In calm weather a run that is to stop has stopped after its patience and a renewal: a lost poke costs no more.

    A run that nobody has room for may wait longer.
    """
    for row in store.rows.values():
        if row.open and row.run.stopping is not None and row.lease_owner in owners and row.head.id not in let_alone:
            patience_end = max(run_due(row.run) or since, since + CANCEL_PATIENCE)
            assert store.now() <= patience_end + LEASE / 3 + SOON, f"{row.head.id} does not stop"


def rests(store: MemoryStore, row: Row) -> bool:
    """Whether nothing will happen to this run but by a person's word, or before another run's end."""
    if row.run.admission == HELD and row.run.state is RunState.PENDING:
        return store.taken(row.head.workflow_id) >= store.limits[row.head.workflow_id]
    return row.lease_owner is None and row.wake_at is None


def check_rest(store: MemoryStore, started: set[UUID]) -> None:
    """Every run is over, waits for a person, or for its place; every log is legal and folds to its rows."""
    assert started <= store.rows.keys(), "a run that was acknowledged is gone"
    for row in store.rows.values():
        check_log(store.load([row.head.id])[row.head.id].snapshot, row.events)
        assert rests(store, row), f"{row.head.id} is not at rest"
        _check_lines(row)
        if row.open and row.run.admission != HELD:
            states = {(step.state, step.reason) for step in row.steps.values() if step.state in STEP_OPEN}
            assert states == {(StepState.RUNNING, Reason.WAITING_APPROVAL)}


def _check_lines(row: Row) -> None:
    """What is kept of an attempt's lines are its first ones, in their order."""
    kept: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for (step_id, attempt, number), message in sorted(row.logs.items()):
        kept.setdefault((step_id, attempt), []).append((number, message))
    for key, lines in kept.items():
        assert lines == [(n, f"line {n}") for n in range(1, len(lines) + 1)], f"{row.head.id} {key}: {lines}"
