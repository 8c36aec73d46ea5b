"""What validation finds: located, coded, and said in words."""

from collections.abc import Sequence
from typing import Any

JSON = Any
MAX_PROBLEMS = 100


def pointer(path: Sequence[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1")[:100] for part in path)


class Problems:
    """Collects problems in the order in which they are found; errors stand before warnings."""

    def __init__(self) -> None:
        self._found: list[dict[str, JSON]] = []
        self.step_id: str | None = None  # what is being looked at
        self.transition_id: str | None = None

    def add(self, code: str, path: Sequence[str | int], message: str, *, severity: str = "error") -> None:
        self._found.append(
            {
                "severity": severity,
                "code": code,
                "path": pointer(path),
                "message": message[:1].upper() + message[1:],
                "step_id": self.step_id,
                "transition_id": self.transition_id,
            }
        )

    def warn(self, code: str, path: Sequence[str | int], message: str) -> None:
        self.add(code, path, message, severity="warning")

    def has(self, *codes: str) -> bool:
        return any(problem["code"] in codes for problem in self._found)

    @property
    def errors(self) -> int:
        return sum(problem["severity"] == "error" for problem in self._found)

    def listed(self) -> list[dict[str, JSON]]:
        return sorted(self._found, key=lambda problem: problem["severity"] != "error")[:MAX_PROBLEMS]
