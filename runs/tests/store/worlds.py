"""What the tests do to a store: runs that are made, decided, claimed and let go, and all rows afterwards.

Ids and times are the test's own, so that the same calls on two stores must leave the same rows; what a
store takes from the database's clock is told as its distance from now.
"""

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from runs.executors.logs import LogLine
from runs.machine.decide import decide_all
from runs.machine.snapshot import RunHead, RunRow, Snapshot, StepRow
from runs.machine.stimuli import Start, StartReady, Stimulus
from runs.models import Event, StepLog, StepRun, WorkflowRun
from runs.store import Lease, LogBatch, NewRun, Store, Write
from runs.store.plans import compiled
from staterail.core.strict_json import dumps
from workflows.models import WorkflowVersion

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
JSON_TEXTS = {"input", "metadata", "output"}


def run_id(n: int) -> UUID:
    return UUID(int=(n + 1) << 80 | 7 << 76 | 2 << 62)


def owner_id(n: int) -> UUID:
    return UUID(int=(n + 1) << 64 | 4 << 76 | 2 << 62)


class World:
    """Runs of `versions` in one store. Each call returns what the store said of it."""

    def __init__(self, store: Store, versions: list[WorkflowVersion]) -> None:
        self.store, self.versions = store, versions
        self.now = NOON
        self.made = 0
        self.seen: dict[UUID, Snapshot] = {}  # as it was when it was last looked at: a stale decision's ground

    def tick(self, seconds: float = 1) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def new(
        self, version: int = 0, *, input: Any = None, key: str | None = None, definition: Any = None,
        metadata: Any = None,
    ) -> Write:  # fmt: skip
        """A run that is to be stored."""
        target, id = self.versions[version], run_id(self.made)
        self.made += 1
        plan: Any = compiled(definition or target.definition)
        head = RunHead(
            id, target.tenant_id, target.workflow_id, target.id, target.version, dumps({} if input is None else input),
            dumps(metadata or {}), "0" * 32, f"corr-{id}",
        )  # fmt: skip
        text = dumps(definition) if definition is not None else None
        new = NewRun(
            self.tick(), "someone", "user:1", is_test=definition is not None, definition=text, idempotency_key=key,
            request_hash="0" * 64 if key else None,
        )  # fmt: skip
        decision = decide_all(Snapshot.new(head, plan, self.now), [Start()], self.now)
        return Write(head, plan, decision, lease=Lease.WAKE, new=new, emitter="api")

    def start(self, *args: Any, **kwargs: Any) -> UUID:
        """A run that is stored."""
        write = self.new(*args, **kwargs)
        assert self.store.persist([write]) == {write.head.id}
        return write.head.id

    def look(self, id: UUID) -> Snapshot:
        self.seen[id] = snapshot = self.store.load([id])[id].snapshot
        return snapshot

    def write(
        self, id: UUID, *stimuli: Stimulus, lease: Lease = Lease.KEEP, wake_at: datetime | None = None,
        logs: list[LogBatch] | None = None, stale: bool = False,
    ) -> Write:  # fmt: skip
        """A decision on the run as it stands, or (`stale`) as it was when it was last looked at."""
        snapshot = self.seen[id] if stale else self.look(id)
        decision = decide_all(snapshot, stimuli, self.tick())
        return Write(snapshot.head, snapshot.plan, decision, lease, wake_at, logs=logs or [])

    def tell(self, id: UUID, *stimuli: Stimulus, **how: Any) -> bool:
        """Whether the write won."""
        return self.store.persist([self.write(id, *stimuli, **how)]) == {id}

    def run_ready(self, id: UUID, room: int = 10) -> bool:
        return self.tell(id, StartReady(room, "w"))


def lines(*messages: str) -> list[LogLine]:
    return [LogLine(NOON, "info", message) for message in messages]


# What is there afterwards


def all_rows() -> dict[str, list[dict[str, Any]]]:
    """Every row of the four tables that a store writes, comparable between stores."""
    return {
        model.__name__: [_comparable(row) for row in model.objects.order_by(*order).values()]
        for model, order in (
            (WorkflowRun, ["id"]),
            (StepRun, ["id"]),
            (Event, ["run_id", "seq"]),
            (StepLog, ["run_id", "step_id", "attempt", "number"]),
        )
    }


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(row["id"], UUID):
        del row["id"]  # a counter
    return {name: since_now(value) if name == "wake_at" else value for name, value in row.items()}


def since_now(at: datetime | None) -> datetime | str | None:
    """A time that the store took from the clock, as its distance from now; a time of the test's own as it is."""
    if at is None or abs(at - datetime.now(UTC)) > timedelta(hours=1):
        return at
    return f"now + {round((at - datetime.now(UTC)).total_seconds() / 5) * 5} s"


def told(value: Any) -> Any:
    """A loaded run as plain values, its JSON texts parsed: stores may write the same value differently."""
    if isinstance(value, RunRow | StepRow | Snapshot):
        known = {name: getattr(value, name) for name in value.__slots__ if not name.startswith("_") and name != "plan"}
        return {name: _parsed(item) if name in JSON_TEXTS else told(item) for name, item in known.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _parsed(getattr(value, f.name)) if f.name in JSON_TEXTS else told(getattr(value, f.name))
                for f in fields(value)}  # fmt: skip
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [told(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return since_now(value) if isinstance(value, datetime) else value


def _parsed(text: Any) -> Any:
    return ("JSON", json.loads(text)) if isinstance(text, str) else text
