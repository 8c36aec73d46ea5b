"""What the commands of every app ask of accounts."""

from django.core.management.base import CommandError

from staterail.accounts.models import Tenant
from staterail.accounts.services import tenant_by_name_or_new
from staterail.core.cli import did_you_mean

OURS = "default"


def tenant_named(slug: str) -> Tenant:
    """The tenant a command is for. Only `default` is made where it is new. Raises CommandError."""
    if slug == OURS:
        return tenant_by_name_or_new(slug)
    found = Tenant.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"There is no tenant {slug!r}.{tenant_like(slug)}")
    return found


def tenant_like(slug: str) -> str:
    """A question to add where no tenant has this slug, or ""."""
    return did_you_mean(slug, [OURS, *Tenant.objects.exclude(slug=slug).values_list("slug", flat=True)])
