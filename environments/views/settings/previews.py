"""Technical Preview: a toggle per feature and environment."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from environments import previews as rules
from environments.models import Environment
from environments.operations import Operation
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address


@require_http_methods(["GET", "HEAD", "POST"])
def previews(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.VIEW_INFRASTRUCTURE)
    if request.method == "POST":
        return _save(request)
    return _page(request)


def _save(request: AuthenticatedRequest) -> HttpResponse:
    """Each box is sent twice: `was` as the page had it, `on` as it is. So two people who save at once keep both."""
    was, on = set(request.POST.getlist("was")), set(request.POST.getlist("on"))
    try:
        wanted: dict[tuple[int, str], bool] = {}
        for toggle in sorted(was ^ on):
            environment, feature = _read(request, toggle)
            wanted[environment.pk, feature] = toggle in on
        count = rules.change(wanted, by=request.user.actor(client_address(request)))
    except ValidationError as refusal:
        return _page(request, errors=refusal.messages, status=422)
    if count:
        messages.success(request, f"{count} toggle{'s' if count > 1 else ''} saved; the environments will get it.")
    else:
        messages.info(request, "Nothing was changed.")
    return redirect("settings:previews")


def _read(request: AuthenticatedRequest, toggle: str) -> tuple[Environment, str]:
    """The environment and the feature of `<environment key>/<feature key>`."""
    text, _, feature = toggle.partition("/")
    try:
        key = UUID(text)
    except ValueError:
        raise ValidationError("There is no such toggle. Load the page again.") from None
    return policy.get_environment(request.user, key, Operation.TOGGLE_TECHNICAL_PREVIEWS), feature


def _page(request: AuthenticatedRequest, *, errors: list[str] | None = None, status: int = 200) -> HttpResponse:
    features = rules.features()
    places = features[0].places if features else []
    decisions = {
        place.environment.pk: policy.may(request.user, Operation.TOGGLE_TECHNICAL_PREVIEWS, place.environment)
        for place in places
    }
    context: dict[str, Any] = {
        "errors": errors or [],
        "environments": [place.environment for place in places],
        "refusals": [(place.environment, decisions[place.environment.pk].reason) for place in places]
        if not all(decisions.values())
        else [],
        "rows": [
            (feature, [(place, decisions[place.environment.pk]) for place in feature.places]) for feature in features
        ],
        "may_save": any(decisions.values()),
    }
    return render(request, "environments/settings/previews.html", context, status=status)
