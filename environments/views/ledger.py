"""What was said to an environment: its contacts and its synchronizations, page by page."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from environments import sync
from environments.views.paging import page
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest


@require_safe
def contacts(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    context = {"environment": environment, "page": page(environment.contacts.all(), request, by="opened_at")}
    return render(request, "environments/contacts.html", context)


@require_safe
def syncs(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    found = page(environment.sync_runs.select_related("window"), request)
    rows = [(run, sync.describe(run.changes)) for run in found.rows]
    return render(request, "environments/syncs.html", {"environment": environment, "page": found, "rows": rows})
