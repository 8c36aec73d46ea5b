"""Isolated tasks on servers: sent to the queue `tasks`, where a worker takes them by a guarded persist.

A message is a doorbell here too: it may be lost or come twice. What has not been taken is sent
again after a minute, and at most MAX_SENT lie in the queue untaken for one reactor.
"""

import time
from collections.abc import Callable
from uuid import UUID
from weakref import WeakKeyDictionary

from runs.machine.plan import Plan
from runs.machine.states import Reason
from runs.reactor.owned import Owned
from workflows.task_registry import registered

MAX_SENT = 64
RESEND_SECONDS = 60.0
Send = Callable[[UUID, str, float | None], None]
"""(run id, step id, the step's timeout in seconds): must not block."""
_NONE: frozenset[int] = frozenset()


def isolated_steps(plan: Plan) -> frozenset[int]:
    """Positions of the steps whose Task is declared isolated."""
    known = registered()
    tasks = ((i, known.get(step.config.get("name", ""))) for i, step in enumerate(plan.steps) if step.kind == "Task")
    return frozenset(i for i, task in tasks if task is not None and task.isolated)


class Sending:
    """Only the reactor's thread uses it. Without `send` nothing is sent: isolated tasks run in children of ours."""

    def __init__(self, send: Send | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._send, self._monotonic = send, monotonic
        self._steps: WeakKeyDictionary[Plan, frozenset[int]] = WeakKeyDictionary()
        self._sent: dict[tuple[UUID, int, int], float] = {}  # (run, step, attempts before) -> when
        self.waiting: dict[UUID, None] = {}  # runs that found the queue full

    def apart(self, plan: Plan) -> frozenset[int]:
        """The steps of this plan that are sent instead of started."""
        if self._send is None:
            return _NONE
        found = self._steps.get(plan)
        if found is None:
            found = self._steps[plan] = isolated_steps(plan)
        return found

    def follow(self, run: Owned) -> None:
        """Send what waits in this run, and forget what was taken."""
        apart = self.apart(run.snapshot.plan)
        if not apart or self._send is None:
            return
        rows, plan = run.snapshot.steps, run.snapshot.plan
        ready = {
            (run.id, i, rows[i].attempt) for i in run.snapshot.queued if i in apart and rows[i].reason is Reason.READY
        }
        for key in [key for key in self._sent if key[0] == run.id and key not in ready]:
            del self._sent[key]
        self.waiting.pop(run.id, None)
        now = self._monotonic()
        for key in sorted(ready, key=lambda key: key[1]):
            known = self._sent.get(key)
            if known is not None and now - known < RESEND_SECONDS:
                continue
            if known is None and len(self._sent) >= MAX_SENT:
                self.waiting[run.id] = None
                return
            timeout = plan.steps[key[1]].timeout
            self._send(run.id, plan.ids[key[1]], timeout.total_seconds() if timeout is not None else None)
            self._sent[key] = now

    def forget(self, run_id: UUID) -> None:
        self.waiting.pop(run_id, None)
        for key in [key for key in self._sent if key[0] == run_id]:
            del self._sent[key]
