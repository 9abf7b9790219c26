"""The Applications page: applications x environments, and what moves on it."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from django_htmx.http import trigger_client_event

from environments import filters, matrix
from environments.operations import Operation
from environments.views.answers import CHANGED
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest

BROUGHT = "applications-brought"  # a synchronization brought something: the rows look again
LONGEST_NAME = 120


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
        "query": urlencode(query),
        "search": urlencode({name: value for name, value in query.items() if name != "page"}),
        "may_create": any(sight.permissions.may_create_applications(one) for one in seen),
        "may_view_infrastructure": policy.may(request.user, Action.VIEW_INFRASTRUCTURE),
        "changed": CHANGED,
        "brought": BROUGHT,
    }


def _page(request: AuthenticatedRequest) -> dict[str, Any]:
    context = _heads(request)
    number = request.GET.get("page", "")
    context["page"] = matrix.page(
        context["sight"],
        context["columns"].environments,
        name=context["name"],
        number=int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 1,
    )
    return context
