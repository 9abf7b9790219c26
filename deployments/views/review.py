"""The third step of a plan: what it will do, notes, and the start."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from deployments import plans
from deployments.forms import NotesForm, RevisionForm, StartForm
from deployments.models import DeploymentPlan, PlanDependent, PlanOperation, Severity
from deployments.occupation import Occupied
from deployments.plans import PlanRefused
from deployments.views.objects import actor, started, steps
from environments import versions
from environments.models import Application, ApplicationVersion
from environments.operations import Operation
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest


@require_safe
def review(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    return started(request, plan) or _page(request, plan, with_errors="with_errors" in request.GET)


def _page(
    request: AuthenticatedRequest,
    plan: DeploymentPlan,
    *,
    with_errors: bool = False,
    form: NotesForm | None = None,
    problems: Sequence[str] = (),
    status: int = 200,
) -> HttpResponse:
    dependents = list(plan.dependents.order_by("application_name", "pk"))
    known = _known(dependents)
    removals = list(plan.removals.order_by("application_name", "module_name", "pk"))
    found = list(plan.findings.order_by("position", "pk")) if plan.is_validated else []
    errors = [one for one in found if one.severity == Severity.ERROR]
    if form is None:
        form = StartForm(initial={"label": plan.label, "notes": plan.notes}, has_removals=bool(removals))
    elif removals and not isinstance(form, StartForm):
        form = StartForm(form.data, has_removals=True)
    context: dict[str, Any] = {
        "plan": plan,
        "steps": steps(plan, "review"),
        "operations": list(plan.operations.all()),
        "deployed": sum(one.is_deployed for one in plan.operations.all()),
        "dependents": [(one, _may_republish(request, plan, one, known)) for one in dependents],
        "removals": removals,
        "findings": found,
        "errors": errors,
        "with_errors": with_errors,
        "form": form,
        "problems": problems,
        "may_edit": policy.may_on_plan(request.user, Action.EDIT_PLANS, plan),
        "may_start": _may_start(request, plan, errors=bool(errors) and not with_errors),
    }
    return render(request, "deployments/review.html", context, status=status)


def _may_start(request: AuthenticatedRequest, plan: DeploymentPlan, *, errors: bool) -> Decision:
    """Whether this person may, then whether the plan is ready."""
    decision = policy.may_on_plan(request.user, Operation.DEPLOY, plan)
    if not decision:
        return decision
    if not any(one.is_deployed for one in plan.operations.all()):
        return Decision(False, "The plan does nothing: add applications to deploy.")
    if plan.is_being_validated:
        return Decision(False, "The plan is being validated. Wait until that has ended.")
    if not plan.is_validated:
        return Decision(False, "The plan is not validated as it is now. Validate it first.")
    if errors:
        return Decision(False, "Validation found errors. Fix them in the selection, or continue with errors.")
    return policy.ALLOWED


def _known(dependents: Sequence[PlanDependent]) -> dict[UUID, Application]:
    found = Application.objects.filter(key__in=[one.application_key for one in dependents])
    return {one.key: one for one in found}


def _may_republish(
    request: AuthenticatedRequest, plan: DeploymentPlan, one: PlanDependent, known: dict[UUID, Application]
) -> Decision:
    application = known.get(one.application_key)
    if application is None:
        return policy.ALLOWED  # it is gone; there is nothing to republish
    return policy.may(request.user, Operation.DEPLOY, plan.target, application=application)


@require_POST
def save_notes(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """Save Plan & Notes."""
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    if elsewhere := started(request, plan):
        return elsewhere
    form = NotesForm(request.POST)
    problems, status = _keep(request, plan, form)
    if not status:
        messages.success(request, f"{plan} is saved. Whoever may deploy to {plan.target} can run it.")
        return redirect("plans:review", plan.key)
    return _again(request, key, form, problems, status)


@require_POST
def start(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """Deploy Now, or Prepare Deployment."""
    plan = policy.get_plan(request.user, key, Operation.DEPLOY)
    if elsewhere := started(request, plan):
        return elsewhere
    has_removals = plan.removals.exists()
    form = StartForm(request.POST, has_removals=has_removals)
    _require_dependents(request, plan)
    problems, status = _keep(request, plan, form)
    if not status:
        try:
            plans.start(
                plan,
                by=actor(request),
                revision=plan.revision,
                continue_with_errors=bool(request.POST.get("with_errors")),
                accept_module_removal=has_removals,
            )
            return redirect("plans:progress", plan.key)
        except (PlanRefused, Occupied) as refusal:
            problems, status = [str(refusal)], 409
    return _again(request, key, form, problems, status)


def _keep(request: AuthenticatedRequest, plan: DeploymentPlan, form: NotesForm) -> tuple[list[str], int]:
    """Save label, notes and the dependents that were ticked; problems and their status when that is refused."""
    revision = RevisionForm(request.POST)
    if not form.is_valid() or not revision.is_valid():
        return [], 422
    values = form.cleaned_data
    try:
        plans.save(
            plan,
            by=actor(request),
            revision=revision.cleaned_data["revision"],
            label=values["label"],
            notes=values["notes"],
        )
        if request.POST.get("dependents"):
            wanted = set(request.POST.getlist("dependent"))
            shown = plan.dependents.values_list("application_key", flat=True)
            chosen = [key for key in shown if str(key) in wanted]
            plan.revision = plans.select_dependents(plan, chosen, by=actor(request)).revision  # raised by this person
    except ValidationError as refusal:
        form.add_error(None, refusal)
        return [], 422
    except PlanRefused as refusal:
        return [str(refusal)], 409
    return [], 0


def _require_dependents(request: AuthenticatedRequest, plan: DeploymentPlan) -> None:
    """Raise PermissionDenied when the person may not republish what was ticked: now, or before when nothing is said."""
    wanted = request.POST.getlist("dependent")
    is_said = bool(request.POST.get("dependents"))
    found = plan.dependents.order_by("pk")
    ticked = [one for one in found if (str(one.application_key) in wanted if is_said else one.is_selected)]
    for application in _known(ticked).values():
        policy.require(request.user, Operation.DEPLOY, plan.target, application=application)


def _again(
    request: AuthenticatedRequest, key: UUID, form: NotesForm, problems: Sequence[str], status: int
) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    with_errors = bool(request.POST.get("with_errors"))
    page = started(request, plan)
    return page or _page(request, plan, with_errors=with_errors, form=form, problems=problems, status=status)


# What comes with it


@require_safe
def change_log(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """What comes to the target: the descriptions of every version that it does not have yet."""
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    operations = [one for one in plan.operations.all() if one.is_deployed]
    told = ApplicationVersion.objects.filter(application__in=[one.application_id for one in operations])
    by_application: dict[int, list[ApplicationVersion]] = {}
    for version in told.order_by("pk"):
        by_application.setdefault(version.application_id, []).append(version)
    found = [(one, _news(one, by_application.get(one.application_id or 0, []))) for one in operations]
    return render(request, "deployments/change_log.html", {"plan": plan, "operations": found})


def _news(operation: PlanOperation, known: Sequence[ApplicationVersion]) -> list[ApplicationVersion]:
    """The versions above that of the target, up to the one that is deployed, newest first."""
    least, most = versions.order(operation.target_version), versions.order(operation.version_number)
    between = [one for one in known if least < versions.order(one.version) <= most]
    return sorted(between, key=lambda one: (versions.order(one.version), one.pk), reverse=True)
