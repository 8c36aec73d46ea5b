"""Celery's doors: they ring this worker's reactor."""

from typing import Any
from uuid import UUID

from celery import shared_task
from celery.worker.control import control_command

from runs import reactor
from staterail.core.ids import uuid_or_none


@shared_task(name="runs.wake", ignore_result=True)
def wake() -> None:
    """There may be work. May be lost or come twice: the reactor's claim finds what there is to do."""
    here = reactor.current()
    if here is not None:
        here.ring()


@shared_task(name="runs.execute_isolated", bind=True, ignore_result=True)
def execute_isolated(self: Any, run_id: str, step_id: str, timeout: float | None = None) -> None:
    """Take an isolated step and execute it here. May be lost or come twice: the guarded persist says who takes it."""
    from runs.isolated.taking import execute

    execute(UUID(run_id), step_id, holder=self.request.id, worker=str(self.request.hostname))


@control_command(args=[("run_ids", list)], signature="[id1 [id2 …]]")
def poke(state: object, run_ids: list[str]) -> dict[str, str]:
    """Somebody wrote to these runs: an owner among us loads them anew. May be lost; a renewal tells as well."""
    here = reactor.current()
    if here is not None and isinstance(run_ids, list):
        known = (uuid_or_none(id) for id in run_ids if isinstance(id, str))
        here.poke(*(id for id in known if id is not None))
    return {"ok": "poked"}
