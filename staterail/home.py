"""The start page for now: workflows and runs, server-rendered. The React UI takes its place."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from runs import selectors as runs
from runs.approvals import Decider
from staterail.accounts.services import actor_of_user
from workflows import selectors as workflows


@require_GET
@login_required
def home(request: HttpRequest) -> HttpResponse:
    actor = actor_of_user(request.user, request.session.get("tenant_id"))
    if actor is None:
        return render(request, "home.html", {"actor": None}, status=403)
    newest = list(runs.runs(actor).select_related("workflow").order_by("-id")[:25])
    facts = runs.facts_of(newest)
    rows = [{"run": run, "facts": facts[run.id], "short": f"…{str(run.id)[-12:]}"} for run in newest]
    known = workflows.workflows(actor).order_by("name")[:100]
    waiting = runs.approvals(Decider(actor), limit=20)
    return render(request, "home.html", {"actor": actor, "workflows": known, "rows": rows, "approvals": waiting})
