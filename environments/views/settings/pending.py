"""What an environment is still to get from the console."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from environments import deliveries
from environments.views.answers import CHANGED
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest


@require_safe
def pending(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The part of Edit Environment that says it, asked for now and then while the page is open."""
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    context = {"environment": environment, "pending": deliveries.pending_of(environment), "changed": CHANGED}
    return render(request, "environments/settings/_deliveries.html", context)
