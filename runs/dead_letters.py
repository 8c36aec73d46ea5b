"""Steps that killed every worker that tried them: listed until somebody retries or dismisses them."""

from uuid import UUID

from runs.models import StepRun
from staterail.core.actor import Actor
from staterail.core.errors import IllegalTransition, NotFound
from staterail.core.permissions import require


def dead_letters(actor: Actor, *, limit: int = 100) -> list[StepRun]:
    """The newest runs' first, each with its run. Raises Forbidden."""
    require(actor, "workflows.view_workflow")
    found = StepRun.objects.filter(tenant_id=actor.tenant_id, dead=True).select_related("run__workflow")
    return list(
        found.defer("input", "output", "run__input", "run__output", "run__definition").order_by("-run_id")[:limit]
    )


def dismiss_dead_letter(*, actor: Actor, run_id: UUID, step_id: str) -> StepRun:
    """Take it off the list; the step stays failed, and can still be retried.

    Raises NotFound, Forbidden, or IllegalTransition where the step is no dead letter.
    """
    steps = StepRun.objects.filter(tenant_id=actor.tenant_id, run_id=run_id, step_id=step_id)
    if not steps.exists():
        raise NotFound
    require(actor, "workflows.operate_workflow")
    if not steps.filter(dead=True).update(dead=False):
        raise IllegalTransition("The step is no dead letter (any more).")
    return steps.get()
