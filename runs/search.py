"""What the search field of a list of runs finds."""

import re

from django.db.models import F, Q, QuerySet, TextField
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast

from runs.models import WorkflowRun
from staterail.core.ids import uuid_or_none

_KEY_VALUE = re.compile(r"([A-Za-z0-9_-]{1,100}):(.*)", re.DOTALL)  # the key goes into a JSON path: no quotes, no dots


def search_runs(found: QuerySet[WorkflowRun], text: str, *, payloads: bool) -> QuerySet[WorkflowRun]:
    """Runs whose id this is, or with this text in correlation id or error, or with `key:value` in input or metadata.

    Inputs are searched for those only who may see `payloads`: whether a guess is right would tell what stands there.
    Text stands for itself: it is neither a pattern nor a lookup of ours. A value is compared as text: `n:7`
    finds 7 and "7", `ok:true` finds true.
    """
    run_id = uuid_or_none(text)
    if run_id is not None:
        return found.filter(id=run_id)
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
