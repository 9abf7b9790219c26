"""What is done with a plan as a whole: called otherwise, discarded, made anew from one that has ended."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.http import require_POST, require_safe

from deployments import plans
from deployments.forms import RelabelForm, ReuseForm
from deployments.models import DeploymentPlan
from deployments.plans import PlanRefused
from deployments.views.objects import actor, open_to, page_of, started
from environments.views.answers import leave
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest


@require_safe
def relabel_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    if not request.htmx:
        return redirect(page_of(plan))
    return render(request, "deployments/_relabel.html", {"plan": plan, "form": RelabelForm({"label": plan.label})})


@require_POST
def relabel(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    form = RelabelForm(request.POST)
    if form.is_valid():
        try:
            plans.relabel(plan, form.cleaned_data["label"], by=actor(request))
            return leave(request, page_of(plan))
        except ValidationError as refusal:
            form.add_error(None, refusal)
    return render(request, "deployments/_relabel.html", {"plan": plan, "form": form}, status=422)


@require_safe
def discard_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    if elsewhere := started(request, plan):
        return elsewhere
    if not request.htmx:
        return redirect(page_of(plan))
    return render(request, "deployments/_discard.html", {"plan": plan})


@require_POST
def discard(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    plans.discard(plan, by=actor(request))
    messages.success(request, f"{plan} is discarded.")
    return leave(request, resolve_url("plans:list"))


@require_POST
def retry(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    draft, words = plans.retry(plan, by=actor(request))
    messages.info(request, f"{draft} does what {plan} did. Adjust it, then validate it.")
    for text in words:
        messages.warning(request, text)
    return redirect(page_of(draft))


@require_safe
def reuse_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """Its target is proposed as the source of the new plan, and the environment behind it as the target."""
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    if not request.htmx:
        return redirect(page_of(plan))
    environments = open_to(request.user)
    others = [one for one in environments if one.pk != plan.target_id]
    behind = [one for one in others if one.position > plan.target.position] or others
    initial = {"source": str(plan.target.key), "target": str(behind[0].key) if behind else ""}
    return _reuse_dialog(request, plan, ReuseForm(initial=initial, environments=environments))


def _reuse_dialog(
    request: AuthenticatedRequest, plan: DeploymentPlan, form: ReuseForm, *, status: int = 200
) -> HttpResponse:
    return render(request, "deployments/_reuse.html", {"plan": plan, "form": form}, status=status)


@require_POST
def reuse(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    form = ReuseForm(request.POST, environments=open_to(request.user))
    if form.is_valid():
        values = form.cleaned_data
        policy.require(request.user, Action.EDIT_PLANS, values["source"], values["target"])
        try:
            draft, words = plans.reuse(
                plan,
                by=actor(request),
                source=values["source"],
                target=values["target"],
                same_versions=values["same_versions"],
            )
            for text in words:
                messages.warning(request, text)
            return leave(request, page_of(draft))
        except ValidationError as refusal:
            form.add_error(None, refusal)
        except PlanRefused as refusal:
            form.add_error(None, str(refusal))
    return _reuse_dialog(request, plan, form, status=422)
