"""What validation tells beside conflicts of references: what cannot be done, was added, or may surprise."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from asgiref.sync import sync_to_async

from deployments import references
from deployments.content import Application
from deployments.impact import Finding
from deployments.models import DeploymentPlan, OperationKind, PlanFinding, PlanOperation, Severity
from deployments.sides import Chosen, Side
from deployments.words import counted, named
from environments import versions
from environments.environment_api import VersionItem, read
from environments.models import ApplicationBlock, ApplicationVersion
from lifetime.models import Level, ServiceAccount, User
from lifetime.permissions import Permissions

ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)
Blocks = Mapping[UUID, ApplicationBlock]


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """The worst first, otherwise in the order in which they were found."""
    return sorted(found, key=lambda one: ORDER.index(one.severity))


def row(plan: DeploymentPlan, place: int, one: Finding, operations: Mapping[UUID, PlanOperation]) -> PlanFinding:
    """A finding as it is kept, with the operations of its applications as far as they are in the plan."""
    producer_key, producer_name = one.producer_module or (None, "")
    consumer_key, consumer_name = one.consumer_module or (None, "")
    return PlanFinding(
        plan=plan,
        position=place,
        severity=one.severity,
        type=one.type or "",
        message=one.message,
        producer_operation=operations.get(one.producer) if one.producer else None,
        consumer_operation=operations.get(one.consumer) if one.consumer else None,
        producer_module_key=producer_key,
        producer_module_name=producer_name,
        consumer_module_key=consumer_key,
        consumer_module_name=consumer_name,
        elements=one.elements,
    )


def blocks(plan: DeploymentPlan) -> dict[UUID, ApplicationBlock]:
    """What keeps applications from being deployed to the target, by their keys."""
    found = ApplicationBlock.objects.in_force().filter(environment=plan.target).select_related("application")
    return {block.application.key: block for block in found}


def blocked(block: ApplicationBlock, plan: DeploymentPlan) -> str:
    return (
        f"{block.application} is blocked from deployment to {plan.target}: {block.blocked_by} blocked it on "
        f"{block.blocked_at:%d %b %H:%M} UTC, “{block.reason}”."
    )


def idle(
    operations: Iterable[PlanOperation], blocks_: Blocks, source: Side | None, plan: DeploymentPlan
) -> dict[int, Finding]:
    """What is not possible at all, by the operations' ids: the plan does nothing with these applications."""
    found = {}
    for operation in operations:
        key, name = operation.application_key, operation.application_name
        if block := blocks_.get(key):
            message = f"{blocked(block, plan)} The plan does nothing with it; unblock it, then refresh the plan."
        elif source is not None and key not in source.applications:
            message = f"{name} is no longer in {plan.source}; the plan does nothing with it."
        else:
            continue
        found[operation.pk] = _warning(message, key)
    return found


def of_sides(source: Side | None, target: Side, chosen: Chosen) -> list[Finding]:
    """What the environments cannot do, and what they cannot tell."""
    found = []
    for side, needed, what in (
        (source, {"packages", "versions"}, "give packages away"),
        (target, {"packages", "deployments"}, "take deployments"),
    ):
        if side is not None and (lacking := sorted(needed - side.capabilities)):
            names = " and ".join(f"“{one}”" for one in lacking)
            message = f"{side.environment} cannot {what}: its platform does not have the capability {names}."
            found.append(Finding(severity=Severity.ERROR, message=message))
        if side is not None and not side.tells_references and (count := len(side.untold)):
            message = (
                f"The references of {counted(count, 'application')} in {side.environment} cannot be checked: its "
                f"platform does not tell them (capability “{references.CAPABILITY}”)."
            )
            found.append(Finding(severity=Severity.WARNING, message=message))
    untold = chosen.untold - (source.untold if source else set())
    if untold:
        message = f"The references of {counted(len(untold), 'version')} in the plan cannot be checked beforehand."
        found.append(Finding(severity=Severity.WARNING, message=message))
    return found


def of_gone(chosen: Chosen, plan: DeploymentPlan) -> list[Finding]:
    """Versions that the source does not have."""
    return [
        Finding(
            severity=Severity.ERROR,
            message=f"{plan.source} does not have {one.application_name} {one.version_number}. Choose another version, "
            "or deploy from an environment that has it.",
            consumer=one.application_key,
        )
        for one in chosen.gone
    ]


def of_tags(operations: Iterable[PlanOperation], source: Side | None) -> list[Finding]:
    """Tags that are not what runs in the source."""
    found = []
    for operation in operations:
        now = source.applications.get(operation.application_key) if source else None
        if source is None or now is None or operation.kind != OperationKind.DEPLOY or source.is_current(operation):
            continue
        name, number = operation.application_name, operation.version_number
        if source.versions.get(now.key) == operation.version_key:
            message = f"{name} was changed in {source.environment} since {number} was tagged; the changes stay there."
        else:
            message = f"{name} {number} is deployed, but {now} runs in {source.environment}."
        found.append(_warning(message, operation.application_key))
    return found


def of_overwritten(operations: Iterable[PlanOperation], target: Side) -> list[Finding]:
    """Changes made in the target itself, as a hotfix, that nobody has brought to the source by a tag."""
    found = []
    for operation in operations:
        there = target.applications.get(operation.application_key)
        if there is not None and there.is_modified:
            since = f" since {there.version} was tagged" if there.version else ""
            message = (
                f"{there.name} was changed in {target.environment} itself{since}; the changes are lost there unless "
                f"{operation.version_number or 'what is deployed'} has them, too."
            )
            found.append(_warning(message, there.key))
    return found


async def of_downgrades(operations: Iterable[PlanOperation], source: Side | None, target: Side) -> list[Finding]:
    """Versions that are older than what they would replace, by number and by date. A rollback is younger by date."""
    found = []
    for operation in operations:
        there = target.applications.get(operation.application_key)
        version_key = target.versions.get(operation.application_key)
        if there is None or version_key is None or operation.version_key is None or operation.is_tagged_first:
            continue
        if versions.order(operation.version_number) >= versions.order(there.version):
            continue
        replaced = await _made_at(target, there.key, version_key)
        arriving = await _made_at(source, there.key, operation.version_key)
        if replaced and arriving and arriving < replaced:
            name, number = operation.application_name, operation.version_number
            message = (
                f"{name} {number} is older than {there.version}, which {target.environment} has: a lower number does "
                f"not replace a higher one. Tag a new version that is based on {number}, then deploy that."
            )
            found.append(Finding(severity=Severity.ERROR, message=message, consumer=there.key))
    return found


def of_added(added: Sequence[PlanOperation]) -> list[Finding]:
    """“1 dependency has been added to your plan: Customer Core 1.4.”"""
    if not added:
        return []
    verb = "dependency has" if len(added) == 1 else "dependencies have"
    names = named([f"{one.application_name} ({one.described})" for one in added])
    return [
        Finding(severity=Severity.INFO, message=f"{len(added)} {verb} been added to your plan: {names}."),
    ]


def of_rights(
    asked_by: str,
    plan: DeploymentPlan,
    operations: Iterable[PlanOperation],
    added: Iterable[PlanOperation],
    arriving: Mapping[UUID, Application],
) -> list[Finding]:
    """Dependencies that the person who asked may not deploy. That is a message: others may run the plan."""
    person = _person(asked_by)
    if person is None:
        return []
    held = Permissions.of(person)
    found = []
    for operation in [one for one in (*operations, *added) if one.is_dependency and one.application_key in arriving]:
        application = operation.application
        if application is None or held.level(application.pk, plan.target) >= Level.CHANGE:
            continue
        message = (
            f"{person} has no permission to deploy {application}, on which the plan depends: that needs "
            f"“{Level.CHANGE.label}” in {plan.target}. Somebody who has it must run the plan, or an administrator "
            "gives a role with it."
        )
        found.append(_warning(message, application.key))
    return found


def _person(key: str) -> User | ServiceAccount | None:
    if not key:
        return None
    return User.objects.filter(key=key).first() or ServiceAccount.objects.filter(key=key).first()


async def _made_at(side: Side | None, application_key: UUID, version_key: UUID) -> datetime | None:
    """When a version was tagged, as the console knows it, else as the environment says."""
    known = ApplicationVersion.objects.filter(key=version_key).exclude(created_at=None)
    made_at = await sync_to_async(known.values_list("created_at", flat=True).first)()
    if made_at is None and side is not None and "versions" in side.capabilities:
        answer = await side.client.get(f"/applications/{application_key}/versions/{version_key}")
        made_at = read(answer, VersionItem, step="GET version").created_at
    return made_at


def _warning(message: str, application_key: UUID) -> Finding:
    return Finding(severity=Severity.WARNING, message=message, consumer=application_key)
