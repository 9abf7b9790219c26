"""The second step of a plan: settings that the target would have no value for."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from deployments import plan_settings, plans
from deployments.forms import MissingSettingsForm, RevisionForm
from deployments.models import DeploymentPlan, PlanStatus
from deployments.plan_settings import Reading
from deployments.plans import PlanRefused
from deployments.views.objects import actor, started, steps
from environments.operations import Operation
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest


@require_safe
def configure(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    if elsewhere := started(request, plan):
        return elsewhere
    found = plan_settings.reading(plan)
    if request.htmx:
        return _progress(request, plan, found)
    shown = _shown(request, plan, found)
    return _page(
        request, plan, shown, MissingSettingsForm(shown.settings), hidden=len(found.settings) - len(shown.settings)
    )


def _shown(request: AuthenticatedRequest, plan: DeploymentPlan, found: Reading) -> Reading:
    """Without the values of applications whose settings this person may not change in the target: nor are they shown
    elsewhere. Maintenance mode hides nothing."""
    may_change = set()
    for one in plan.operations.all():
        if one.application:
            change = Operation.CHANGE_APPLICATION_SETTINGS
            decision = policy.may(request.user, change, plan.target, application=one.application)
            if decision or decision.is_temporary:
                may_change.add(one.application_key)
    return replace(found, settings=[one for one in found.settings if one.application_key in may_change])


def _progress(request: AuthenticatedRequest, plan: DeploymentPlan, found: Reading) -> HttpResponse:
    if not found.is_moving:
        return HttpResponseClientRefresh()  # what was waited for is there
    return render(request, "deployments/_reading.html", {"plan": plan, "reading": found})


def _page(
    request: AuthenticatedRequest,
    plan: DeploymentPlan,
    found: Reading,
    form: MissingSettingsForm,
    *,
    problems: list[str] | None = None,
    hidden: int = 0,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "plan": plan,
        "steps": steps(plan, "configure"),
        "reading": found,
        "form": form,
        "missing": [line for line in form.lines if line[0].is_missing],
        "others": [line for line in form.lines if not line[0].is_missing],
        "problems": problems or [],
        "hidden": hidden,
        "with_errors": "with_errors" in request.GET,
        "may_configure": policy.may_on_plan(request.user, Operation.OPERATE_PLANS, plan),
    }
    return render(request, "deployments/configure.html", context, status=status)


@require_POST
def read_settings(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Operation.OPERATE_PLANS)
    if plan.status == PlanStatus.NEEDS_USER_INTERVENTION:  # it waits for settings that nobody has read
        plan_settings.request(plan, plan_settings.reading(plan), by=actor(request), again=True)
        return redirect("plans:progress", plan.key)
    if elsewhere := started(request, plan):
        return elsewhere
    plan_settings.request(plan, plan_settings.reading(plan), by=actor(request), again=True)
    return redirect("plans:configure", plan.key)


@sensitive_post_parameters()
@require_POST
def set_settings(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Operation.OPERATE_PLANS)
    if elsewhere := started(request, plan):
        return elsewhere
    found = plan_settings.reading(plan)
    form = MissingSettingsForm(found.settings, request.POST)
    revision = RevisionForm(request.POST)
    status = 422
    problems = []
    if not revision.is_valid() or request.POST.get("settings") != str(len(found.settings)):
        problems.append("The settings have changed since you opened this page. Look at them as they are now.")
    elif form.is_valid():
        try:
            documents = plan_settings.documents(plan, found.settings, form.values())
            plans.set_settings(plan, documents, by=actor(request), revision=revision.cleaned_data["revision"])
            messages.success(request, "The settings are kept; they are applied with the deployment.")
            query = "?with_errors=1" if request.POST.get("with_errors") else ""
            return redirect(f"{resolve_url('plans:review', plan.key)}{query}")
        except ValidationError as refusal:
            problems += refusal.messages
        except PlanRefused as refusal:
            problems.append(str(refusal))
            status = 409
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    return started(request, plan) or _page(request, plan, found, form, problems=problems, status=status)
