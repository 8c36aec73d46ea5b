"""A reactor that is turned by hand, executors whose attempts end when the test says so, and a store that stumbles."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from runs import store
from runs.executors.base import Call, StepFailure
from runs.models import Event, StepRun, WorkflowRun
from runs.reactor.loop import Reactor
from runs.reactor.pool import Result
from runs.services import start_run
from runs.store import Lease, Store, Write
from runs.tests.factories import an_actor, published
from staterail.core.actor import Actor

JSON = Any
NOT_STUCK = 20.0  # seconds


def until(holds: Callable[[], object]) -> None:
    """Look again and again, without an end only if the test is stuck."""
    deadline = time.monotonic() + NOT_STUCK
    while not holds():
        assert time.monotonic() < deadline, "stuck"
        time.sleep(0.001)


class Hands:
    """An executor whose attempts end when the test says so: with a value, or by raising."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.alone: list[Call] = []
        self._ends: dict[tuple[str, int], Any] = {}
        self._changed = threading.Condition()
        self._free = False

    def execute(self, call: Call) -> JSON:
        return self._take(self.calls, call)

    def execute_alone(self, call: Call) -> JSON:
        return self._take(self.alone, call)

    def _take(self, seen: list[Call], call: Call) -> JSON:
        key = (call.step_id, call.attempt)
        with self._changed:
            seen.append(call)
            self._changed.wait_for(lambda: self._free or key in self._ends, NOT_STUCK)
            end = self._ends.get(key)
        if isinstance(end, BaseException):
            raise end
        return end

    def end(self, step_id: str, value: JSON = None, attempt: int = 1) -> None:
        """An exception is raised, whatever else is the output. May be said before the attempt begins."""
        with self._changed:
            self._ends[step_id, attempt] = value
            self._changed.notify_all()

    def let_go(self) -> None:
        """All attempts end, those to come too."""
        with self._changed:
            self._free = True
            self._changed.notify_all()

    @property
    def seen(self) -> list[tuple[str, int]]:
        """(step, attempt) of each execution, sorted."""
        return sorted((call.step_id, call.attempt) for call in [*self.calls, *self.alone])


class Inbox(SimpleQueue[Any]):
    """The reactor's, which remembers what results came."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Result] = []

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item)
        if isinstance(item, Result):
            self.results.append(item)


class Stumbling:
    """The real store, with something that happens before or after one of its calls."""

    def __init__(self) -> None:
        self._store = store.current()
        self._before: list[tuple[str, Callable[[Any], bool], Callable[[], None]]] = []
        self._after: list[tuple[str, Callable[[Any], bool], Callable[[], None]]] = []

    def before(self, name: str, action: Callable[[], None], where: Callable[[Any], bool] = lambda first: True) -> None:
        """Once, before the call of this name whose first argument fits."""
        self._before.append((name, where, action))

    def after(self, name: str, action: Callable[[], None], where: Callable[[Any], bool] = lambda first: True) -> None:
        """Once, when the call has done its work and before its answer arrives."""
        self._after.append((name, where, action))

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)

        def call(*arguments: Any) -> Any:
            first = arguments[0] if arguments else None
            self._happen(self._before, name, first)
            answer = real(*arguments)
            self._happen(self._after, name, first)
            return answer

        return call

    @staticmethod
    def _happen(planned: list[Any], name: str, first: Any) -> None:
        for plan in planned:
            if plan[0] == name and plan[1](first):
                planned.remove(plan)
                plan[2]()
                return


def failure(code: str = "boom", *, retryable: bool = False) -> StepFailure:
    return StepFailure(code, code, retryable=retryable)


def releases(writes: list[Write]) -> bool:
    return any(write.lease is Lease.RELEASE for write in writes)


def fails(error: Exception) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


class Bench:
    """One process: its reactor, turned by hand in the test's own thread, and its executors."""

    def __init__(self, its_store: Store | None = None, *, threads: int = 4, hands: Hands | None = None) -> None:
        self.hands = hands or Hands()
        kinds = dict.fromkeys(("Task", "HttpCall", "Script"), self.hands.execute)
        self.store: Any = its_store or store.current()
        self.reactor = Reactor(self.store, threads, kinds, self.hands.execute_alone, name="test")
        self.inbox = self.reactor.inbox = self.reactor.pool._inbox = Inbox()

    def turn(self, times: int = 1) -> None:
        """A round in which it looks for work too, and does not wait."""
        for _ in range(times):
            self.reactor.ring()
            self.reactor.turn()

    def until(self, holds: Callable[[], object]) -> None:
        def looked() -> object:
            self.turn()
            return holds()

        until(looked)

    def renew(self) -> None:
        """A round in which the leases are renewed."""
        self.reactor._next_renewal = 0.0
        self.turn()

    def ended(self, step_id: str, value: JSON = None, attempt: int = 1) -> None:
        """An attempt ends, and its result lies in the inbox."""
        job = self.job(step_id, attempt)
        self.hands.end(step_id, value, attempt)
        until(lambda: any(result.job is job for result in self.inbox.results))

    def job(self, step_id: str, attempt: int = 1) -> Any:
        jobs = [job for run in self.reactor.runs.owned.values() for job in run.jobs.values()]
        return next(job for job in jobs if (job.call.step_id, job.call.attempt) == (step_id, attempt))

    def owns(self, run_id: UUID) -> bool:
        return run_id in self.reactor.runs.owned

    def has_started(self, step_id: str, attempt: int = 1) -> None:
        """Turn until a thread has this attempt."""
        self.until(lambda: (step_id, attempt) in self.hands.seen)

    def die(self) -> None:
        """Its process is gone: nobody turns it any more, and its leases are over."""
        self.lose_lease()
        self.hands.let_go()

    def lose_lease(self) -> None:
        """As if it had been paused for longer than a lease."""
        past = datetime.now(UTC) - timedelta(seconds=1)
        WorkflowRun.objects.filter(lease_owner=self.reactor.owner).update(wake_at=past)

    def close(self) -> None:
        self.hands.let_go()
        self.reactor.pool.close()


def started(definition: dict[str, Any], *, input: JSON = None, actor: Actor | None = None, slug: str = "flow") -> UUID:
    """A run of a workflow that is just made."""
    actor = actor or an_actor()
    return start_run(actor=actor, workflow=published(definition, actor, slug).workflow, input=input or {}).run_id


def state(run_id: UUID) -> str:
    return WorkflowRun.objects.get(id=run_id).state


def step(run_id: UUID, step_id: str) -> StepRun:
    return StepRun.objects.get(run_id=run_id, step_id=step_id)


def row(run_id: UUID) -> WorkflowRun:
    return WorkflowRun.objects.get(id=run_id)


def told(run_id: UUID, step_id: str | None = None) -> list[tuple[str, int | None, str | None]]:
    """(type, attempt, state after) of a run's events, or of one step's."""
    events = Event.objects.filter(run_id=run_id).order_by("seq")
    if step_id is not None:
        events = events.filter(step_id=step_id)
    return list(events.values_list("event_type", "attempt", "state_after"))
