"""Deployment plans: finding, making, changing and discarding them. What a client makes is saved at once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Prefetch, Q
from django.http import Http404, HttpResponse
from django.utils import timezone
from ninja import Router
from ninja.params.functions import Query
from pydantic import Field

from deployments import listing, plans, validation
from deployments.choices import Choice
from deployments.models import DeploymentPlan, OperationKind, PlanOperation, PlanStatus, ValidationStatus
from deployments.plans import PlanRefused
from environments import gate
from environments.models import Application, ApplicationVersion, Environment
from environments.operations import Operation
from lifetime import policy
from lifetime.api import places, untagged, waiting
from lifetime.api.answers import Failed, answer, answer_list, errors, nothing
from lifetime.api.deployment_records import Deployment, DeploymentDetails, details, records
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.api.source_code import BARE_KEY
from lifetime.models import Level
from lifetime.policy import Action

router = Router()
SHOWN_FOR = timedelta(days=7)
MOST_APPLICATIONS = 1_000
PLAN = "/deployments/{key:plan}"
MIN_DATE = Query(None, alias="MinDate", description="A day or an instant; left out, a week ago.")
MAX_DATE = Query(None, alias="MaxDate", description="A day or an instant.")
TARGET = Query(None, alias="TargetEnvironmentKey")
CREATED = {"responses": {201: BARE_KEY["responses"][200]}}


class WantedOperation(Body):
    """A version to deploy. Without a zone the application stays in its own."""

    application_version_key: UUID
    deployment_zone_key: str | None = Field("", max_length=100)


class WantedDeployment(Body):
    """What to deploy, from where to where. The former version of the API names the versions only."""

    application_operations: list[WantedOperation] = Field([], max_length=MOST_APPLICATIONS)
    application_version_keys: list[UUID] = Field([], max_length=MOST_APPLICATIONS, description="The former form.")
    notes: str | None = None
    source_environment_key: UUID
    target_environment_key: UUID


@router.get("/deployments", response={200: list[Deployment], 204: None, **errors(400, 403)})
def list_deployments(
    request: ApiRequest,
    min_date: datetime | None = MIN_DATE,
    max_date: datetime | None = MAX_DATE,
    target_environment_key: UUID | None = TARGET,
) -> HttpResponse:
    """Plans that were made or started since `MinDate`, newest first."""
    since = _utc(min_date) if min_date else timezone.now() - SHOWN_FOR
    found = listing.visible(policy.held_by(request.account), Environment.objects.all()).exclude(listing.DRAFT)
    found = found.filter(Q(created_at__gte=since) | Q(started_at__gte=since))
    if max_date:
        found = found.filter(created_at__lte=_utc(max_date))
    if target_environment_key:
        found = found.filter(target__key=target_environment_key)
    operations = PlanOperation.objects.defer("sealed_settings_text", "change_log").order_by("position", "pk")
    shown = found.order_by("-number").select_related("source", "target").defer("interventions", "answer")
    return answer_list(records(request, shown.prefetch_related(Prefetch("operations", operations))))


@router.post("/deployments", response={201: None, **errors(400, 403, 404)}, openapi_extra=CREATED)
def create_deployment(request: ApiRequest, body: WantedDeployment) -> HttpResponse:
    """Make a plan and have it validated. The answer is the bare key of the plan."""
    source = places.environment(request, body.source_environment_key)
    target = places.environment(request, body.target_environment_key)
    policy.require(request.account, Action.EDIT_PLANS, source, target)
    choices = _choices(request, body, source, target)
    with transaction.atomic():
        plan = plans.create(source, target, by=actor(request), notes=body.notes or "", choices=choices)
        _refuse_blocked(plan)
        plan = plans.save(plan, by=actor(request), revision=plan.revision)
        validation.request(plan, by=actor(request))
    return created(plan)


@router.get(PLAN, response={200: DeploymentDetails, **errors(403, 404)})
def get_deployment(request: ApiRequest, plan: UUID) -> HttpResponse:
    """One plan. While it is being validated the answer waits for that, for some seconds; see `IsValidated`."""
    found = get(request, plan, Action.PREPARE_PLANS)
    if found.status == PlanStatus.SAVED and not found.is_validated:
        _have_validated(request, found)
        found = get(request, plan, Action.PREPARE_PLANS)
    return answer(details(request, found))


@router.put(PLAN, response={200: Deployment, **errors(400, 403, 404)})
def change_deployment(request: ApiRequest, plan: UUID, body: WantedDeployment) -> HttpResponse:
    """Have the plan deploy this instead: applications that are left out are removed from it."""
    found = get(request, plan, Action.EDIT_PLANS)
    if found.source is None:
        raise PlanRefused(f"{found} deploys an uploaded package. Upload another one for a plan of its own.")
    target = places.environment(request, body.target_environment_key)
    if body.source_environment_key != found.source.key:
        raise PlanRefused(f"The source of {found} is {found.source}. Make a new plan for another source.")
    policy.require(request.account, Action.EDIT_PLANS, found.source, target)
    choices = _choices(request, body, found.source, target)
    with transaction.atomic():
        changed = found
        if target.pk != found.target_id:
            changed = plans.change_target(changed, target, by=actor(request), revision=changed.revision)
        changed = plans.change(changed, choices, by=actor(request), revision=changed.revision)
        _refuse_blocked(changed)
        changed = plans.save(changed, by=actor(request), revision=changed.revision, notes=body.notes)
        validation.request(changed, by=actor(request))
    return answer(records(request, [get(request, plan, Action.PREPARE_PLANS)])[0])


@router.delete(PLAN, response={204: None, **errors(400, 403, 404)})
def delete_deployment(request: ApiRequest, plan: UUID) -> HttpResponse:
    """Discard a plan that has not been started."""
    plans.discard(get(request, plan, Action.EDIT_PLANS), by=actor(request))
    return nothing()


def get(request: ApiRequest, key: UUID, action: Action | Operation) -> DeploymentPlan:
    """The plan, for this action; drafts are their makers' own."""
    plans_told = DeploymentPlan.objects.filter(key=key).exclude(listing.DRAFT)
    known = plans_told.values_list("source__key", "target__key").first()
    if known is None:
        raise Http404("There is no such deployment plan.")
    request.concerned.update(one for one in known if one)
    return policy.get_plan(request.account, key, action)


def created(plan: DeploymentPlan) -> HttpResponse:
    return HttpResponse(str(plan.key), status=201, content_type="text/plain; charset=utf-8")


def wait_for_validation(plan: DeploymentPlan) -> None:
    """Until the validation that is under way is over, or the time is. Raises Failed when too many calls wait."""

    def look() -> bool | None:
        moving = [ValidationStatus.QUEUED, ValidationStatus.RUNNING]
        return None if DeploymentPlan.objects.filter(pk=plan.pk, validation__in=moving).exists() else True

    with waiting.place():
        waiting.until(look)


def _have_validated(request: ApiRequest, plan: DeploymentPlan) -> None:
    """Wait for the validation; ask for one when the plan was changed since the last."""
    try:
        if plan.validation == ValidationStatus.NONE and policy.may_on_plan(request.account, Action.EDIT_PLANS, plan):
            plan = validation.request(plan, by=actor(request))
        if plan.is_being_validated:
            wait_for_validation(plan)
    except (gate.Refused, Failed):
        return  # it is told as it is


def _choices(request: ApiRequest, body: WantedDeployment, source: Environment, target: Environment) -> list[Choice]:
    wanted = [(one.application_version_key, one.deployment_zone_key or "") for one in body.application_operations]
    wanted += [(key, "") for key in body.application_version_keys]
    if not wanted:
        raise ValidationError("The plan does nothing: name the versions to deploy in ApplicationOperations.")
    known = ApplicationVersion.objects.filter(key__in=[key for key, _ in wanted]).select_related("application")
    found = {one.key: one for one in known if _sees(request, one.application, source, target)}
    if missing := [key for key, _ in wanted if key not in found]:
        raise ValidationError([_said_of_missing(key, source) for key in missing])
    return [
        Choice(
            application_key=found[key].application.key,
            kind=OperationKind.DEPLOY,
            version_key=key,
            version_number=found[key].version,
            zone_key=_zone(zone, target),
        )
        for key, zone in wanted
    ]


def _sees(request: ApiRequest, application: Application, *environments: Environment) -> bool:
    held = policy.held_by(request.account)
    return any(held.level(application.pk, environment) >= Level.LIST for environment in environments)


def _said_of_missing(key: UUID, source: Environment) -> str:
    for one in source.applications.filter(version_key=None).select_related("application"):
        if untagged.key_of(one.application.key) == str(key):
            return f"{one.application} was never tagged in {source}: tag it first."
    return f"There is no version {key} of an application."


def _zone(key: str, target: Environment) -> str:
    """The zone as the target knows it; one that told of no zones has none to choose from."""
    known = [str(zone["key"]) for zone in target.deployment_zones or []]
    if key and known and key not in known:
        raise ValidationError(f"{target} has no deployment zone {key}.")
    return key if known else ""


def _refuse_blocked(plan: DeploymentPlan) -> None:
    """Here somebody asked for exactly these applications: none is left out quietly."""
    blocked: Sequence[str] = list(
        plan.operations.filter(kind=OperationKind.NOTHING).values_list("application_name", flat=True).order_by("pk")
    )
    if blocked:
        raise PlanRefused(f"Blocked from deployment to {plan.target}: {', '.join(blocked)}. Unblock them first.")


def _utc(moment: datetime) -> datetime:
    try:
        return (moment if timezone.is_aware(moment) else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValidationError("No plan is of a time that far away.") from None
