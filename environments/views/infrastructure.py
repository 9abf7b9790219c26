"""The Infrastructure page: all environments at a glance, and what is done to one from there."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from environments import overview, registry, sync
from environments.forms import MoveForm
from environments.operations import Operation
from environments.overview import State
from environments.views.answers import CHANGED, changed
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address

CARDS_AT_MOST = 60  # more environments are shown as tiles
FILTER_FROM = 13  # fewer environments need no search


@require_safe
def infrastructure(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.VIEW_INFRASTRUCTURE)
    return render(request, "environments/infrastructure.html", _context(request))


@require_safe
def cards(request: AuthenticatedRequest) -> HttpResponse:
    """The part of the page that it asks for again and again."""
    policy.require(request.user, Action.VIEW_INFRASTRUCTURE)
    return render(request, "environments/_cards.html", _context(request))


def _context(request: AuthenticatedRequest) -> dict[str, Any]:
    rows = overview.rows()
    text, state = request.GET.get("name", "").strip(), request.GET.get("state", "")
    state = state if state in State.values else ""
    is_filtered = bool(text or state)
    shown = [
        (place, row)
        for place, row in enumerate(rows)
        if text.casefold() in row.name.casefold() and (not state or row.state == state)
    ]
    is_dense = len(shown) > CARDS_AT_MOST
    may_register = policy.may(request.user, Action.REGISTER_ENVIRONMENT)
    query = urlencode({name: value for name, value in {"name": text, "state": state}.items() if value})
    return {
        "title": "Environments" if overview.has_cloud(rows) else "Infrastructure",
        "total": len(rows),
        "shown": len(shown),
        "counts": [(one, number) for one, number in overview.count(rows).items()],
        "cards": [] if is_dense else _with_decisions(request, shown),
        "tiles": overview.tiles(row for _, row in shown) if is_dense else [],
        "has_filter": is_filtered or len(rows) >= FILTER_FROM,
        "is_filtered": is_filtered,
        "name": text,
        "state": state,
        "query": f"?{query}" if query else "",
        "changed": CHANGED,
        "may_register": may_register,
        "may_view_audit_log": policy.may(request.user, Action.VIEW_AUDIT_LOG),
        "proposals": overview.proposals() if may_register else [],
    }


def _with_decisions(request: AuthenticatedRequest, shown: list[tuple[int, overview.Row]]) -> list[dict[str, Any]]:
    found = overview.cards(shown)
    reorder = policy.may(request.user, Action.REORDER_ENVIRONMENTS)
    return [
        {
            "card": card,
            "environment": card.environment,
            "may_synchronize": policy.may(request.user, Operation.SYNCHRONIZE, card.environment),
            "may_reorder": reorder,
            "next": following.environment if following else None,
        }
        for card, following in zip(found, [*found[1:], None], strict=False)
    ]


@require_POST
def synchronize(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Operation.SYNCHRONIZE)
    sync.request(environment, by=request.user.actor(client_address(request)))
    if not request.htmx:
        messages.success(request, f"The synchronization of {environment} is queued.")
    return changed(request, environment.get_absolute_url())


@require_POST
def move(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.REORDER_ENVIRONMENTS)
    form = MoveForm(request.POST)
    if not form.is_valid():
        return HttpResponse("Say the place to move to, 0 being the leftmost.", status=422, content_type="text/plain")
    registry.move(environment, to=form.cleaned_data["to"], by=request.user.actor(client_address(request)))
    return changed(request, "environments:list")
