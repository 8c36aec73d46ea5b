"""Serializer fields that convert nothing: what is no text is no text. And a serializer that refuses unknown keys."""

import re
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

JSON = Any
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class StrictCharField(serializers.CharField):
    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: JSON) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("This is text.")
        if _CONTROL.search(data):
            raise serializers.ValidationError("This has control characters.")
        if not self.allow_blank and not data.strip():
            raise serializers.ValidationError("This may not be blank.")
        return data


class StrictChoiceField(serializers.ChoiceField):
    def to_internal_value(self, data: JSON) -> str:
        if not isinstance(data, str) or data not in self.choices:
            raise serializers.ValidationError(f"This is one of {', '.join(self.choices)}.")
        return data


class StrictIntegerField(serializers.IntegerField):
    def to_internal_value(self, data: JSON) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            raise serializers.ValidationError("This is a whole number.")
        return data


class StrictBooleanField(serializers.BooleanField):
    def to_internal_value(self, data: JSON) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("This is true or false.")
        return data


class AnyJSONField(serializers.JSONField):
    """Any JSON value, null too: a key that is there with null is not a key that is missing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_null": True, **options})

    def to_internal_value(self, data: JSON) -> JSON:
        return data


class JSONObjectField(serializers.JSONField):
    def to_internal_value(self, data: JSON) -> JSON:
        if not isinstance(data, dict):
            raise serializers.ValidationError("This is an object.")
        return data


class ClosedSerializer(serializers.Serializer[Any]):
    """Validates a request's body; a key that nobody knows is told, not ignored."""

    def to_internal_value(self, data: JSON) -> JSON:
        if not isinstance(data, dict):
            raise serializers.ValidationError("This is an object.")
        unknown = [key for key in data if key not in self.fields]
        if unknown:
            known = ", ".join(self.fields) or "none"
            message = f"This key is not known here; there are {known}."
            raise serializers.ValidationError(
                {key[:100]: [serializers.ErrorDetail(message, "unknown_key")] for key in unknown}
            )
        return super().to_internal_value(data)

    @classmethod
    def read(cls, request: Request) -> dict[str, JSON]:
        """The body's values. Raises rest_framework's ValidationError."""
        serializer = cls(data=request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)
