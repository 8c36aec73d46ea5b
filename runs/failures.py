"""Which failures are the same one."""

import hashlib
import re
from uuid import UUID

_VARYING = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\b0x[0-9a-fA-F]+\b|\d+")


def error_signature(workflow_id: UUID, step_id: str, code: str, message: str) -> str:
    """16 hex digits: the same for a step's failures whose messages differ in numbers and ids only."""
    told = "\n".join([str(workflow_id), step_id, code, _VARYING.sub("#", message)])
    return hashlib.blake2b(told.encode("utf-8", "replace"), digest_size=8).hexdigest()
