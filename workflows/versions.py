"""Facts about a version's definition."""

import hashlib
import json
from typing import Any


def definition_hash(definition: Any) -> str:
    """SHA-256 (hex) of the canonical JSON: the same for the same document, however it is written."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
