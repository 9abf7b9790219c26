"""Deploy Custom: number, description, base version and modules of a version that the plan tags."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from deployments import proposals
from deployments.choices import Choice, choice_of
from deployments.forms import OperationForm
from deployments.models import DeploymentPlan, OperationKind, PlanOperation
from deployments.proposals import Row
from deployments.views.objects import started
from deployments.views.selection import replace_choices, selecting, without_selection
from environments import tagging, versions
from environments.operations import Operation
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest


@require_safe
def operation_dialog(request: AuthenticatedRequest, key: UUID, application_key: UUID) -> HttpResponse:
    """Number, description, base version and modules of the version that the plan tags."""
    plan = policy.get_plan(request.user, key, Action.EDIT_PLANS)
    if elsewhere := started(request, plan) or without_selection(plan):
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
            return replace_choices(request, plan, choices)
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
    return replace(proposal, problem=problem, suggestion=suggestion)


def _initial(operation: PlanOperation, base: str) -> dict[str, Any]:
    """What the plan has of it so far, as long as the base is the same."""
    if not operation.is_tagged_first or base != _base_of(operation):
        return {"change_log": operation.change_log}
    picks = {f"pick-{module}": version for module, version in operation.module_picks.items()}
    mobile = {f"{one['platform'].lower()}_version": one["version"] for one in operation.mobile_versions}
    return {"version": operation.version_number, "change_log": operation.change_log, **picks, **mobile}


def _tagged(wanted: tagging.Wanted, operation: PlanOperation) -> Choice:
    """What the plan is to do; raises ValidationError by field."""
    assert operation.application is not None  # noqa: S101 - for the type checker
    is_custom = bool(wanted.base_version_key or wanted.module_picks)
    return Choice(
        application_key=operation.application_key,
        kind=OperationKind.CUSTOM if is_custom else OperationKind.TAG_AND_DEPLOY,
        version_number=wanted.version,
        change_log=wanted.change_log,
        base_version_key=wanted.base_version_key,
        module_picks=wanted.module_picks,
        mobile_versions=tagging.clean_mobile(operation.application, wanted.mobile_versions),
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
