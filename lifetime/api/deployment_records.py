"""Deployment plans as the API tells them, whatever their number by a constant number of queries."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from typing_extensions import TypedDict

from deployments.models import (
    DeploymentPlan,
    OperationKind,
    PlanFinding,
    PlanOperation,
    PlanStatus,
    Severity,
    ValidationStatus,
)
from environments.models import ApplicationVersion, ModuleStatus
from lifetime.api.answers import instant
from lifetime.api.request import ApiRequest


class ApplicationOperation(TypedDict):
    """What a plan does with one application, like "Deploy 1.0"."""

    ApplicationKey: str
    ApplicationVersionKey: str
    DeploymentOperation: str
    DeploymentZoneKey: str


class Deployment(TypedDict):
    """A deployment plan. An instant that has not come is the beginning of 1900, a person that is none is empty."""

    Key: str
    SourceEnvironmentKey: str
    TargetEnvironmentKey: str
    DetailsURL: str
    Notes: str
    CreatedOn: str
    CreatedBy: str
    CreatedByUsername: str
    SavedOn: str
    SavedBy: str
    SavedByUsername: str
    StartedOn: str
    StartedBy: str
    StartedByUsername: str
    AbortedOn: str
    AbortedBy: str
    AbortedByUsername: str
    ApplicationOperations: list[ApplicationOperation]


class ModuleInBinary(TypedDict):
    ModuleKey: str
    ModuleName: str
    IsNew: bool


class ApplicationToDeploy(TypedDict):
    ApplicationKey: str
    ApplicationName: str
    IsNew: bool
    ModulesInBinary: list[ModuleInBinary]


class ModuleConflict(TypedDict):
    ProducerModuleKey: str
    ConsumerModuleKey: str
    TotalRequiredElements: int
    ConflictType: str


class ApplicationConflict(TypedDict):
    """An error that validation found. Without a type it is none of references."""

    Message: str
    ProducerApplicationOperation: ApplicationOperation | None
    ConsumerApplicationOperation: ApplicationOperation | None
    ModuleConflict: ModuleConflict


class ModuleToDelete(TypedDict):
    Key: str
    Name: str
    Description: str


class DeploymentDetails(TypedDict):
    """A plan with what validation found about it. `Warnings` are no conflicts: they stop nothing."""

    Deployment: Deployment
    ApplicationsToDeploy: list[ApplicationToDeploy]
    ApplicationsToRedeploy: list[str]
    ApplicationConflicts: list[ApplicationConflict]
    ModulesToDelete: list[ModuleToDelete]
    Warnings: list[str]
    IsValidated: bool


def records(request: ApiRequest, plans: Iterable[DeploymentPlan]) -> list[Deployment]:
    """These plans, with their environments and operations prefetched."""
    root = request.build_absolute_uri("/")[:-1]
    return [
        {
            "Key": str(plan.key),
            "SourceEnvironmentKey": str(plan.source.key) if plan.source else "",
            "TargetEnvironmentKey": str(plan.target.key),
            "DetailsURL": root + plan.get_absolute_url(),
            "Notes": plan.notes,
            "CreatedOn": instant(plan.created_at),
            "CreatedBy": plan.created_by,
            "CreatedByUsername": plan.created_by_username,
            "SavedOn": instant(plan.saved_at),
            "SavedBy": plan.saved_by,
            "SavedByUsername": plan.saved_by_username,
            "StartedOn": instant(plan.started_at),
            "StartedBy": plan.started_by,
            "StartedByUsername": plan.started_by_username,
            "AbortedOn": instant(plan.aborted_at),
            "AbortedBy": plan.aborted_by,
            "AbortedByUsername": plan.aborted_by_username,
            "ApplicationOperations": [_operation(one) for one in plan.operations.all() if one.is_deployed],
        }
        for plan in plans
    ]


def details(request: ApiRequest, plan: DeploymentPlan) -> DeploymentDetails:
    """One plan, with its environments and operations prefetched."""
    operations = [one for one in plan.operations.all() if one.is_deployed]
    found = list(plan.findings.select_related("producer_operation", "consumer_operation").order_by("position", "pk"))
    is_known = plan.is_validated or plan.status != PlanStatus.SAVED  # what was found before an edit is outdated
    errors = [one for one in found if is_known and one.severity == Severity.ERROR]
    warnings = [one.message for one in found if is_known and one.severity == Severity.WARNING]
    chosen = plan.dependents.filter(is_selected=True).order_by("application_name", "pk")
    removed = plan.removals.order_by("application_name", "module_name", "pk")
    return {
        "Deployment": records(request, [plan])[0],
        "ApplicationsToDeploy": _to_deploy(plan, operations),
        "ApplicationsToRedeploy": list(chosen.values_list("application_name", flat=True)) if is_known else [],
        "ApplicationConflicts": [*_not_validated(plan), *map(_conflict, errors)],
        "ModulesToDelete": [
            {"Key": str(one.module_key), "Name": one.module_name, "Description": f"Of {one.application_name}"}
            for one in (removed if is_known else [])
        ],
        "Warnings": warnings,
        "IsValidated": plan.is_validated,
    }


def _operation(one: PlanOperation) -> ApplicationOperation:
    return {
        "ApplicationKey": str(one.application_key),
        "ApplicationVersionKey": str(one.version_key or ""),
        "DeploymentOperation": one.described,
        "DeploymentZoneKey": one.zone_key,
    }


def _conflict(one: PlanFinding) -> ApplicationConflict:
    return {
        "Message": one.message,
        "ProducerApplicationOperation": _operation(one.producer_operation) if one.producer_operation else None,
        "ConsumerApplicationOperation": _operation(one.consumer_operation) if one.consumer_operation else None,
        "ModuleConflict": {
            "ProducerModuleKey": str(one.producer_module_key or ""),
            "ConsumerModuleKey": str(one.consumer_module_key or ""),
            "TotalRequiredElements": one.elements,
            "ConflictType": one.type,
        },
    }


def _not_validated(plan: DeploymentPlan) -> list[ApplicationConflict]:
    """A plan that could not be validated cannot be started: clients that look for conflicts learn it here."""
    if plan.status != PlanStatus.SAVED or plan.validation not in (ValidationStatus.FAILED, ValidationStatus.ABORTED):
        return []
    nothing: ModuleConflict = {
        "ProducerModuleKey": "",
        "ConsumerModuleKey": "",
        "TotalRequiredElements": 0,
        "ConflictType": "",
    }
    return [
        {
            "Message": f"The plan could not be validated: {plan.validation_message}",
            "ProducerApplicationOperation": None,
            "ConsumerApplicationOperation": None,
            "ModuleConflict": nothing,
        }
    ]


def _to_deploy(plan: DeploymentPlan, operations: Sequence[PlanOperation]) -> list[ApplicationToDeploy]:
    modules = _modules(plan, operations)
    keys = [key for found in modules.values() for key, _ in found]
    there = ModuleStatus.objects.filter(environment=plan.target, module__key__in=keys)
    known = set(there.values_list("module__key", flat=True))
    return [
        {
            "ApplicationKey": str(one.application_key),
            "ApplicationName": one.application_name,
            "IsNew": not one.target_existed,
            "ModulesInBinary": [
                {"ModuleKey": str(key), "ModuleName": name, "IsNew": key not in known}
                for key, name in modules.get(one.application_key, [])
            ],
        }
        for one in operations
    ]


def _modules(plan: DeploymentPlan, operations: Sequence[PlanOperation]) -> dict[UUID, list[tuple[UUID, str]]]:
    """The modules that come, by application key: of the version, of the package, or as they are in the source."""
    keys = [one.application_key for one in operations]
    now = ModuleStatus.objects.filter(environment=plan.source_id, module__application__key__in=keys)
    told: dict[UUID, list[tuple[UUID, str]]] = {}
    for application, key, name in now.order_by("module__name", "pk").values_list(
        "module__application__key", "module__key", "module__name"
    ):
        told.setdefault(application, []).append((key, name))
    wanted = [one.version_key for one in operations if one.version_key]
    tagged = ApplicationVersion.objects.filter(key__in=wanted, modules__isnull=False)
    found: dict[UUID, list[tuple[UUID, str]]] = {}
    for application, key, name in tagged.order_by("modules__name", "modules__pk").values_list(
        "application__key", "modules__module_key", "modules__name"
    ):
        found.setdefault(application, []).append((key, name))
    uploaded: dict[UUID, list[tuple[UUID, str]]] = {}
    for package in plan.packages.order_by("pk"):
        listed: list[dict[str, Any]] = package.references["modules"]
        uploaded[package.application_key] = [(UUID(one["key"]), one["name"]) for one in listed]
    as_is = {one.application_key for one in operations if one.kind != OperationKind.DEPLOY}
    return {**told, **{key: some for key, some in found.items() if key not in as_is}, **uploaded}
