"""Plans made anew from one that has ended."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.db import transaction

from audit import log
from deployments import journal, states
from deployments.choices import TAGGED_FIRST, Choice, choice_of, copy_settings, used_numbers
from deployments.editing import create
from deployments.journal import Line
from deployments.locking import PlanRefused
from deployments.models import DeploymentPlan, OperationKind, PlanOperation, PlanStatus
from environments import versions
from environments.models import ApplicationStatus, ApplicationVersion, Environment


def retry(plan: DeploymentPlan, *, by: log.Actor) -> tuple[DeploymentPlan, list[str]]:
    """A new draft that does what the aborted plan did, and what it cannot do again, in words.

    What has been tagged is deployed from that tag; what has not is tagged as it was chosen. Settings are taken over.
    """
    if plan.status != PlanStatus.ABORTED:
        raise states.WrongState(f"Only an aborted plan is retried: {states.told(plan)}")
    return _again(plan, plan.source, plan.target, by=by, same_versions=True, with_settings=True)


def reuse(
    plan: DeploymentPlan, *, by: log.Actor, source: Environment, target: Environment, same_versions: bool = True
) -> tuple[DeploymentPlan, list[str]]:
    """A new draft with the applications of a finished plan, and what could not be taken over, in words."""
    if not plan.is_finished:
        raise states.WrongState(f"Only a finished plan is reused: {states.told(plan)}")
    return _again(plan, source, target, by=by, same_versions=same_versions)


def _again(
    plan: DeploymentPlan,
    source: Environment | None,
    target: Environment,
    *,
    by: log.Actor,
    same_versions: bool,
    with_settings: bool = False,
) -> tuple[DeploymentPlan, list[str]]:
    if source is None:
        raise PlanRefused(f"{plan} deployed an uploaded package. Upload the package again.")
    operations = list(plan.operations.order_by("position", "pk").select_related("version"))
    ids = [one.application_id for one in operations if one.application_id]
    found = ApplicationStatus.objects.filter(environment=source, application__in=ids)
    statuses = {one.application_id: one for one in found}
    kept = [one for one in operations if one.application_id in statuses]
    gone = [one.application_name for one in operations if one.application_id not in statuses]
    messages = [f"{name} is not in {source} any more." for name in gone]
    if not kept:
        raise PlanRefused(f"None of the applications of {plan} is in {source} any more. Make a new plan.")
    choices = _renewed(kept, statuses, same_versions=same_versions)
    with transaction.atomic():
        draft = create(source, target, by=by, label=plan.label, notes=plan.notes, choices=choices)
        if with_settings:
            copy_settings(plan, draft)
        journal.write(draft, Line(message=f"Made from {plan}."))
    if same_versions:
        messages += _differences(kept, draft)
    return draft, messages


def _renewed(
    operations: Sequence[PlanOperation], statuses: Mapping[int, ApplicationStatus], *, same_versions: bool
) -> list[Choice]:
    used = used_numbers(list(statuses))
    wanted = [status.version_key for status in statuses.values() if status.version_key]
    known = set(ApplicationVersion.objects.filter(key__in=wanted).values_list("key", flat=True))
    choices = []
    for operation in operations:
        status = statuses[operation.application_id or 0]
        taken = used.get(status.application_id, set())
        if operation.kind == OperationKind.NOTHING:
            choices.append(choice_of(operation))
        elif same_versions and operation.version is not None:
            choices.append(_deploying(operation, operation.version))
        elif same_versions and operation.kind in TAGGED_FIRST:
            number = _free(operation.version_number, taken)
            choices.append(replace(choice_of(operation), version_key=None, version_number=number))
        else:
            choices.append(_as_it_is(operation, status, taken, is_known=status.version_key in known))
    return choices


def _deploying(operation: PlanOperation, version: ApplicationVersion) -> Choice:
    return Choice(
        application_key=operation.application_key,
        kind=OperationKind.DEPLOY,
        version_key=version.key,
        version_number=version.version,
        zone_key=operation.zone_key,
    )


def _free(number: str, taken: set[str]) -> str:
    """The number, or one behind it when that is used meanwhile."""
    is_used = versions.order(number) in {versions.order(one) for one in taken}
    return versions.suggest(number, taken) if is_used else number


def _as_it_is(operation: PlanOperation, status: ApplicationStatus, taken: set[str], *, is_known: bool) -> Choice:
    """What the source has of it now."""
    is_tagged = is_known and not status.is_modified
    return Choice(
        application_key=operation.application_key,
        kind=OperationKind.DEPLOY if is_tagged else OperationKind.TAG_AND_DEPLOY,
        version_key=status.version_key if is_tagged else None,
        version_number=status.version if is_tagged else versions.suggest(status.version, taken),
        change_log="" if is_tagged else operation.change_log,
        zone_key=operation.zone_key,
    )


def _differences(operations: Sequence[PlanOperation], draft: DeploymentPlan) -> list[str]:
    """What the draft does otherwise; that something is tagged by now is none."""
    new = {one.application_key: one for one in draft.operations.all()}
    return [
        f"{one.application_name}: {now.described} instead of {one.described}."
        for one in operations
        for now in [new[one.application_key]]
        if (now.is_deployed, now.version_number) != (one.is_deployed, one.version_number)
    ]
