"""Each invariant finds the row that breaks it, made wrong by hand; a healthy database has none."""

from collections.abc import Iterable
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from runs import store
from runs.invariants import INVARIANTS
from runs.invariants.logs import EVENT as EVENT_COLUMNS
from runs.invariants.logs import breaches, published_definition, settled
from runs.machine.stimuli import Due, Failed, Lost, ManualTransition, StartReady, Succeeded
from runs.models import Event, WorkflowRun
from runs.store import Lease, LogBatch
from runs.tests.factories import an_actor, published
from runs.tests.machine.simulation import definition
from runs.tests.store.worlds import NOON, World, lines, owner_id
from staterail.accounts.models import ApiToken, IdempotencyRecord
from workflows.models import WorkflowVersion

TASK: dict[str, Any] = {"config": {"name": "core.noop"}}
STEPS: dict[str, dict[str, Any]] = {
    "a": {**TASK, "retry": {"max_attempts": 2, "initial_interval": "0s"}},
    "b": {**TASK, "join": "strict_all"},
    "c": TASK,
    "r": {"kind": "HumanApproval", "config": {"title": "t"}},
}
FLAKY = {"code": "flaky", "message": "flaky", "retryable": True}


class Healthy:
    """Rows of every kind: an ended run with a retry, a skip and an approval, one that waits, one that was poisoned."""

    def __init__(self) -> None:
        self.actor = an_actor()
        document = definition(STEPS, "a b", ("a", "c", {"when": "false"}), "b r", on_failure="continue")
        self.version = published(document, self.actor)
        self.world = World(store.current(), [self.version])
        self.ended = self.at_approval()
        self.world.tell(self.ended, ManualTransition("r", "approve", "ada"))
        self.waiting = self.at_approval()
        self.world.tell(self.waiting, lease=Lease.RELEASE)
        self.failed = self.poisoned()
        self.began = self.world.start(key="key")
        for key in ("k1", "k2"):
            IdempotencyRecord.objects.create(
                tenant_id=self.actor.tenant_id, operation="run.cancel", key=key, request_hash="0" * 64, status=200,
                response={},
            )  # fmt: skip
        ApiToken.objects.create(
            tenant_id=self.actor.tenant_id, name="t", prefix="abcdefgh", digest="0" * 64, role="viewer",
            expires_at=NOON,
        )  # fmt: skip

    def at_approval(self) -> UUID:
        id = self.world.start()
        self.world.run_ready(id)
        self.world.tell(id, Failed(0, 1, FLAKY), logs=[LogBatch("a", 1, 1, lines("one", "two"))])
        self.world.tell(id, Due(0), StartReady(5, "w"))
        self.world.tell(id, Succeeded(0, 2, "{}"), StartReady(5, "w"))
        self.world.tell(id, Succeeded(1, 1, "{}"), StartReady(5, "w"))
        assert WorkflowRun.objects.get(id=id).state == "running"
        return id

    def poisoned(self) -> UUID:
        id = self.world.start()
        for attempt in (1, 2, 3):
            self.world.run_ready(id)
            self.world.tell(id, Lost(0, attempt, alone=attempt == 3))
        return id


@pytest.fixture
def healthy(db: None) -> Iterable[Healthy]:
    yield Healthy()
    transaction.set_rollback(True)  # what a test broke is not to be checked once more


def found() -> set[tuple[str, str]]:
    return {(invariant.id, invariant.promise) for invariant in INVARIANTS if list(invariant.find())}


def unguard(*tables: str) -> None:
    """Put a copy before each table that has none of its constraints and triggers: names find it first."""
    schema = "main" if connection.vendor == "sqlite" else "public"
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM {schema}.{table}")


def corrupt(*statements: str, **names: Any) -> int:
    with connection.cursor() as cursor:
        return sum(cursor.execute(statement.format(**names)).rowcount for statement in statements)


def hex_of(id: UUID) -> str:
    return f"'{id.hex if connection.vendor == 'sqlite' else id}'"


def names_of(healthy: Healthy) -> dict[str, str]:
    return {name: hex_of(getattr(healthy, name)) for name in ("ended", "waiting", "failed", "began")} | {
        "other": hex_of(UUID(int=9)), "owner": hex_of(owner_id(1)), "version": hex_of(healthy.version.id),
    }  # fmt: skip


def test_a_healthy_database_has_no_breach(healthy: Healthy) -> None:
    assert {run.state for run in WorkflowRun.objects.all()} == {"completed", "running", "failed", "pending"}
    assert [(invariant.id, breach) for invariant in INVARIANTS for breach in invariant.find()] == []


def test_an_empty_database_has_no_breach(db: None) -> None:
    assert found() == set()


RUN, STEP, EVENT = "runs_workflowrun", "runs_steprun", "runs_event"
VERSION, RECORD = "workflows_workflowversion", "accounts_idempotencyrecord"
CORRUPTIONS: list[tuple[str, str, list[str], str]] = [
    ("I-1", "nothing follows", [EVENT],
     "UPDATE runs_event SET seq=0 WHERE run_id={ended} AND state_after='completed'"),
    ("I-4", "no run is", [RUN], "UPDATE runs_workflowrun SET state='paused' WHERE id={waiting}"),
    ("I-4", "no step is", [STEP], "UPDATE runs_steprun SET state='paused' WHERE run_id={waiting} AND step_id='r'"),
    ("I-6", "", [], "UPDATE runs_workflowrun SET lease_owner={owner} WHERE id={ended}"),
    ("I-6", "", [], "UPDATE runs_workflowrun SET wake_at=updated_at WHERE id={ended}"),
    ("I-6", "", [], "UPDATE runs_workflowrun SET admission='slot' WHERE id={ended}"),
    ("I-6", "", [], "UPDATE runs_steprun SET state='running' WHERE run_id={ended} AND step_id='a'"),
    ("I-8", "", [EVENT],
     "UPDATE runs_event SET step_id='c', attempt=1 WHERE run_id={ended} AND step_id='a' AND event_type='step_started'"),
    ("I-9", "", [], "UPDATE runs_steprun SET fault='{{}}' WHERE run_id={ended} AND step_id='a'"),
    ("I-9", "", [], "UPDATE runs_workflowrun SET error=NULL WHERE id={failed}"),
    ("I-10", "", [VERSION], "UPDATE workflows_workflowversion SET definition='{{\"steps\": []}}' WHERE id={version}"),
    ("I-16", "at most three", [], "UPDATE runs_steprun SET losses=4 WHERE run_id={failed} AND step_id='a'"),
    ("I-16", "at most three", [], "UPDATE runs_steprun SET losses=3 WHERE run_id={ended} AND step_id='b'"),
    ("I-16", "what is poison", [], "UPDATE runs_steprun SET dead=NULL WHERE run_id={failed} AND step_id='a'"),
    ("I-16", "what is poison", [], "UPDATE runs_steprun SET dead=TRUE WHERE run_id={ended} AND step_id='a'"),
    ("I-20", "", [], "UPDATE runs_steprun SET holder='x' WHERE run_id={ended} AND step_id='a'"),
    ("I-20", "", [], "UPDATE runs_steprun SET holder='x' WHERE run_id={waiting} AND step_id='r'"),
    ("I-21", "what waits", [], "UPDATE runs_steprun SET asks=NULL WHERE run_id={waiting} AND step_id='r'"),
    ("I-21", "what waits", [], "UPDATE runs_steprun SET asks=TRUE WHERE run_id={ended} AND step_id='r'"),
    ("I-21", "an open run", [], "UPDATE runs_workflowrun SET wake_at=NULL WHERE id={began}"),
    ("I-21", "an open run", [], "UPDATE runs_workflowrun SET lease_owner={owner} WHERE id={waiting}"),
    ("I-21", "an open run", [], "UPDATE runs_steprun SET state='queued' WHERE run_id={waiting} AND step_id='b'"),
    ("I-21", "an open run", [], "UPDATE runs_steprun SET wake_at=started_at WHERE run_id={waiting} AND step_id='r'"),
    ("I-25", "", [EVENT], "DELETE FROM runs_event WHERE run_id={ended} AND seq=3"),
    ("I-25", "", [EVENT], "UPDATE runs_event SET seq=seq+1 WHERE run_id={ended}"),
    ("I-33", "", [RUN], "UPDATE runs_workflowrun SET idempotency_key='key'"),
    ("I-34", "", [RECORD], "UPDATE accounts_idempotencyrecord SET key='k1'"),
    ("I-36", "versions are", [VERSION], "UPDATE workflows_workflowversion SET version=2 WHERE version=1"),
    ("I-36", "versions are", [VERSION],
     "INSERT INTO workflows_workflowversion SELECT * FROM workflows_workflowversion"),
    ("I-36", "a workflow has", [VERSION],
     "INSERT INTO workflows_workflowversion SELECT * FROM workflows_workflowversion;"
     "UPDATE workflows_workflowversion SET published_at=NULL"),
    ("I-39", "a run is", [RUN], "UPDATE runs_workflowrun SET tenant_id={other} WHERE id={ended}"),
    ("I-39", "a run is", [VERSION], "UPDATE workflows_workflowversion SET workflow_id={other}"),
    ("I-39", "steps, events", [STEP], "UPDATE runs_steprun SET tenant_id={other} WHERE run_id={ended}"),
    ("I-39", "steps, events", [EVENT], "UPDATE runs_event SET tenant_id={other} WHERE run_id={ended} AND seq=1"),
    ("I-39", "steps, events", [], "UPDATE runs_steplog SET tenant_id={other} WHERE run_id={ended}"),
    ("I-42", "", [], "UPDATE accounts_apitoken SET digest='srt_abcdefgh_secret'"),
    ("I-44", "", [STEP], "UPDATE runs_steprun SET run_id={other} WHERE run_id={ended}"),
    ("I-44", "", [EVENT], "UPDATE runs_event SET run_id={other} WHERE run_id={ended}"),
    ("I-44", "", [], "UPDATE runs_steplog SET run_id={other} WHERE run_id={ended}"),
]  # fmt: skip


@pytest.mark.parametrize(("id", "promise", "tables", "statements"), CORRUPTIONS)
def test_what_is_made_wrong_is_found(
    healthy: Healthy, id: str, promise: str, tables: list[str], statements: str
) -> None:
    unguard(*tables)

    assert corrupt(*statements.split(";"), **names_of(healthy)) > 0

    assert [known for known in found() if known[0] == id and known[1].startswith(promise)]


def test_every_invariant_has_a_row_that_breaks_it() -> None:
    tried = {(id, promise) for id, promise, _, _ in CORRUPTIONS} | {("I-5", "")}

    missing = [
        invariant.promise for invariant in INVARIANTS
        if not any(invariant.id == id and invariant.promise.startswith(promise) for id, promise in tried)
    ]  # fmt: skip
    assert missing == []


LOGS: list[tuple[list[str], str, str]] = [
    ([], "UPDATE runs_workflowrun SET state='failed' WHERE id={ended}", "run.state is 'failed'"),
    ([], "UPDATE runs_workflowrun SET reason='operator' WHERE id={ended}", "run.reason is 'operator'"),
    ([], "UPDATE runs_workflowrun SET generation=7 WHERE id={ended}", "run.generation is 7"),
    ([], "UPDATE runs_workflowrun SET seq=7 WHERE id={ended}", "run.seq is 7"),
    ([], "UPDATE runs_workflowrun SET started_at=created_at WHERE id={ended}", "run.started_at is"),
    ([], "UPDATE runs_workflowrun SET completed_at=created_at WHERE id={ended}", "run.completed_at is"),
    ([], "UPDATE runs_workflowrun SET error='{{}}' WHERE id={ended}", "run.error is {{}}"),
    ([], "UPDATE runs_steprun SET state='failed' WHERE run_id={ended} AND step_id='a'", "a.state is 'failed'"),
    ([], "UPDATE runs_steprun SET reason='error' WHERE run_id={ended} AND step_id='a'", "a.reason is 'error'"),
    ([], "UPDATE runs_steprun SET attempt=7 WHERE run_id={ended} AND step_id='a'", "a.attempt is 7"),
    ([], "UPDATE runs_steprun SET generation=7 WHERE run_id={ended} AND step_id='a'", "a.generation is 7"),
    ([], "UPDATE runs_steprun SET queued_at=NULL WHERE run_id={ended} AND step_id='a'", "a.queued_at is None"),
    ([], "UPDATE runs_steprun SET started_at=NULL WHERE run_id={ended} AND step_id='a'", "a.started_at is None"),
    ([], "UPDATE runs_steprun SET completed_at=NULL WHERE run_id={ended} AND step_id='a'", "a.completed_at is None"),
    ([], "UPDATE runs_steprun SET error='{{}}' WHERE run_id={ended} AND step_id='a'", "a.error is {{}}"),
    ([], "UPDATE runs_steprun SET taken='[]' WHERE run_id={ended} AND step_id='a'", "a.taken is []"),
    ([], "DELETE FROM runs_steprun WHERE run_id={ended} AND step_id='a'", "a is in the log only"),
    ([STEP], "UPDATE runs_steprun SET step_id='x' WHERE run_id={ended} AND step_id='a'", "x is in the rows only"),
    ([EVENT], "UPDATE runs_event SET state_after='succeeded' WHERE run_id={ended} AND step_id='b'"
     " AND state_after='running'", "b queued -> succeeded"),
    ([EVENT], "UPDATE runs_event SET ts={long_ago} WHERE run_id={ended} AND seq=5", "time runs back"),
    ([EVENT], "UPDATE runs_event SET state_after='paused' WHERE run_id={ended} AND seq=5", "an event cannot be read"),
    ([EVENT], "UPDATE runs_event SET payload='{{}}' WHERE run_id={ended} AND step_id='a' AND state_after='queued'",
     "an event cannot be read"),
    ([EVENT], "DELETE FROM runs_event WHERE run_id={ended}", "a run without events"),
    ([EVENT], "UPDATE runs_event SET run_id={other} WHERE run_id={ended}", "events without a run"),
    ([EVENT], "DELETE FROM runs_event WHERE run_id={ended} AND step_id='a' AND state_after='succeeded'",
     "b: is queued, but its transitions (strict_all) are [None]"),
    ([EVENT], "UPDATE runs_event SET ts={long_ago} WHERE run_id={ended} AND step_id='a' AND attempt=2",
     "a: starts before"),
    ([EVENT], "UPDATE runs_event SET attempt=5 WHERE run_id={ended} AND step_id='a' AND attempt=2",
     "attempt 5 after 1"),
]  # fmt: skip


@pytest.mark.parametrize(("tables", "statement", "breach"), LOGS)
def test_a_log_that_does_not_fold_to_its_rows_is_found(
    healthy: Healthy, tables: list[str], statement: str, breach: str
) -> None:
    unguard(*tables)
    long_ago = "'2020-01-01 00:00:00'" if connection.vendor == "sqlite" else "'2020-01-01T00:00:00Z'"

    assert corrupt(statement, **names_of(healthy), long_ago=long_ago) > 0

    (i5,) = (invariant for invariant in INVARIANTS if invariant.id == "I-5")
    lines = list(i5.find())
    assert [line for line in lines if breach.format() in line], lines


def test_a_run_that_went_on_between_its_log_and_its_rows_is_read_again(healthy: Healthy) -> None:
    log = list(Event.objects.filter(run_id=healthy.waiting).order_by("seq").values(*EVENT_COLUMNS))
    healthy.world.tell(healthy.waiting, ManualTransition("r", "reject", "bob"))

    assert next(breaches(healthy.waiting, log, published_definition)).startswith("run.")
    assert settled(healthy.waiting) == []


def test_a_log_of_a_definition_that_this_release_cannot_read_is_folded_all_the_same(healthy: Healthy) -> None:
    unguard(VERSION)
    WorkflowVersion.objects.update(definition={"steps": [{"id": "a", "kind": "Teleport"}]})

    assert settled(healthy.ended) == []
    WorkflowRun.objects.filter(id=healthy.ended).update(seq=1)
    assert [breach[:12] for breach in settled(healthy.ended)] == ["run.seq is 1"]


def test_a_test_run_is_judged_by_its_own_copy(healthy: Healthy) -> None:
    own = definition({"z": TASK})
    id = healthy.world.start(definition=own)
    healthy.world.run_ready(id)
    healthy.world.tell(id, Succeeded(0, 1, "{}"))

    assert found() == set()


# The command


def test_check_invariants_prints_a_line_for_each_and_ends_well(healthy: Healthy) -> None:
    out = StringIO()

    call_command("check_invariants", stdout=out)

    printed = out.getvalue().splitlines()
    assert printed[-1] == f"{len(INVARIANTS)} hold, 0 are broken"
    assert [line[7:12].strip() for line in printed[:-1]] == [invariant.id for invariant in INVARIANTS]
    assert {line[:6] for line in printed[:-1]} == {"ok    "}


def test_check_invariants_names_the_breach_and_ends_with_1(healthy: Healthy) -> None:
    WorkflowRun.objects.filter(id=healthy.ended).update(admission="slot")
    out = StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("check_invariants", stdout=out)

    printed = out.getvalue().splitlines()
    assert ended.value.code == 1
    assert printed[-1] == f"{len(INVARIANTS) - 1} hold, 1 are broken"
    at = next(n for n, line in enumerate(printed) if line.startswith("BROKEN"))
    assert "I-6" in printed[at]
    assert healthy.ended.hex in printed[at + 1].replace("-", "")
