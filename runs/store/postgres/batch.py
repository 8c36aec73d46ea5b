"""A batch of writes as the rows and parameters of one statement."""

from collections.abc import Sequence
from datetime import datetime

from runs.machine.states import RUN_FINAL
from runs.store.interface import Lease, Write
from runs.store.postgres.statements import (
    ENDS,
    EVENTS,
    LOGS,
    NEW,
    NEW_STEPS,
    PERSIST_ENDS,
    PERSIST_EVENTS,
    PERSIST_LOGS,
    PERSIST_NEW,
    PERSIST_NEW_STEPS,
    PERSIST_RUNS,
    PERSIST_STEPS,
    RUNS,
    STEPS,
)
from runs.store.values import Parts, Row, Times, new_run_values, run_values


def persist_statement(writes: Sequence[Write]) -> tuple[str, list[str]]:
    """The statement with the parts that this batch needs, and its parameters."""
    times = Times(datetime.isoformat)
    rows = Parts(times)
    runs: list[Row] = []
    new: list[Row] = []
    for write in writes:
        if write.new is None:
            runs.append(_known_run(write, times))
        else:
            new.append(new_run_values(write, times))
        rows.add(write)
    parts: list[str] = []
    parameters: list[str] = []
    won: list[str] = []
    for known, table, part, name in ((runs, RUNS, PERSIST_RUNS, "updated"), (new, NEW, PERSIST_NEW, "created")):
        if known:
            parts.append(part)
            parameters += table.parameters(known)
            won.append(f"SELECT id FROM {name}")
    parts.append(f"\nwinners AS MATERIALIZED ({' UNION ALL '.join(won)})")
    for known, table, part in (
        (rows.new_steps, NEW_STEPS, PERSIST_NEW_STEPS), (rows.ends, ENDS, PERSIST_ENDS),
        (rows.steps, STEPS, PERSIST_STEPS), (rows.events, EVENTS, PERSIST_EVENTS), (rows.logs, LOGS, PERSIST_LOGS),
    ):  # fmt: skip
        if known:
            parts.append(part)
            parameters += table.parameters(known)
    return f"WITH {','.join(parts)}\nSELECT id FROM winners", parameters


def _known_run(write: Write, times: Times) -> Row:
    decision, lease, wake_at = write.decision, write.lease, write.wake_at
    if decision.run.state in RUN_FINAL:
        lease, wake_at = Lease.RELEASE, None
    return decision.run_id.hex, decision.expected, lease.value, *run_values(decision.run, times), times[wake_at]
