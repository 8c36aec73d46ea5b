"""The reactor, turned by hand: REST tests drive runs without a thread or a server."""

import time
from collections.abc import Callable

from runs import store
from runs.executors.task import execute
from runs.machine.states import RUN_FINAL
from runs.models import StepRun, WorkflowRun
from runs.reactor.loop import Reactor


class Engine:
    """The reactor, turned by hand in the test's own transaction."""

    def __init__(self) -> None:
        self.reactor = Reactor(store.current(), 2, {"Task": execute}, None, name="test")

    def until(self, holds: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "stuck"
            self.reactor.ring()
            self.reactor.turn()

    def finish(self, *run_ids: str) -> None:
        """Until these runs have ended."""
        ended = WorkflowRun.objects.filter(id__in=run_ids, state__in=list(RUN_FINAL))
        self.until(lambda: ended.count() == len(run_ids))

    def wait(self, run_id: str, step_id: str, reason: str = "waiting_approval") -> None:
        """Until this step waits, and nobody owns its run."""
        step = StepRun.objects.filter(run_id=run_id, step_id=step_id, reason=reason, run__lease_owner=None)
        self.until(step.exists)
