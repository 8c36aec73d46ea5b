"""What the search field of a list of runs finds."""

import json
import re
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.fields.json import KeyTransform

from runs.models import WorkflowRun
from staterail.core.ids import uuid_or_none

_KEY_VALUE = re.compile(r"([A-Za-z0-9_-]{1,100}):(.*)", re.DOTALL)  # the key goes into a JSON path: no quotes, no dots


def search_runs(found: QuerySet[WorkflowRun], text: str) -> QuerySet[WorkflowRun]:
    """Runs whose id this is, or with this text in correlation id or error, or with `key:value` in input or metadata.

    Text stands for itself: it is neither a pattern nor a lookup of ours.
    """
    run_id = uuid_or_none(text)
    if run_id is not None:
        return found.filter(id=run_id)
    wanted = Q(corr_id__icontains=text) | Q(error__step_id=text)
    wanted |= Q(error__code__icontains=text) | Q(error__message__icontains=text)
    pair = _KEY_VALUE.fullmatch(text)
    if pair is not None:
        key, value = pair.groups()
        found = found.alias(of_input=KeyTransform(key, F("input")), of_metadata=KeyTransform(key, F("metadata")))
        for meant in _meanings(value):
            wanted |= Q(of_input=meant) | Q(of_metadata=meant)
    return found.filter(wanted)


def _meanings(value: str) -> list[Any]:
    """The text itself, and the number or truth value that it spells."""
    try:
        scalar = json.loads(value, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return [value]
    is_scalar = isinstance(scalar, bool) or (isinstance(scalar, int | float) and abs(scalar) < 2**63)
    return [value, scalar] if is_scalar else [value]
