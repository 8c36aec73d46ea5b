"""JSON kept as it was written: the order of keys, `1.0`, `1e22`.

PostgreSQL's `jsonb` sorts keys and turns 1e22 into an integer, so that the same run would read
differently on the two databases; its `json` keeps the text. Nothing is searched for inside these columns.
"""

import json
from typing import Any

from django.db import models
from django.db.models.fields.json import KeyTransform
from psycopg.types.json import Json


class JSONColumn(models.JSONField):
    """A JSONField, on PostgreSQL of the type `json`. Our own `dumps` made what is stored: no CHECK parses it again."""

    def db_type(self, connection: Any) -> str | None:
        return "json" if connection.vendor == "postgresql" else super().db_type(connection)

    def db_check(self, connection: Any) -> str | None:
        return None

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        found = super().get_db_prep_value(value, connection, prepared)
        if connection.vendor == "postgresql" and hasattr(found, "obj"):  # Django's Jsonb
            return Json(found.obj, dumps=found.dumps)
        return found

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if connection.vendor == "postgresql":  # psycopg has parsed a `json` already
            return value
        if isinstance(expression, KeyTransform):  # SQLite gives a text that it extracts as it is, without its quotes
            return super().from_db_value(value, expression, connection)
        return None if value is None else json.loads(value)
