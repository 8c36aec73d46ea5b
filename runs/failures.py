"""Which failures are the same one, and how often it came."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from runs.machine.states import RunState
from runs.models import WorkflowRun
from runs.store.partitions import first_id

JSON = Any
RECENT = timedelta(hours=24)
LOOKED_AT = 1000  # of the newest failed runs
_VARYING = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\b0x[0-9a-fA-F]+\b|\d+")


def error_signature(workflow_id: UUID, step_id: str, code: str, message: str) -> str:
    """16 hex digits: the same for a step's failures whose messages differ in numbers and ids only."""
    told = "\n".join([str(workflow_id), step_id, code, _VARYING.sub("#", message)])
    return hashlib.blake2b(told.encode("utf-8", "replace"), digest_size=8).hexdigest()


def similar_runs(failed: Collection[WorkflowRun]) -> dict[UUID, int]:
    """For each of these runs of one tenant, how many others failed alike: one query, however many there are.

    Counted are the newest failed runs, LOOKED_AT at most, that were created within the last 24 hours.
    """
    if not failed:
        return {}
    tenant_id = next(iter(failed)).tenant_id
    since = first_id(datetime.now(UTC) - RECENT)
    found = WorkflowRun.objects.filter(tenant_id=tenant_id, outcome=RunState.FAILED, id__gte=since).order_by("-id")
    recent = {
        id: _signature(workflow_id, error)
        for id, workflow_id, error in found.values_list("id", "workflow_id", "error")[:LOOKED_AT]
    }
    counts = Counter(recent.values())
    return {run.id: counts[_signature(run.workflow_id, run.error)] - (run.id in recent) for run in failed}


def _signature(workflow_id: UUID, error: JSON) -> str:
    told = error if isinstance(error, dict) else {}
    return error_signature(workflow_id, *(str(told.get(name)) for name in ("step_id", "code", "message")))
