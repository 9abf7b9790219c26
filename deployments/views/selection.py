"""The first step of a plan: which applications, and what is done with each.

The selection is one form, whichever of its buttons is pressed: what is chosen in it is kept first, then the button's
own intention is carried out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh, reswap, retarget

from deployments import plan_settings, plans, proposals, validation
from deployments.choices import Choice, choice_of
from deployments.forms import OperationForm, RevisionForm, TargetForm
from deployments.models import DeploymentPlan, OperationKind, PlanFinding, PlanOperation, Severity
from deployments.plans import ChangedMeanwhile, PlanRefused
from deployments.proposals import Candidate, Row
from deployments.views.objects import actor, open_to, started, steps
from environments import tagging, versions
from environments.models import ApplicationVersion, Environment
from environments.operations import Operation
from environments.views.answers import leave
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest

More = ParamSpec("More")
Selecting = Callable[Concatenate[AuthenticatedRequest, DeploymentPlan, More], HttpResponse]
NEXT = ("review", "review-with-errors")


@require_safe
def edit(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    plan = policy.get_plan(request.user, key, Action.PREPARE_PLANS)
    return started(request, plan) or _without_selection(plan) or _page(request, plan)


def _without_selection(plan: DeploymentPlan) -> HttpResponse | None:
    """What an uploaded package brings is not chosen."""
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

    @require_POST
    @wraps(view)
    def wrapped(request: AuthenticatedRequest, key: UUID, *args: More.args, **options: More.kwargs) -> HttpResponse:
        plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
        if elsewhere := started(request, plan) or _without_selection(plan):
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
    return started(request, plan) or _page(request, plan, problems=problems, status=status)


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


def _replace(request: AuthenticatedRequest, plan: DeploymentPlan, choices: Sequence[Choice]) -> HttpResponse:
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
    if elsewhere := started(request, plan) or _without_selection(plan):
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


SHOWN = 500


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
    picked = set(request.POST.getlist("application"))
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
    return _replace(request, plan, proposals.with_added(plan, added))


@selecting
def remove(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    """One application, or all of them."""
    gone = request.POST.get("application", "")
    kept = [
        choice_of(operation)
        for operation in plan.operations.all()
        if gone != "all" and str(operation.application_key) != gone
    ]
    return _replace(request, plan, kept)


@selecting
def refresh(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    choices, words = proposals.refreshed(proposals.rows(plan, policy.held_by(request.user)))
    for text in words[:SAID]:
        messages.info(request, text)
    if not words:
        messages.info(request, "The plan is as both environments are now.")
    return _replace(request, plan, choices)


SAID = 20


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


# Deploy Custom


@require_safe
def operation_dialog(request: AuthenticatedRequest, key: UUID, application_key: UUID) -> HttpResponse:
    """Number, description, base version and modules of the version that the plan tags."""
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    if elsewhere := started(request, plan) or _without_selection(plan):
        return elsewhere
    if not request.htmx:
        return redirect("plans:edit", plan.key)
    row = _row(request, plan, application_key)
    base = request.GET.get("base_version", _base_of(row.operation))
    proposal = _proposal(plan, row, base)
    form = OperationForm(proposal=proposal, initial=_initial(row.operation, base))
    return _operation_dialog(request, plan, row, form, proposal)


@selecting
def change_operation(request: AuthenticatedRequest, plan: DeploymentPlan, application_key: UUID) -> HttpResponse:
    row = _row(request, plan, application_key)
    proposal = _proposal(plan, row, request.POST.get("base_version", ""))
    form = OperationForm(request.POST, proposal=proposal)
    if form.is_valid():
        try:
            choices = [
                _tagged(form.wanted, one) if one.application_key == application_key else choice_of(one)
                for one in plan.operations.all()
            ]
            return _replace(request, plan, choices)
        except ValidationError as refusal:
            form.add_error(None, refusal)
    return _operation_dialog(request, plan, row, form, proposal, status=422)


def _row(request: AuthenticatedRequest, plan: DeploymentPlan, application_key: UUID) -> Row:
    """The operation, when its application can be tagged by this person."""
    found = proposals.rows(plan, policy.held_by(request.user))
    row = next((one for one in found if one.operation.application_key == application_key), None)
    if row is None or row.candidate is None or row.operation.application is None:
        raise Http404("The plan has no such application.")
    if plan.source is not None:
        policy.require(request.user, Operation.TAG_APPLICATIONS, plan.source, application=row.operation.application)
    return row


def _base_of(operation: PlanOperation) -> str:
    return str(operation.base_version_key or "")


def _proposal(plan: DeploymentPlan, row: Row, base: str) -> tagging.Proposal:
    """What can be tagged, with a number above that of the target and free in the infrastructure."""
    assert plan.source is not None  # noqa: S101 - for the type checker
    assert row.operation.application is not None  # noqa: S101 - for the type checker
    assert row.candidate is not None  # noqa: S101 - for the type checker
    proposal = tagging.propose(plan.source, row.operation.application, base=base)
    problem = proposal.problem
    if row.candidate.block:
        problem = row.candidate.note
    suggestion = proposal.suggestion
    known = next((one for one in row.candidate.options if one.kind == OperationKind.TAG_AND_DEPLOY), None)
    lowest = versions.order(row.candidate.target_version)
    if known and (proposal.base is None or versions.order(suggestion) <= lowest):
        suggestion = known.number
    return replace(proposal, mobile={}, problem=problem, suggestion=suggestion)


def _initial(operation: PlanOperation, base: str) -> dict[str, Any]:
    """What the plan has of it so far, as long as the base is the same."""
    if not operation.is_tagged_first or base != _base_of(operation):
        return {"change_log": operation.change_log}
    picks = {f"pick-{module}": version for module, version in operation.module_picks.items()}
    return {"version": operation.version_number, "change_log": operation.change_log, **picks}


def _tagged(wanted: tagging.Wanted, operation: PlanOperation) -> Choice:
    is_custom = bool(wanted.base_version_key or wanted.module_picks)
    return Choice(
        application_key=operation.application_key,
        kind=OperationKind.CUSTOM if is_custom else OperationKind.TAG_AND_DEPLOY,
        version_number=wanted.version,
        change_log=wanted.change_log,
        base_version_key=wanted.base_version_key,
        module_picks=wanted.module_picks,
        zone_key=operation.zone_key,
    )


def _operation_dialog(
    request: AuthenticatedRequest,
    plan: DeploymentPlan,
    row: Row,
    form: OperationForm,
    proposal: tagging.Proposal,
    *,
    status: int = 200,
) -> HttpResponse:
    context = {"plan": plan, "row": row, "form": form, "proposal": proposal}
    return render(request, "deployments/_operation.html", context, status=status)


# Validate, save


@selecting
def validate(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    validation.request(plan, by=actor(request))
    return redirect(f"{resolve_url('plans:edit', plan.key)}#validation")


@selecting
def save(request: AuthenticatedRequest, plan: DeploymentPlan) -> HttpResponse:
    plans.save(plan, by=actor(request), revision=plan.revision)
    messages.success(request, f"{plan} is saved. Whoever may deploy to {plan.target} can run it.")
    return redirect("plans:edit", plan.key)


@require_http_methods(["GET", "HEAD"])
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
