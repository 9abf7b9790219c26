"""Running deployment plans: start, continue, abort, and how far they are."""

from uuid import UUID

from django.http import HttpResponse
from ninja import Router
from ninja.params.functions import Query
from typing_extensions import TypedDict

from deployments import plans
from deployments.models import DeploymentPlan, Information, PlanStatus, ValidationStatus
from deployments.plans import PlanRefused
from environments.operations import Operation
from lifetime.api import deployments
from lifetime.api.answers import answer, errors, written
from lifetime.api.deployments import PLAN
from lifetime.api.request import ApiRequest, actor
from lifetime.policy import Action

router = Router()
PREPARED = "deployment_prepared"  # clients know this word; environments say `deploy_prepared`


class LogLine(TypedDict):
    Instant: str
    Message: str
    Type: str


class DeploymentStatus(TypedDict):
    """How far a plan is, and what it waits for."""

    DeploymentStatus: str
    Info: str
    DeploymentLog: list[LogLine]


@router.get(PLAN + "/status", response={200: DeploymentStatus, **errors(403, 404)})
def get_deployment_status(request: ApiRequest, plan: UUID) -> HttpResponse:
    """Whether the plan runs, and its log, to which lines are only ever added."""
    found = deployments.get(request, plan, Action.PREPARE_PLANS)
    lines = found.lines.order_by("line").values_list("at", "message", "type")
    information = PREPARED if found.information == Information.PREPARED else found.information
    told: DeploymentStatus = {
        "DeploymentStatus": found.status,
        "Info": information,
        "DeploymentLog": [
            {"Instant": written(at), "Message": message, "Type": kind} for at, message, kind in lines.iterator()
        ],
    }
    return answer(told)


@router.post(PLAN + "/start", response={202: None, **errors(400, 403, 404)})
def start_deployment(
    request: ApiRequest,
    plan: UUID,
    redeploy_outdated: bool = Query(True, alias="RedeployOutdated", description="Republish what uses the new ones."),
    continue_with_errors: bool = Query(
        False, alias="ContinueWithErrors", description="Start in spite of what validation found."
    ),
    include_error_details: bool = Query(False, alias="IncludeErrorDetails", description="Details are always told."),
) -> HttpResponse:
    """Have the plan carried out. Waits for a validation that is under way; then the plan runs at once."""
    found = deployments.get(request, plan, Operation.DEPLOY)
    if found.is_being_validated:
        deployments.wait_for_validation(found)
        found = deployments.get(request, plan, Operation.DEPLOY)
    _refuse_not_validated(found)
    plans.start(
        found,
        by=actor(request),
        revision=found.revision,  # of which the account may deploy everything
        redeploy_outdated=redeploy_outdated,
        continue_with_errors=continue_with_errors,
        accept_module_removal=found.removals.exists(),  # the details of the plan name them
    )
    return _accepted()


@router.post(PLAN + "/continue", response={202: None, **errors(400, 403, 404)})
def continue_deployment(
    request: ApiRequest,
    plan: UUID,
    include_error_details: bool = Query(False, alias="IncludeErrorDetails", description="Details are always told."),
) -> HttpResponse:
    """Answer whatever the plan waits for: go on. Asked again at once, it is one answer."""
    found = deployments.get(request, plan, Operation.OPERATE_PLANS)
    information = found.information
    if found.status == PlanStatus.RUNNING:
        information = found.answer.get("information", "")
    plans.continue_(found, by=actor(request), information=information)
    return _accepted()


@router.post(PLAN + "/abort", response={202: None, **errors(400, 403, 404)})
def abort_deployment(
    request: ApiRequest,
    plan: UUID,
    include_error_details: bool = Query(False, alias="IncludeErrorDetails", description="Details are always told."),
) -> HttpResponse:
    """Stop the plan. Once the target switches over it is too late."""
    plans.abort(deployments.get(request, plan, Operation.OPERATE_PLANS), by=actor(request))
    return _accepted()


def _refuse_not_validated(plan: DeploymentPlan) -> None:
    """Raise PlanRefused with why there is no validation to go by."""
    if plan.status != PlanStatus.SAVED or plan.is_validated:
        return
    if plan.is_being_validated:
        raise PlanRefused(f"{plan} is still being validated. Start it again in a moment.")
    if plan.validation in (ValidationStatus.FAILED, ValidationStatus.ABORTED):
        raise PlanRefused(f"{plan} could not be validated: {plan.validation_message}")


def _accepted() -> HttpResponse:
    return HttpResponse(status=202)
