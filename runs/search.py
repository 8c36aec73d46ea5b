"""What a list of runs shows: by workflow, state, time and text."""

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Q, QuerySet, TextField
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast

from runs.machine.states import RUN_FINAL
from runs.models import OPEN, WorkflowRun
from runs.store.partitions import first_id
from staterail.core.ids import uuid_or_none
from staterail.core.pagination import Part

_KEY_VALUE = re.compile(r"([A-Za-z0-9_-]{1,100}):(.*)", re.DOTALL)  # the key goes into a JSON path: no quotes, no dots
SKEW = timedelta(minutes=5)  # between the clock that makes ids and the database's, which makes `created_at`


def parts_of(
    found: QuerySet[WorkflowRun], *, workflow_id: UUID | None, states: Collection[str], created_after: datetime | None,
    created_before: datetime | None, search: str, payloads: bool,
) -> list[Part[WorkflowRun]]:  # fmt: skip
    """A tenant's runs that are asked for, a part for each state: together they are one list by id.

    An index leads to the runs of an outcome or a workflow and, ids being made in order of time, of a
    span of time. Everything else is judged run by run, among those.
    """
    run_id = uuid_or_none(search)
    if run_id is not None:
        found, search = found.filter(id=run_id), ""
    if created_after is not None:
        found = found.filter(id__gte=first_id(created_after - SKEW))
    if created_before is not None:
        found = found.filter(id__lt=first_id(created_before + SKEW))
    parts = []
    each: list[str | None] = [*sorted(set(states))] or [None]
    for state in each:
        among, wanted = found, Q()
        if state is not None:
            among = found.filter(outcome=state if state in RUN_FINAL else OPEN)
            wanted &= Q() if state in RUN_FINAL else Q(state=state)
            wanted &= Q(workflow_id=workflow_id) if workflow_id is not None else Q()
        elif workflow_id is not None:
            among = found.filter(workflow_id=workflow_id)
        if created_after is not None:
            wanted &= Q(created_at__gt=created_after)
        if created_before is not None:
            wanted &= Q(created_at__lt=created_before)
        picked = search_runs(among, search, payloads=payloads) if search else among
        parts.append(Part(picked.filter(wanted), among) if wanted or search else Part(among))
    return parts


def search_runs(found: QuerySet[WorkflowRun], text: str, *, payloads: bool) -> QuerySet[WorkflowRun]:
    """Runs with this text in correlation id or error, or with `key:value` in input or metadata.

    Inputs are searched for those only who may see `payloads`: whether a guess is right would tell what stands there.
    Text stands for itself: it is neither a pattern nor a lookup of ours. A value is compared as text: `n:7`
    finds 7 and "7", `ok:true` finds true.
    """
    found = found.alias(**{f"failed_{key}": _text(key, "error") for key in ("step_id", "code", "message")})
    wanted = Q(corr_id__icontains=text) | Q(failed_step_id=text)
    wanted |= Q(failed_code__icontains=text) | Q(failed_message__icontains=text)
    pair = _KEY_VALUE.fullmatch(text)
    if pair is not None:
        key, value = pair.groups()
        found = found.alias(of_input=_text(key, "input"), of_metadata=_text(key, "metadata"))
        wanted |= Q(of_metadata=value)
        if payloads:
            wanted |= Q(of_input=value)
    return found.filter(wanted)


def _text(key: str, column: str) -> Cast:
    return Cast(KeyTextTransform(key, F(column)), TextField())
