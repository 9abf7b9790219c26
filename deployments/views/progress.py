"""The fourth step of a plan: how far it is, what it waits for, how it ended."""

from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from audit import paging
from deployments import plan_settings, plans
from deployments.forms import AbortForm, MissingSettingsForm
from deployments.models import (
    DeploymentPlan,
    Information,
    LineType,
    PlanLine,
    PlanStatus,
    PlanStep,
    Remote,
    StepName,
    StepState,
    TargetState,
)
from deployments.plans import PlanRefused
from deployments.states import WrongState
from deployments.views.objects import actor, page_of, steps
from environments.operations import Operation
from environments.views.answers import leave
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest

LINES_SHOWN = 300  # the latest; beside them what went wrong before
TROUBLES_SHOWN = 100
LONGEST_LOG = 100_000
TARGET_STATES = {
    TargetState.UNCHANGED: "{target} is as it was before: nothing of the plan was switched over.",
    TargetState.CHANGED: "{target} has changed: the new versions were switched over.",
    TargetState.UNKNOWN: "What {target} has is not certain: the console could not hear how it ended there. "
    "The next synchronization tells.",
}


@require_safe
def progress(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    if plan.status == PlanStatus.SAVED:
        return redirect(page_of(plan))
    context = {
        **_live(request, plan),
        "steps": steps(plan, "progress"),
        "operations": list(plan.operations.all()),
        "history": _history(request, plan),
        "may_relabel": policy.may_on_plan(request.user, Action.EDIT_PLANS, plan),
    }
    return render(request, "deployments/progress.html", context)


@require_safe
def live(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The part of the page that it asks for again and again until the plan has ended; the end brings the history."""
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    history = None if plan.is_in_progress else _history(request, plan)
    context = {**_live(request, plan), "history": history, "brings_history": history is not None}
    return render(request, "deployments/_live.html", context)


def _history(request: AuthenticatedRequest, plan: DeploymentPlan) -> paging.History | None:
    return paging.history(plan.audit_object) if policy.may(request.user, Action.VIEW_AUDIT_LOG) else None


def _live(request: AuthenticatedRequest, plan: DeploymentPlan) -> dict[str, Any]:
    lines, is_cut = _lines(plan)
    first_trouble: dict[str, int] = {}
    for one in lines:
        if one.type != LineType.INFO:
            first_trouble.setdefault(one.step, one.line)
    may_operate = policy.may_on_plan(request.user, Operation.OPERATE_PLANS, plan)
    carried_out = {one.name: one for one in plan.steps.all()}
    waits = plan.status == PlanStatus.NEEDS_USER_INTERVENTION
    settings = plan_settings.answering(plan) if waits and plan.information == Information.CONFIGURATION else []
    return {
        "plan": plan,
        "stages": [
            (carried_out.get(name) or PlanStep(name=name, state=StepState.WAITING), first_trouble.get(name))
            for name in StepName
        ],
        "transferred": _transferred(plan),
        "lines": lines,
        "is_cut": is_cut,
        "waits": waits,
        "every": "1s" if plan.status in (PlanStatus.RUNNING, PlanStatus.ABORTING) else "3s",
        # The far side of an aborted plan may still be told to stop; how the target is comes after that.
        "is_moving": plan.is_in_progress or (plan.status == PlanStatus.ABORTED and plan.remote == Remote.STARTED),
        "settings": settings,
        "unknown_settings": any(one["kind"] == "missing_setting" for one in plan.interventions)
        and waits
        and not settings,
        "may_operate": may_operate,
        "may_abort": _may_abort(plan, may_operate),
        "may_again": policy.may_on_plan(request.user, Action.EDIT_PLANS, plan),
        "target_state": TARGET_STATES[TargetState(plan.target_state)].format(target=plan.target),
        "window_url": reverse("environments:window", args=[plan.window.environment.key, plan.window.key])
        if plan.window and policy.may(request.user, Action.VIEW_INFRASTRUCTURE)
        else "",
    }


def _lines(plan: DeploymentPlan) -> tuple[list[PlanLine], bool]:
    """The latest lines of the log, and before them the warnings and errors; whether anything is left out."""
    latest = list(plan.lines.order_by("-line")[: LINES_SHOWN + 1])[::-1]
    if len(latest) <= LINES_SHOWN:
        return latest, False
    latest = latest[1:]
    troubles = plan.lines.exclude(type=LineType.INFO).filter(line__lt=latest[0].line).order_by("line")
    return [*troubles[:TROUBLES_SHOWN], *latest], True


def _transferred(plan: DeploymentPlan) -> tuple[int, int]:
    """Bytes that have arrived at the target, and all of those that are known."""
    deployed = [one for one in plan.operations.all() if one.is_deployed]
    return sum(one.transferred_bytes for one in deployed), sum(one.package_bytes or 0 for one in deployed)


def _may_abort(plan: DeploymentPlan, may_operate: Decision) -> Decision:
    if may_operate and not plan.can_abort and plan.status == PlanStatus.RUNNING:
        return Decision(False, f"“{StepName(plan.step).label}” must come to its end; that takes a moment.")
    return may_operate


@require_safe
def log(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The whole log as text, to keep."""
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    lines = plan.lines.order_by("line")[:LONGEST_LOG].values_list("line", "at", "type", "step", "message")
    text = "".join(
        f"{line}\t{at:%Y-%m-%dT%H:%M:%S}Z\t{type_}\t{step}\t{' '.join(message.split())}\n"
        for line, at, type_, step, message in lines.iterator()
    )
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="deployment-plan-{plan.number}.log"'
    return response


# Continue, abort


@require_safe
def continue_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Operation.OPERATE_PLANS)
    if not request.htmx or plan.status != PlanStatus.NEEDS_USER_INTERVENTION:
        return leave(request, resolve_url("plans:progress", plan.key))
    return _continue_dialog(request, plan, MissingSettingsForm(_asked(plan)))


def _asked(plan: DeploymentPlan) -> list[plan_settings.Wanted]:
    return plan_settings.answering(plan) if plan.information == Information.CONFIGURATION else []


def _continue_dialog(
    request: AuthenticatedRequest, plan: DeploymentPlan, form: MissingSettingsForm, *, status: int = 200
) -> HttpResponse:
    return render(request, "deployments/_continue.html", {"plan": plan, "form": form}, status=status)


@sensitive_post_parameters()
@require_POST
def continue_(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Operation.OPERATE_PLANS)
    asked = _asked(plan)
    form = MissingSettingsForm(asked, request.POST)
    if form.is_valid():
        given = plan_settings.documents(plan, asked, form.values())
        kept = {key: document for key, document in given.items() if document}
        merged = plan_settings.merged(plan, kept)
        try:
            plans.continue_(plan, by=actor(request), information=request.POST.get("information", ""), settings=merged)
            return leave(request, resolve_url("plans:progress", plan.key))
        except ValidationError as refusal:
            form.add_error(None, refusal)
    return _continue_dialog(request, plan, form, status=422)


@require_safe
def abort_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Operation.OPERATE_PLANS)
    if not request.htmx or not plan.is_in_progress:
        return leave(request, resolve_url("plans:progress", plan.key))
    return render(request, "deployments/_abort.html", {"plan": plan, "form": AbortForm()})


@require_POST
def abort(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Operation.OPERATE_PLANS)
    form = AbortForm(request.POST)
    status = 422
    if form.is_valid():
        try:
            plans.abort(plan, by=actor(request), reason=form.cleaned_data["reason"])
            return leave(request, resolve_url("plans:progress", plan.key))
        except (PlanRefused, WrongState) as refusal:
            form.add_error(None, str(refusal))
            status = 409
    return render(request, "deployments/_abort.html", {"plan": plan, "form": form}, status=status)
