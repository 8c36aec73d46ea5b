"""The same calls leave the same rows, whichever store is asked: the reference store says which."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.machine.stimuli import (
    BreakerClosed,
    Cancel,
    Due,
    EngineError,
    Failed,
    Lost,
    ManualTransition,
    PutBack,
    RetryRun,
    RetryStep,
    StartReady,
    Stimulus,
    Succeeded,
)  # fmt: skip
from runs.store import Lease, LogBatch, Store
from runs.store.reference import ReferenceStore
from runs.tests.store.conftest import fast_store
from runs.tests.store.worlds import NOON, World, all_rows, lines, owner_id, run_id, told
from staterail.core.errors import IllegalTransition, NotFound
from staterail.core.strict_json import dumps

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
RUNS = st.integers(0, 5)
STIMULI = st.lists(
    st.sampled_from(
        ["start", "start", "start", "succeed", "succeed", "fail", "lost", "put back", "due", "due of run", "closed",
         "approve", "reject", "cancel", "retry run", "retry step", "engine error"]
    ),
    min_size=0, max_size=3,
)  # fmt: skip
LEASES = st.sampled_from([Lease.KEEP, Lease.KEEP, Lease.WAKE, Lease.RELEASE])
WAKES = st.sampled_from([None, timedelta(0), timedelta(days=3650)])
LOGS = st.lists(TEXTS, max_size=2)
WRITES = st.tuples(RUNS, STIMULI, LEASES, WAKES, st.booleans(), LOGS, VALUES)

CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.lists(st.tuples(st.integers(0, 3), VALUES, st.sampled_from([None, "k1", "k2"])),
                                           min_size=1, max_size=3)),
        st.tuples(st.just("write"), st.lists(WRITES, min_size=1, max_size=3, unique_by=lambda write: write[0])),
        st.tuples(st.just("write"), st.lists(WRITES, min_size=1, max_size=3, unique_by=lambda write: write[0])),
        st.tuples(st.just("claim"), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.just("renew"), st.integers(0, 2)),
        st.tuples(st.just("logs"), RUNS, st.integers(1, 3), LOGS),
        st.tuples(st.just("wait"), st.integers(1, 20)),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


class Script:
    """Plays drawn calls on one store, and keeps what it answered."""

    def __init__(self, store: Store, versions: list[Any]) -> None:
        self.world = World(store, versions)
        self.answers: list[Any] = []

    def play(self, calls: list[Any]) -> list[Any]:
        for name, *arguments in calls:
            self.answers.append((name, getattr(self, f"_{name}")(*arguments)))
        known = self.world.store.load([run_id(n) for n in range(self.world.made)])
        self.answers.append({str(id): told(loaded) for id, loaded in sorted(known.items())})
        return self.answers

    def _new(self, requests: list[Any]) -> Any:
        writes = [self.world.new(version, input={"x": value}, key=key) for version, value, key in requests]
        return self.world.store.persist(writes)

    def _write(self, drawn: list[Any]) -> Any:
        writes = []
        for n, stimuli, lease, wake, stale, messages, value in drawn:
            id = run_id(n)
            if n >= self.world.made or id not in self.world.store.load([id]):
                continue
            snapshot = self.world.seen.get(id) if stale else self.world.look(id)
            if snapshot is None:
                continue
            logs = [LogBatch("a", 1, 1, lines(*messages))] if messages else []
            at = None if wake is None else NOON + wake + timedelta(seconds=self.world.made + len(self.answers))
            known = [s for word in stimuli for s in stimuli_of(word, snapshot, value)]
            try:
                writes.append(self.world.write(id, *known, lease=lease, wake_at=at, logs=logs, stale=stale))
            except (IllegalTransition, NotFound) as refused:
                self.answers.append(str(refused))
        return self.world.store.persist(writes)

    def _claim(self, owner: int, room: int) -> set[UUID]:
        return set(self.world.store.claim(owner_id(owner), room))  # which, not in what order

    def _renew(self, owner: int) -> dict[UUID, int]:
        return self.world.store.renew(owner_id(owner))

    def _logs(self, n: int, first: int, messages: list[str]) -> None:
        loaded = self.world.store.load([run_id(n)]).get(run_id(n))
        if loaded is not None:
            self.world.store.append_logs(loaded.snapshot.head, [LogBatch("b", 1, first, lines(*messages))])

    def _wait(self, seconds: int) -> None:
        self.world.tick(seconds)


def stimuli_of(word: str, snapshot: Any, value: Any) -> list[Stimulus]:
    """What happens, to the first step to which it can."""
    i = next(iter(snapshot.running), 0)
    row = snapshot.steps.get(i)
    attempt = row.attempt if row is not None else 0
    error = {"code": "network", "message": "away", "retryable": True}
    found: dict[str, Stimulus] = {
        "start": StartReady(10, "w", frozenset(), {0: None if value is None else NOON + timedelta(hours=1)}),
        "succeed": Succeeded(i, attempt, dumps(value)),
        "fail": Failed(i, attempt, error, 0.5),
        "lost": Lost(i, attempt),
        "put back": PutBack(i, attempt),
        "due": Due(i, 0.5),
        "due of run": Due(None, 0.5),
        "closed": BreakerClosed(0),
        "approve": ManualTransition("ask", "approve", "someone", "ok", {"n": 1}),
        "reject": ManualTransition("ask", "reject", "someone"),
        "cancel": Cancel("corr", "why", "someone"),
        "retry run": RetryRun("corr-2", "someone"),
        "retry step": RetryStep("a", dumps(value), None, "someone"),
        "engine error": EngineError("cannot"),
    }
    return [found[word]]


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(calls=CALLS)
def test_the_same_calls_give_the_same_answers_and_rows(versions, calls):
    played = []
    for store in (ReferenceStore(), fast_store()):
        with transaction.atomic():
            played.append((Script(store, versions).play(calls), all_rows()))
            transaction.set_rollback(True)

    reference, fast = played
    assert fast == reference
