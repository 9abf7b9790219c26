"""What a plan does with each application: checked as it is chosen, kept with the names of the moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError

from audit import log
from deployments.models import DeploymentPlan, OperationKind, PlanOperation
from environments import versions
from environments.models import Application, ApplicationBlock, ApplicationStatus, ApplicationVersion


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to do with one application. `version_number` is the one to tag, or that of `version_key`."""

    application_key: UUID
    kind: OperationKind
    version_key: UUID | None = None
    version_number: str = ""
    change_log: str = ""
    base_version_key: UUID | None = None
    module_picks: Mapping[str, str] = field(default_factory=dict)
    zone_key: str = ""
    is_proposed: bool = False


def replace_operations(plan: DeploymentPlan, choices: Sequence[Choice]) -> None:
    """Make these the plan's operations. Those of applications that stay keep their settings. Raises ValidationError."""
    keys = [choice.application_key for choice in choices]
    if len(set(keys)) < len(keys):
        raise ValidationError("An application is in the plan twice.")
    applications = {one.key: one for one in Application.objects.filter(key__in=keys)}
    wanted = [choice.version_key for choice in choices if choice.version_key]
    known = {one.key: one for one in ApplicationVersion.objects.filter(key__in=wanted)}
    statuses = ApplicationStatus.objects.filter(environment__in=plan.environments, application__key__in=keys)
    status = {(one.environment_id, one.application_id): one for one in statuses}
    blocks = ApplicationBlock.objects.in_force().filter(environment=plan.target, application__key__in=keys)
    blocked = set(blocks.values_list("application_id", flat=True))
    before = {one.application_key: one for one in plan.operations.all()}
    operations = []
    for position, choice in enumerate(choices):
        application = applications.get(choice.application_key)
        if application is None:
            raise ValidationError(f"There is no application {choice.application_key} any more.")
        operation = PlanOperation(
            plan=plan,
            position=position,
            application=application,
            application_key=application.key,
            application_name=application.name,
            kind=OperationKind.NOTHING if application.pk in blocked else choice.kind,
            change_log=choice.change_log.strip(),
            base_version_key=choice.base_version_key,
            module_picks=dict(choice.module_picks),
            zone_key=choice.zone_key,
            is_proposed=choice.is_proposed,
            sealed_settings_text=before[application.key].sealed_settings_text if application.key in before else "",
            is_dependency=application.key in before and before[application.key].is_dependency,
        )
        here = status.get((plan.source_id or 0, application.pk))
        there = status.get((plan.target_id, application.pk))
        if plan.source is not None and here is None and operation.is_deployed:
            raise ValidationError(f"{application} is not in {plan.source}.")
        operation.source_version = here.version if here else ""
        operation.source_is_modified = bool(here and here.is_modified)
        operation.target_version, operation.target_existed = there.version if there else "", there is not None
        _choose_version(operation, application, choice, known)
        operations.append(operation)
    plan.operations.all().delete()
    PlanOperation.objects.bulk_create(operations)


def _choose_version(
    operation: PlanOperation, application: Application, choice: Choice, known: Mapping[UUID, ApplicationVersion]
) -> None:
    if operation.kind == OperationKind.DEPLOY:
        version = known.get(choice.version_key) if choice.version_key else None
        if version is None or version.application_id != application.pk:
            raise ValidationError(f"{application} has no such version any more. Refresh the plan, then choose again.")
        operation.version = version
        operation.version_key, operation.version_number = version.key, version.version
    elif operation.is_tagged_first:
        number = versions.clean(choice.version_number)
        taken = {versions.order(used) for used in application.versions.values_list("version", flat=True)}
        if versions.order(number) in taken:
            raise ValidationError(f"{application} has used {number} already; choose a new number.")
        operation.version_number = number


def choice_of(operation: PlanOperation) -> Choice:
    return Choice(
        application_key=operation.application_key,
        kind=OperationKind(operation.kind),
        version_key=operation.version_key,
        version_number=operation.version_number,
        change_log=operation.change_log,
        base_version_key=operation.base_version_key,
        module_picks=operation.module_picks,
        zone_key=operation.zone_key,
        is_proposed=operation.is_proposed,
    )


def keep_settings(plan: DeploymentPlan, documents: Mapping[UUID, dict[str, Any]]) -> None:
    operations = {one.application_key: one for one in plan.operations.filter(application_key__in=documents)}
    for key, document in documents.items():
        if key not in operations:
            raise ValidationError(f"The application {key} is not in the plan.")
        operations[key].settings = document
        operations[key].save(update_fields=["sealed_settings_text"])


def _selection(plan: DeploymentPlan, operation: PlanOperation) -> str:
    what = f"Selected '{operation.described}' for '{operation.application_name}'"
    return f"{what} in deployment plan '{plan.audit_object.name}'"


def described(plan: DeploymentPlan) -> dict[str, str]:
    """The audit message of each operation, with the application's name."""
    return {_selection(plan, one): one.application_name for one in plan.operations.order_by("position", "pk")}


def selections(plan: DeploymentPlan, by: log.Actor) -> list[log.Entry]:
    return [log.Entry(message=message, on=plan.audit_object, by=by) for message in described(plan)]
