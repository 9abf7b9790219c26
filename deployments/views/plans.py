"""The list of deployment plans, making one, and the way to the page that fits a plan's state."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from deployments import listing, plans, proposals
from deployments.forms import CreatePlanForm, FilterForm
from deployments.models import DeploymentPlan
from deployments.views.objects import actor, open_to, page_of
from environments import gate
from environments.models import Environment
from environments.views.answers import leave
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest


@require_safe
def deployment_plans(request: AuthenticatedRequest) -> HttpResponse:
    held = policy.held_by(request.user)
    environments = list(Environment.objects.in_order().select_related("maintenance_window"))
    seen = [one for one in environments if held.best_level(one)]
    form = FilterForm(request.GET, targets=seen)
    page = None
    if form.is_valid():
        plans_seen = listing.visible(held, environments)
        page = listing.page(plans_seen, form.wanted, environments, before=form.cleaned_data["before"])
    filter_ = form.in_force
    shown = page.entries if page else []
    context = {
        "form": form,
        "page": page,
        "filter": urlencode(filter_),
        "is_filtered": bool(filter_),
        "may_create": policy.may_create_plans(request.user, seen),
        "rows": [(one, policy.may_on_plan(request.user, Action.EDIT_PLANS, one.plan)) for one in shown],
    }
    return render(request, "deployments/plans.html", context, status=200 if page else 422)


@require_safe
def plan(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    return redirect(page_of(policy.get_plan(request.user, key, Action.PREPARE_PLANS)))


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest) -> HttpResponse:
    """In the dialog, or as a page: from where to where."""
    environments = open_to(request.user)
    if request.method == "POST":
        form = CreatePlanForm(request.POST, environments=environments)
        if form.is_valid():
            try:
                made = _create(request, form)
                return leave(request, page_of(made))
            except ValidationError as refusal:
                form.add_error(None, refusal)
            except gate.NotRegistered as refusal:
                form.add_error(None, str(refusal))
        return _create_page(request, form, environments, status=422)
    initial = {name: request.GET.get(name, "") for name in ("source", "target", "application")}
    initial.update(_route(environments, initial["source"], initial["target"]))
    return _create_page(request, CreatePlanForm(initial=initial, environments=environments), environments)


def _route(environments: list[Environment], source: str, target: str) -> dict[str, str]:
    """Where a plan may go: what is not given is what is before the target, or behind the source, in the pipeline."""
    keys = [str(one.key) for one in environments]
    if source not in keys and target in keys:
        place = keys.index(target)
        source = keys[place - 1] if place else "".join(keys[1:2])
    elif source not in keys:
        source = "".join(keys[:1])
    if target not in keys and source:
        target = keys[min(keys.index(source) + 1, len(keys) - 1)]
    return {"source": source, "target": target}


def _create(request: AuthenticatedRequest, form: CreatePlanForm) -> DeploymentPlan:
    source, target = form.cleaned_data["source"], form.cleaned_data["target"]
    policy.require(request.user, Action.EDIT_PLANS, source, target)
    wanted, begins = form.cleaned_data["application"], form.cleaned_data.get("begin", False)
    keys = [wanted] if wanted else None
    found = proposals.candidates(source, target, policy.held_by(request.user), keys=keys)
    chosen = found if wanted else [one for one in found if begins and one.is_proposed]
    made = plans.create(source, target, by=actor(request), choices=[one.choice(one.default) for one in chosen])
    if begins and not chosen:
        messages.info(request, f"{target} has everything of {source} already; nothing is proposed.")
    return made


def _create_page(
    request: AuthenticatedRequest, form: CreatePlanForm, environments: list[Environment], *, status: int = 200
) -> HttpResponse:
    context: dict[str, Any] = {
        "form": form,
        "may_create": policy.may_create_plans(request.user, environments),
        "closed": [one for one in environments if one.is_in_maintenance],
        "list_url": reverse("plans:list"),
    }
    name = "deployments/_create.html" if request.htmx else "deployments/create.html"
    return render(request, name, context, status=status)
