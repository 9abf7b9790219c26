"""The Applications page: applications x environments, and what moves on it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe
from django_htmx.http import trigger_client_event

from deployments import listing
from deployments.models import DeploymentPlan
from environments import filters, matrix
from environments.models import Environment
from environments.operations import Operation
from environments.views.answers import CHANGED
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest

BROUGHT = "applications-brought"  # a synchronization brought something: the rows look again
LONGEST_NAME = 120


@dataclass(frozen=True, kw_only=True)
class PlanHead:
    """What a column tells of deployments to its environment."""

    target: Environment
    source: Environment | None  # the environment before it
    plan: DeploymentPlan | None
    may_deploy: Decision

    @property
    def create_url(self) -> str:
        """Of the dialog in which a plan from the one to the other is made."""
        route = {"source": self.source.key if self.source else "", "target": self.target.key}
        return f"{reverse('plans:create')}?{urlencode(route)}"

    @property
    def to(self) -> str:
        return f"to {self.target}"

    @property
    def of(self) -> str:
        return f"of {self.target}"


@require_safe
def applications(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    return render(request, "applications/applications.html", _page(request))


@require_safe
def rows(request: AuthenticatedRequest) -> HttpResponse:
    """The matrix anew, after a synchronization brought something."""
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    return render(request, "applications/_matrix.html", _page(request))


@require_safe
def heads(request: AuthenticatedRequest) -> HttpResponse:
    """The heads of the columns, which the page asks for again and again."""
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    context = _heads(request)
    response = render(request, "applications/_heads.html", context)
    if request.GET.get("stamp", "") != context["columns"].stamp:
        trigger_client_event(response, BROUGHT)
    return response


def _heads(request: AuthenticatedRequest) -> dict[str, Any]:
    sight = matrix.Sight.of(request.user)
    seen = sight.environments
    own = filters.of(request.user)
    chosen = filters.chosen(own, request.GET.get("filter", ""))
    wanted = {one.pk for one in chosen.environments.all()} if chosen else set()
    shown = [one for one in seen if not chosen or one.pk in wanted]
    columns = matrix.columns(shown[: matrix.COLUMNS_AT_MOST])
    asked = {
        "name": request.GET.get("name", "").strip().replace("\0", "")[:LONGEST_NAME],
        "filter": request.GET.get("filter", ""),
        "team": request.GET.get("team", ""),
        "page": request.GET.get("page", ""),
    }
    query = {name: value for name, value in asked.items() if value}
    return {
        "sight": sight,
        "pipeline": seen,
        "columns": columns,
        "hidden": len(shown) - len(columns),
        "heads": [(column, policy.may(request.user, Operation.SYNCHRONIZE, column.environment)) for column in columns],
        "filters": own,
        "chosen": chosen,
        "name": asked["name"],
        "asked_team": asked["team"],
        "query": urlencode(query),
        "search": urlencode({name: value for name, value in query.items() if name != "page"}),
        "plan_heads": _plan_heads(request, sight, columns),
        "may_create_plan": policy.may_create_plans(request.user, sight.pipeline, permissions=sight.permissions),
        "may_create": any(sight.permissions.may_create_applications(one) for one in seen),
        "may_view_infrastructure": policy.may(request.user, Action.VIEW_INFRASTRUCTURE),
        "changed": CHANGED,
        "brought": BROUGHT,
    }


def _plan_heads(request: AuthenticatedRequest, sight: matrix.Sight, columns: matrix.Columns) -> dict[int, PlanHead]:
    """For each environment the newest plan to it, and whether one may be made from the environment before it."""
    newest = listing.latest(sight.permissions, columns.environments, sight.pipeline)
    shown = {one.pk for one in columns.environments}
    before: Environment | None = None
    found = {}
    for one in sight.pipeline:
        if one.pk in shown:
            route = [before, one] if before else [one]
            decision = policy.may(request.user, Action.EDIT_PLANS, *route, permissions=sight.permissions)
            found[one.pk] = PlanHead(target=one, source=before, plan=newest.get(one.pk), may_deploy=decision)
        before = one
    return found


def _page(request: AuthenticatedRequest) -> dict[str, Any]:
    context = _heads(request)
    number = request.GET.get("page", "")
    context["teams"] = matrix.teams(context["sight"])
    context["team"] = next((one for one in context["teams"] if str(one.key) == context["asked_team"]), None)
    context["page"] = matrix.page(
        context["sight"],
        context["columns"].environments,
        name=context["name"],
        team=context["team"],
        number=int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 1,
    )
    return context
