"""The plan that somebody wants to do something with, and where people go from there."""

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import resolve_url
from django.urls import reverse

from audit.log import Actor
from deployments.models import DeploymentPlan, PlanStatus
from deployments.states import told
from environments.models import Environment
from environments.views.answers import leave
from lifetime import policy
from lifetime.models import Level, User
from lifetime.requests import AuthenticatedRequest, client_address


def actor(request: AuthenticatedRequest) -> Actor:
    return request.user.actor(client_address(request))


def page_of(plan: DeploymentPlan) -> str:
    """The page that fits the plan's state."""
    if plan.status != PlanStatus.SAVED:
        name = "progress"
    elif plan.source_id is None:
        name = "review"  # what an uploaded package brings is not chosen
    else:
        name = "edit"
    return reverse(f"plans:{name}", args=[plan.key])


def started(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse | None:
    """Where to go instead of the pages on which a plan is edited, once it has been started."""
    if plan.status == PlanStatus.SAVED:
        return None
    messages.info(request, f"{plan} cannot be edited any more: {told(plan)}")
    return leave(request, resolve_url("plans:progress", plan.key))


def open_to(user: User) -> list[Environment]:
    """The registered environments to which the person has access, in pipeline order."""
    held = policy.held_by(user)
    found = Environment.objects.registered().in_order().select_related("maintenance_window")
    return [one for one in found if held.best_level(one) >= Level.ACCESS]


STEPS = (
    ("edit", "Select applications"),
    ("configure", "Configure settings"),
    ("review", "Review"),
    ("progress", "Execute"),
)


def steps(plan: DeploymentPlan, current: str) -> Sequence[dict[str, Any]]:
    """The four steps of a plan, of which one is shown."""
    is_saved = plan.status == PlanStatus.SAVED
    names = [name for name, _ in STEPS]
    return [
        {
            "name": label,
            "is_current": name == current,
            "is_done": place < names.index(current) or not is_saved,
            "url": reverse(f"plans:{name}", args=[plan.key])
            if name != current and is_saved == (name != "progress") and (plan.source_id or name != "edit")
            else "",
        }
        for place, (name, label) in enumerate(STEPS)
    ]
