"""What must hold of the tables at any time (docs/reliability.md numbers the promises).

Most are one SQL query that must find nothing: a statement sees one moment, so that a server may run beside it.
The rest is in `logs`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import connection

from runs.invariants.logs import broken_logs
from runs.machine.states import RunState, StepState
from workflows.models import WorkflowVersion
from workflows.versions import definition_hash


@dataclass(frozen=True, slots=True)
class Invariant:
    """`find` yields a line for each breach."""

    id: str
    promise: str
    find: Callable[[], Iterator[str]]


def sql(query: str, *params: str) -> Callable[[], Iterator[str]]:
    """Every row of the query is a breach."""

    def find() -> Iterator[str]:
        with connection.cursor() as cursor:
            cursor.execute(query, params)
            for row in cursor.fetchmany(20):
                yield " ".join(str(value) for value in row)

    return find


def _states(table: str, states: type[RunState] | type[StepState]) -> Callable[[], Iterator[str]]:
    listed = ", ".join(f"'{state.value}'" for state in states)
    return sql(f"SELECT id, state FROM {table} WHERE state NOT IN ({listed})")  # noqa: S608 — constants only


def _changed_versions() -> Iterator[str]:
    for version in WorkflowVersion.objects.exclude(published_at=None).iterator(chunk_size=100):
        if definition_hash(version.definition) != version.definition_hash:
            yield f"{version.id}: the published definition does not have its hash"


def _version_numbers() -> Iterator[str]:
    yield from sql(
        "SELECT workflow_id, count(*), max(version) FROM workflows_workflowversion"
        " GROUP BY workflow_id HAVING count(*) <> max(version) OR min(version) <> 1"
    )()


INVARIANTS: tuple[Invariant, ...] = (
    Invariant("I-1", "nothing follows a generation's end but its alerts", sql(
        "SELECT e.run_id, e.seq FROM runs_event e JOIN runs_event t ON t.run_id=e.run_id AND t.generation=e.generation"
        " AND t.step_id IS NULL AND t.state_after IN ('completed', 'failed', 'cancelled')"
        " WHERE e.seq > t.seq AND e.event_type <> 'alert_triggered'")),
    Invariant("I-4", "no run is in an unknown state", _states("runs_workflowrun", RunState)),
    Invariant("I-4", "no step is in an unknown state", _states("runs_steprun", StepState)),
    Invariant("I-5", "each log folds to its rows and keeps its definition's rules"
        " (I-2, I-3, I-7, I-8, I-9, I-12, I-15, I-16, I-17, I-25, I-26)", broken_logs),
    Invariant("I-6", "a run that has ended has no open step, no owner, no wake_at, no place", sql(
        "SELECT r.id FROM runs_workflowrun r WHERE r.state IN ('completed', 'failed', 'cancelled')"
        " AND (r.lease_owner IS NOT NULL OR r.wake_at IS NOT NULL OR r.admission IS NOT NULL"
        " OR EXISTS (SELECT 1 FROM runs_steprun s WHERE s.run_id=r.id AND s.state IN ('idle', 'queued', 'running')))")),
    Invariant("I-8", "a step skipped in a generation did not start in it", sql(
        "SELECT k.run_id, k.step_id FROM runs_event k JOIN runs_event b ON b.run_id=k.run_id AND b.step_id=k.step_id"
        " AND b.generation=k.generation AND b.event_type='step_started' AND b.seq < k.seq"
        " WHERE k.state_after='skipped' AND k.state_before='idle' AND NOT EXISTS (SELECT 1 FROM runs_event i"
        " WHERE i.run_id=k.run_id AND i.step_id=k.step_id AND i.state_after='idle'"
        " AND i.seq > b.seq AND i.seq < k.seq)")),
    Invariant("I-9", "a completed run has no fault, a failed one says why", sql(
        "SELECT r.id, r.state FROM runs_workflowrun r WHERE (r.state='completed'"
        " AND EXISTS (SELECT 1 FROM runs_steprun s WHERE s.run_id=r.id AND s.fault IS NOT NULL))"
        " OR (r.state='failed' AND r.error IS NULL)")),
    Invariant("I-10", "a published definition never changes", _changed_versions),
    Invariant("I-16", "at most three workers die under a step", sql(
        "SELECT id, losses FROM runs_steprun WHERE losses > 3 OR (losses = 3 AND coalesce(reason, '') <> 'poison')")),
    Invariant("I-16", "what is poison was made a dead letter, and nothing else is one", sql(
        "SELECT run_id, step_id FROM runs_steprun WHERE (coalesce(reason, '') = 'poison') <> (dead IS NOT NULL)")),
    Invariant("I-20", "only what executes is held by a process of its own", sql(
        "SELECT run_id, step_id FROM runs_steprun WHERE holder IS NOT NULL"
        " AND (state <> 'running' OR reason <> 'executing' OR wake_at IS NULL)")),
    Invariant("I-21", "what waits for a person is found by who looks for it", sql(
        "SELECT run_id, step_id FROM runs_steprun"
        " WHERE (coalesce(reason, '') = 'waiting_approval') <> (asks IS NOT NULL)")),
    Invariant("I-21", "an open run always has a cause of progress", sql(
        "SELECT r.id FROM runs_workflowrun r WHERE r.state IN ('pending', 'running') AND r.wake_at IS NULL"
        " AND (r.lease_owner IS NOT NULL"
        " OR NOT EXISTS (SELECT 1 FROM runs_steprun s WHERE s.run_id=r.id AND s.reason='waiting_approval')"
        " OR EXISTS (SELECT 1 FROM runs_steprun s WHERE s.run_id=r.id AND (s.state='queued'"
        " OR (s.state='running' AND (s.wake_at IS NOT NULL OR s.reason <> 'waiting_approval')))))")),
    Invariant("I-25", "seq is 1 to n", sql(
        "SELECT run_id FROM runs_event GROUP BY run_id HAVING count(*) <> max(seq) OR min(seq) <> 1")),
    Invariant("I-33", "a start's key has one run", sql(
        "SELECT tenant_id, idempotency_key FROM runs_workflowrun WHERE idempotency_key IS NOT NULL"
        " GROUP BY tenant_id, idempotency_key HAVING count(*) > 1")),
    Invariant("I-34", "a command's key has one answer", sql(
        "SELECT tenant_id, operation, key FROM accounts_idempotencyrecord"
        " GROUP BY tenant_id, operation, key HAVING count(*) > 1")),
    Invariant("I-36", "versions are 1 to n", _version_numbers),
    Invariant("I-36", "a workflow has one draft at most", sql(
        "SELECT workflow_id FROM workflows_workflowversion WHERE published_at IS NULL"
        " GROUP BY workflow_id HAVING count(*) > 1")),
    Invariant("I-39", "a run is of its workflow's tenant", sql(
        "SELECT r.id FROM runs_workflowrun r JOIN workflows_workflow w ON w.id=r.workflow_id"
        " JOIN workflows_workflowversion v ON v.id=r.version_id"
        " WHERE w.tenant_id <> r.tenant_id OR v.tenant_id <> r.tenant_id OR v.workflow_id <> w.id")),
    Invariant("I-39", "steps, events and logs are of their run's tenant", sql(
        "SELECT s.id FROM runs_steprun s JOIN runs_workflowrun r ON r.id=s.run_id WHERE s.tenant_id <> r.tenant_id"
        " UNION ALL SELECT e.run_id FROM runs_event e JOIN runs_workflowrun r ON r.id=e.run_id"
        " WHERE e.tenant_id <> r.tenant_id"
        " UNION ALL SELECT l.run_id FROM runs_steplog l JOIN runs_workflowrun r ON r.id=l.run_id"
        " WHERE l.tenant_id <> r.tenant_id")),
    Invariant("I-42", "no API token is stored in clear", sql(
        "SELECT id FROM accounts_apitoken WHERE length(digest) <> 64 OR digest LIKE 'srt%%'")),
    Invariant("I-44", "no row is without its run", sql(
        "SELECT s.run_id FROM runs_steprun s LEFT JOIN runs_workflowrun r ON r.id=s.run_id WHERE r.id IS NULL"
        " UNION ALL SELECT e.run_id FROM runs_event e LEFT JOIN runs_workflowrun r ON r.id=e.run_id"
        " WHERE r.id IS NULL"
        " UNION ALL SELECT l.run_id FROM runs_steplog l LEFT JOIN runs_workflowrun r ON r.id=l.run_id"
        " WHERE r.id IS NULL")),
)  # fmt: skip
