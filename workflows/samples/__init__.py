"""The workflows that come with StateRail."""

from pathlib import Path

from staterail.accounts.services import tenant_by_name_or_new
from staterail.core.actor import Actor, Role
from workflows.definition.yaml import from_yaml
from workflows.models import Workflow
from workflows.services import deploy

FOLDER = Path(__file__).parent
AUTHOR = "StateRail"


def deploy_sample(port: int) -> None:
    """Bring hello-staterail up to date, unless somebody has made it their own, or put it away."""
    tenant = tenant_by_name_or_new("default")
    known = Workflow.objects.filter(tenant=tenant, slug="hello-staterail").first()
    if known is not None:
        newest = known.versions.order_by("-version").first()
        if known.archived_at is not None or newest is None or newest.published_by != AUTHOR:
            return
    text = (FOLDER / "hello-staterail.yaml").read_text(encoding="utf-8").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    actor = Actor(tenant.id, Role.ADMIN, AUTHOR)
    about = "Prices an order, asks for approval of large ones, ships it: every kind of step once."
    deploy(actor=actor, slug="hello-staterail", name="Hello, StateRail", definition=from_yaml(text), description=about)
