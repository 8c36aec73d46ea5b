"""What every operation of the OpenAPI document says alike: its errors, and the headers of a command."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from staterail.core.rest import MEDIA_TYPE

JSON = Any


class ProblemDetail(serializers.Serializer[Any]):
    severity = serializers.ChoiceField(["error", "warning"])
    code = serializers.CharField()
    path = serializers.CharField(help_text="JSON pointer")
    message = serializers.CharField()


class Problem(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    problems = ProblemDetail(many=True, required=False)


_ERRORS = {
    400: "VALIDATION_FAILED", 401: "UNAUTHENTICATED", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT,"
    " IDEMPOTENCY_CONFLICT or ILLEGAL_TRANSITION", 413: "PAYLOAD_TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED, with Retry-After", 503: "UNAVAILABLE, with Retry-After",
}  # fmt: skip
_OF_COMMANDS = {409, 413, 415}
_COMMAND_HEADERS = [
    OpenApiParameter(
        "Idempotency-Key", str, OpenApiParameter.HEADER, description="1 to 255 printable ASCII characters"
    ),
    OpenApiParameter("X-Correlation-Id", str, OpenApiParameter.HEADER, description="stands in the events it causes"),
]


def page_of(serializer: type[serializers.Serializer[Any]], *, cursor: bool = False) -> serializers.Serializer[Any]:
    """`{results}`, with `next_cursor` where the list goes on by one."""
    fields: dict[str, Any] = {"results": serializer(many=True)}
    if cursor:
        fields["next_cursor"] = serializers.CharField(allow_null=True)
    name = serializer.__name__.removesuffix("Answer")
    return inline_serializer(f"{name}Page", fields)


class Schema(AutoSchema):
    def get_override_parameters(self) -> list[Any]:
        return _COMMAND_HEADERS if self._is_command() else []

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, JSON]:
        bodies = super()._get_response_bodies(direction)
        for status, codes in _ERRORS.items():
            if (status in _OF_COMMANDS and not self._is_command()) or (status == 404 and "{" not in self.path):
                continue
            told = OpenApiResponse(Problem, description=codes)
            bodies[str(status)] = self._get_response_for_code(  # type: ignore[no-untyped-call]
                told, str(status), [MEDIA_TYPE], direction
            )
        return bodies

    def _is_command(self) -> bool:
        return self.method in ("POST", "PUT")
