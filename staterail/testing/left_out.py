"""Suites that lie beside the repository where it is developed. A clone alone leaves them out, and says so."""

from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared"
CONFORMANCE = SHARED / "conformance" / "run.py"
WFINSTANCES = SHARED / "data" / "wfinstances"


def left_out() -> list[str]:
    """One line for each suite that is not there."""
    known = {"the conformance suite": CONFORMANCE, "the recorded workflows": WFINSTANCES}
    own = "staterail/tests/journeys covers the same ground"
    return [f"left out: {name} ({path} is not there); {own}" for name, path in known.items() if not path.exists()]
