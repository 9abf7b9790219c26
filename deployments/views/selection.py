"""The first step of a plan: which applications, and what is done with each.

The selection is one form, whichever of its buttons is pressed: what is chosen in it is kept first, then the button's
own intention is carried out.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh, reswap, retarget

from deployments import plan_settings, plans, proposals, validation
from deployments.choices import Choice, choice_of
from deployments.forms import RevisionForm, TargetForm
from deployments.models import DeploymentPlan, PlanFinding, Severity
from deployments.plans import ChangedMeanwhile, PlanRefused
from deployments.proposals import Candidate
from deployments.views.objects import actor, open_to, page_of, started, steps
from environments.models import Environment
from environments.operations import Operation
from environments.views.answers import leave
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest

More = ParamSpec("More")
Selecting = Callable[Concatenate[AuthenticatedRequest, DeploymentPlan, More], HttpResponse]
NEXT = ("review", "review-with-errors")
SHOWN = 500  # applications in the dialog to add some
SAID = 20  # what a refresh changed


@require_safe
def edit(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    return started(request, plan) or without_selection(plan) or _page(request, plan)


def without_selection(plan: DeploymentPlan) -> HttpResponse | None:
    """Where to go when there is nothing to choose: what an uploaded package brings is as it is."""
    return redirect("plans:review", plan.key) if plan.source_id is None else None


def _page(
    request: AuthenticatedRequest, plan: DeploymentPlan, *, problems: Sequence[str] = (), status: int = 200
) -> HttpResponse:
    rows = proposals.rows(plan, policy.held_by(request.user))
    may_edit = policy.may_on_plan(request.user, Action.EDIT_PLANS, plan)
    context: dict[str, Any] = {
        **_validation(request, plan),
        "steps": steps(plan, "edit"),
        "rows": rows,
        "stale": [row for row in rows if row.is_stale],
        "problems": problems,
        "may_edit": may_edit,
        "may_change": _may_change(plan, may_edit),
        "deployed": sum(row.operation.is_deployed for row in rows),
    }
    return render(request, "deployments/edit.html", context, status=status)


def _may_change(plan: DeploymentPlan, may_edit: Decision) -> Decision:
    if may_edit and plan.is_being_validated:
        return Decision(False, "The plan is being validated. It can be changed again when that has ended.")
    return may_edit


def _validation(request: AuthenticatedRequest, plan: DeploymentPlan) -> dict[str, Any]:
    """How the validation stands, and what it found, for each operation too."""
    found = list(plan.findings.order_by("position", "pk")) if plan.is_validated else []
    concerned: dict[int, list[PlanFinding]] = {}
    for one in found:
        for pk in {one.producer_operation_id, one.consumer_operation_id} - {None}:
            concerned.setdefault(pk or 0, []).append(one)
    return {
        "plan": plan,
        "findings": found,
        "findings_of": concerned,
        "errors": [one for one in found if one.severity == Severity.ERROR],
        "warnings": [one for one in found if one.severity == Severity.WARNING],
        "may_edit": policy.may_on_plan(request.user, Action.EDIT_PLANS, plan),
    }


@require_safe
def validation_state(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """What the page asks for again and again while the plan is being validated."""
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    if not plan.is_being_validated:
        return HttpResponseClientRefresh()  # with what was found, and added
    return render(request, "deployments/_validation.html", _validation(request, plan))


# Keeping what is chosen


def selecting(view: "Selecting[More]") -> Callable[..., HttpResponse]:
    """A POST of the selection: what is chosen in it is kept, then the view gets the plan as it is by then."""
    return _selecting(view, without_selection)


def _selecting(
    view: "Selecting[More]", refuse: Callable[[DeploymentPlan], HttpResponse | None]
) -> Callable[..., HttpResponse]:
    @require_POST
    @wraps(view)
    def wrapped(request: AuthenticatedRequest, key: UUID, *args: More.args, **options: More.kwargs) -> HttpResponse:
        plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
        if elsewhere := started(request, plan) or refuse(plan):
            return elsewhere
        try:
            return view(request, _keep(request, plan), *args, **options)
        except ValidationError as refusal:
            return _refused(request, key, refusal.messages, status=422)
        except PlanRefused as refusal:
            status = 409 if isinstance(refusal, ChangedMeanwhile) else 422
            return _refused(request, key, [str(refusal)], status=status)

    return wrapped


def _refused(request: AuthenticatedRequest, key: UUID, problems: Sequence[str], *, status: int) -> HttpResponse:
    if request.htmx:
        response = render(request, "lifetime/_refused.html", {"message": " ".join(problems)}, status=status)
        return reswap(retarget(response, "#dialog"), "innerHTML")
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    if elsewhere := started(request, plan):
        return elsewhere
    if plan.source_id is None:
        for problem in problems:
            messages.error(request, problem)
        return redirect("plans:review", plan.key)
    return _page(request, plan, problems=problems, status=status)


def _keep(request: AuthenticatedRequest, plan: DeploymentPlan) -> DeploymentPlan:
    """Keep what is chosen; nothing is written when that is what the plan has."""
    form = RevisionForm(request.POST)
    if not form.is_valid():
        raise ValidationError("The form came without the state of the plan that it is about. Choose again.")
    if form.cleaned_data["revision"] != plan.revision:
        raise ChangedMeanwhile(
            f"{plan} was changed since you looked at it. Look at it as it is now, then decide again."
        )
    if not any(name.startswith(("option-", "zone-")) for name in request.POST):
        return plan
    choices, changed = [], False
    for row in proposals.rows(plan, policy.held_by(request.user)):
        operation = row.operation
        zone = request.POST.get(f"zone-{operation.application_key}", operation.zone_key)
        if zone and zone != operation.zone_key and zone not in {key for key, _ in row.zones}:
            raise ValidationError(f"{plan.target} has no such zone for {operation.application_name}. Choose again.")
        choice = row.choice(request.POST.get(f"option-{operation.application_key}", ""), zone)
        if choice is None:
            raise ValidationError(
                f"What was chosen for {operation.application_name} is not possible any more. Choose again."
            )
        changed = changed or choice != choice_of(operation)
        choices.append(choice)
    if not changed:
        return plan
    plans.change(plan, choices, by=actor(request), revision=plan.revision)
    return policy.get_plan(request.user, plan.key, Action.EDIT_PLANS)


def replace_choices(request: AuthenticatedRequest, plan: DeploymentPlan, choices: Sequence[Choice]) -> HttpResponse:
    """Have the plan do this instead, and go to its selection."""
    plans.change(plan, choices, by=actor(request), revision=plan.revision)
    return leave(request, resolve_url("plans:edit", plan.key))


@selecting
def change(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    """Keep the selection; with `next` go on to the next step."""
    wanted = request.POST.get("next", "")
    if wanted not in NEXT:
        return redirect("plans:edit", plan.key)
    if not plan.is_validated:
        messages.warning(request, "The selection has changed; validate it again before you go on.")
        return redirect("plans:edit", plan.key)
    query = "?with_errors=1" if wanted == "review-with-errors" else ""
    if policy.may_on_plan(request.user, Operation.OPERATE_PLANS, plan):
        found = plan_settings.reading(plan)
        plan_settings.request(plan, found, by=actor(request))
        if not found.is_complete or found.lacking:
            return redirect(f"{resolve_url('plans:configure', plan.key)}{query}")
    return redirect(f"{resolve_url('plans:review', plan.key)}{query}")


# Which applications


@require_safe
def add_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The applications that are not in the plan: all or those that differ, searched, of a team."""
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    if elsewhere := started(request, plan) or without_selection(plan):
        return elsewhere
    if not request.htmx:
        return redirect("plans:edit", plan.key)
    others = _others(request, plan)
    text = request.GET.get("name", "").strip().replace("\0", "").casefold()
    team = request.GET.get("team", "")
    is_all = "all" in request.GET
    shown = [
        one
        for one in others
        if (is_all or one.differs) and text in f"{one.name} {one.team}".casefold() and team in ("", one.team)
    ]
    context = {
        "plan": plan,
        "others": others,
        "shown": shown[:SHOWN],
        "more": max(0, len(shown) - SHOWN),
        "teams": sorted({one.team for one in others if one.team}, key=str.casefold),
        "name": request.GET.get("name", ""),
        "team": team,
        "is_all": is_all,
    }
    name = "deployments/_add_list.html" if "filtered" in request.GET else "deployments/_add.html"
    return render(request, name, context)


def _others(request: AuthenticatedRequest, plan: DeploymentPlan) -> list[Candidate]:
    assert plan.source is not None  # noqa: S101 - for the type checker
    known = {operation.application_key for operation in plan.operations.all()}
    found = proposals.candidates(plan.source, plan.target, policy.held_by(request.user))
    return [one for one in found if one.key not in known]


@selecting
def add(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    """All applications, those that differ (`which`), those of a team, or those that were picked."""
    others = _others(request, plan)
    which, team = request.POST.get("which", ""), request.POST.get("team", "")
    picked = set(request.POST.getlist("shown" if which == "shown" else "application"))
    if which == "all":
        added = others
    elif which == "differences":
        added = [one for one in others if one.differs]
    elif team:
        added = [one for one in others if one.team == team]
    else:
        added = [one for one in others if str(one.key) in picked]
    if not added:
        messages.info(request, "There was nothing to add." if which or team else "No application was picked.")
        return leave(request, resolve_url("plans:edit", plan.key))
    return replace_choices(request, plan, proposals.with_added(plan, added))


@selecting
def remove(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    """One application, or all of them."""
    gone = request.POST.get("application", "")
    kept = [
        choice_of(operation)
        for operation in plan.operations.all()
        if gone != "all" and str(operation.application_key) != gone
    ]
    return replace_choices(request, plan, kept)


@selecting
def refresh(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    choices, words = proposals.refreshed(proposals.rows(plan, policy.held_by(request.user)))
    for text in words[:SAID]:
        messages.info(request, text)
    if not words:
        messages.info(request, "The plan is as both environments are now.")
    return replace_choices(request, plan, choices)


# Where to


@require_safe
def target_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    if elsewhere := started(request, plan):
        return elsewhere
    if not request.htmx:
        return redirect("plans:edit", plan.key)
    form = TargetForm(environments=_targets(request, plan), initial={"target": str(plan.target.key)})
    return render(request, "deployments/_target.html", {"plan": plan, "form": form})


def _targets(request: AuthenticatedRequest, plan: DeploymentPlan) -> list[Environment]:
    return [one for one in open_to(request.user) if one.pk != plan.source_id]


@selecting
def change_target(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    form = TargetForm(request.POST, environments=_targets(request, plan))
    if not form.is_valid():
        return render(request, "deployments/_target.html", {"plan": plan, "form": form}, status=422)
    target = form.cleaned_data["target"]
    policy.require(request.user, Action.EDIT_PLANS, target)
    if target.pk != plan.target_id:
        plans.change_target(plan, target, by=actor(request), revision=plan.revision)
        renewed = policy.get_plan(request.user, plan.key, Action.EDIT_PLANS)
        choices, _ = proposals.refreshed(proposals.rows(renewed, policy.held_by(request.user)))
        plans.change(renewed, choices, by=actor(request), revision=renewed.revision)
    return leave(request, resolve_url("plans:edit", plan.key))


# Validate, save


def _validate(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    validation.request(plan, by=actor(request))
    return redirect(f"{page_of(plan)}#validation")


validate = _selecting(_validate, lambda plan: None)  # what an uploaded package brings, too


@selecting
def save(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    plans.save(plan, by=actor(request), revision=plan.revision)
    messages.success(request, f"{plan} is saved. Whoever may deploy to {plan.target} can run it.")
    return redirect("plans:edit", plan.key)
