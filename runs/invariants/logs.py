"""Each run's event log, held against its rows and its definition.

The log is read as it streams, the rows after it: where they differ, the run may have gone on
between. It is then read again, all of it at one revision, before anything is said.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef

from runs.machine.audit import Audit
from runs.machine.fold import FoldedRun, fold
from runs.models import Event, StepRun, WorkflowRun
from workflows.definition.model import Definition
from workflows.definition.parsing import BrokenDefinition, load
from workflows.models import WorkflowVersion

Row = Mapping[str, Any]
EVENT = (
    "run_id", "seq", "event_type", "step_id", "item_index", "generation", "attempt", "state_before", "state_after",
    "payload", "ts", "corr_id",
)  # fmt: skip
RUN = ("state", "reason", "generation", "seq", "started_at", "completed_at", "error")
STEP = (
    "state", "reason", "attempt", "generation", "queued_at", "started_at", "completed_at", "error", "taken",
)  # fmt: skip
READINGS = 20  # of a run that changes while it is read


def broken_logs() -> Iterator[str]:
    """A line for each breach."""
    definition_of = lru_cache(maxsize=100)(published_definition)
    events = Event.objects.order_by("run_id", "seq").values(*EVENT).iterator(chunk_size=2000)
    for run_id, log in groupby(events, key=lambda event: event["run_id"]):
        if any(breaches(run_id, log, definition_of)):
            for breach in settled(run_id):
                yield f"{run_id}: {breach}"
    for run_id in WorkflowRun.objects.exclude(Exists(Event.objects.filter(run=OuterRef("id")))).values_list("id"):
        yield f"{run_id[0]}: a run without events"


def settled(run_id: UUID) -> list[str]:
    """What is wrong with a run that did not change while it was read."""
    for _ in range(READINGS):
        revision = _revision(run_id)
        log = Event.objects.filter(run_id=run_id).order_by("seq").values(*EVENT).iterator(chunk_size=2000)
        found = list(breaches(run_id, log, published_definition))
        if _revision(run_id) == revision:
            return found
    return []


def _revision(run_id: UUID) -> int | None:
    return WorkflowRun.objects.filter(id=run_id).values_list("revision", flat=True).first()


def breaches(run_id: UUID, log: Iterable[Row], definition_of: Callable[[UUID], Definition | None]) -> Iterator[str]:
    """What a run's events say against its rows, read now, and against its definition."""
    run = WorkflowRun.objects.filter(id=run_id).values(*RUN, "version_id", "definition").first()
    if run is None:
        yield "events without a run"
        return
    own = run["definition"]
    definition = _loaded(own) if own is not None else definition_of(run["version_id"])
    audit = Audit(definition) if definition is not None else None  # None: of another release, its rules are not known
    try:
        folded = fold(_overheard(log, audit) if audit is not None else log)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        yield f"an event cannot be read: {type(error).__name__}: {error}"
        return
    yield from _against_rows(run_id, run, folded)
    if audit is not None:
        yield from audit.wrong


def _overheard(log: Iterable[Row], audit: Audit) -> Iterator[Row]:
    """The same events, one after the other: a log may be larger than memory."""
    for event in log:
        audit.take(event)
        yield event


def _against_rows(run_id: UUID, run: Row, folded: FoldedRun) -> Iterator[str]:
    yield from folded.wrong
    rows = {step["step_id"]: step for step in StepRun.objects.filter(run_id=run_id).values("step_id", *STEP)}
    for name in RUN:
        if run[name] != getattr(folded, name):
            yield f"run.{name} is {run[name]!r}, the log says {getattr(folded, name)!r}"
    for step_id in rows.keys() ^ folded.steps.keys():
        yield f"{step_id} is in the {'rows' if step_id in rows else 'log'} only"
    for step_id in rows.keys() & folded.steps.keys():
        row, step = rows[step_id], folded.steps[step_id]
        for name in STEP:
            if row[name] != getattr(step, name):
                yield f"{step_id}.{name} is {row[name]!r}, the log says {getattr(step, name)!r}"


def published_definition(version_id: UUID) -> Definition | None:
    """A version's definition; None for one that this release cannot read."""
    known = WorkflowVersion.objects.filter(id=version_id).values_list("definition", flat=True).first()
    return None if known is None else _loaded(known)


def _loaded(document: Any) -> Definition | None:
    try:
        return load(document)
    except BrokenDefinition:
        return None
