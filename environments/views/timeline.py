"""The timeline of an environment: windows, deployments, times without synchronization."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from deployments import listing
from environments import timeline as drawing
from environments.models import Environment
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest

DAYS = 7
FURTHEST_BACK = 500


@require_safe
def timeline(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    days = _number(request.GET.get("days", ""), DAYS)
    days = days if days in drawing.PERIODS else DAYS
    back = min(_number(request.GET.get("back", ""), 0), FURTHEST_BACK)
    plans = listing.visible(policy.held_by(request.user), Environment.objects.all())
    context = {
        "environment": environment,
        "timeline": drawing.of(environment, plans=plans, days=days, back=back),
        "periods": drawing.PERIODS,
        "days": days,
        "earlier": back + 1 if back < FURTHEST_BACK else None,
        "later": back - 1 if back else None,
    }
    return render(request, "environments/timeline.html", context)


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else otherwise
