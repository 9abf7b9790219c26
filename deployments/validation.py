"""Validation: would the target find everything that it needs? A worker asks source and target, and keeps what it found.

What is found belongs to one revision of the plan: when the plan was edited meanwhile, it is not kept. Missing
dependencies that the source has are added, which is an edit as well.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime

import uvloop
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from audit import log
from deployments import findings, impact, sides, states
from deployments.choices import used_numbers
from deployments.content import Application
from deployments.impact import Impact
from deployments.locking import PlanRefused, locked, refuse_closed, refuse_maintenance
from deployments.models import (
    DeploymentPlan,
    OperationKind,
    PlanDependent,
    PlanFinding,
    PlanOperation,
    PlanRemoval,
    PlanStatus,
    ValidationStatus,
)
from deployments.sides import Chosen, Side
from environments import gate, versions
from environments.models import (
    Application as KnownApplication,
)
from environments.models import (
    ApplicationStatus,
    ApplicationVersion,
    Environment,
    Purpose,
)
from environments.operations import Operation
from lifetime.queue import enqueue

logger = logging.getLogger(__name__)

TASK = "deployments.tasks.validate"
LONGEST = 240.0  # seconds; the queue ends whoever takes 300
ORPHANED_AFTER = 330
FORGOTTEN_AFTER = 120
EDITED = "The plan was changed while it was validated. Validate it again."


def request(plan: DeploymentPlan, *, by: log.Actor) -> DeploymentPlan:
    """Queue the validation of the plan as it is now, once; answers it as it is then. Raises gate.Refused."""
    with locked(plan) as plan:
        if plan.status != PlanStatus.SAVED:
            raise states.WrongState(f"{plan} cannot be validated: {states.told(plan)}")
        refuse_closed(plan.environments, Operation.OPERATE_PLANS)
        if not plan.operations.exclude(kind=OperationKind.NOTHING).exists():
            raise PlanRefused(f"{plan} does nothing: add applications to deploy.")
        if plan.is_being_validated and plan.validated_revision == plan.revision:
            return plan
        plan.validation, plan.validation_message = ValidationStatus.QUEUED, ""
        plan.validated_revision, plan.validated_at = plan.revision, timezone.now()
        plan.save(update_fields=["validation", "validation_message", "validated_revision", "validated_at"])
        enqueue(TASK, plan.pk, str(by.key or ""))
        log.record(f"Requested validation of deployment plan '{plan.audit_object.name}'", plan.audit_object, by=by)
    return plan


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A plan as it was when a worker took it over; `claimed_at` tells its validation from a later one."""

    plan: DeploymentPlan
    operations: Sequence[PlanOperation]
    claimed_at: datetime
    asked_by: str


@dataclass(kw_only=True)
class Outcome:
    """What came of it. `idle` are operations that cannot be carried out, and therefore do nothing from now on."""

    status: ValidationStatus
    message: str = ""
    found: list[impact.Finding] = field(default_factory=list)
    impact: Impact = field(default_factory=Impact)
    added: list[PlanOperation] = field(default_factory=list)
    idle: set[int] = field(default_factory=set)


def run(plan_id: int, *, asked_by: str = "") -> None:
    """Validate the plan, unless another worker does, or nobody wants it any more. `asked_by` is a person's key."""
    errand = _claim(plan_id, asked_by)
    if errand is None:
        logger.info("Validation of plan %s is claimed already, or over", plan_id)
        return
    outcome = uvloop.run(_attempt(errand))
    _finish(errand, outcome)


def _claim(plan_id: int, asked_by: str) -> Errand | None:
    now = timezone.now()
    queued = DeploymentPlan.objects.filter(pk=plan_id, status=PlanStatus.SAVED, validation=ValidationStatus.QUEUED)
    claim = {"validation": ValidationStatus.RUNNING, "validated_at": now, "validated_revision": F("revision")}
    if not queued.update(**claim):
        return None
    plan = DeploymentPlan.objects.select_related("source", "target").filter(pk=plan_id).first()
    if plan is None:
        return None  # discarded
    operations = list(plan.operations.select_related("application").order_by("position", "pk"))
    return Errand(plan=plan, operations=operations, claimed_at=now, asked_by=asked_by)


async def _attempt(errand: Errand) -> Outcome:
    try:
        async with gate.session() as session, asyncio.timeout(LONGEST), AsyncExitStack() as contacts:
            return await _validate(errand, session, contacts)
    except (gate.Refused, gate.CalledOff) as refusal:
        return Outcome(status=ValidationStatus.ABORTED, message=str(refusal))
    except (gate.Unreachable, gate.Rejected) as trouble:
        return Outcome(status=ValidationStatus.FAILED, message=str(trouble))
    except TimeoutError:
        message = f"It took longer than {LONGEST:.0f} seconds. What was read is kept: validate it again."
        return Outcome(status=ValidationStatus.FAILED, message=message)
    except Exception:
        logger.exception("Validation of plan %s failed", errand.plan.pk)
        message = "The console made a mistake here; its log has the details. Try again, then report it."
        return Outcome(status=ValidationStatus.FAILED, message=message)


async def _validate(errand: Errand, session: gate.Session, contacts: AsyncExitStack) -> Outcome:
    async def enter(environment: Environment) -> Side:
        contact = session.contact(environment.pk, Purpose.DEPLOY, plan_number=errand.plan.number)
        return await Side.open(environment, await contacts.enter_async_context(contact))

    plan = errand.plan
    target = await enter(plan.target)
    source = await enter(plan.source) if plan.source else None
    blocked = await sync_to_async(findings.blocks)(plan)
    idle = findings.idle(errand.operations, blocked, source, plan)
    wanted = [one for one in errand.operations if one.is_deployed and one.pk not in idle]
    chosen = await sides.choose(source, wanted)
    await target.read(list(target.applications))
    assessed = await _assess(errand, source, target, chosen, blocked)
    arriving = {**chosen.arriving, **{one.key: one for one in assessed.dependencies}}
    told = [
        *findings.of_sides(source, target, chosen),
        *idle.values(),
        *findings.of_gone(chosen, plan),
        *findings.of_tags(wanted, source),
        *findings.of_overwritten(wanted, target),
        *await findings.of_downgrades(wanted, source, target),
    ]
    added = await sync_to_async(_as_operations)(plan, assessed.dependencies)
    lacking = await sync_to_async(findings.of_rights)(errand.asked_by, plan, errand.operations, added, arriving)
    return Outcome(
        status=ValidationStatus.FINISHED,
        found=[*findings.of_added(added), *told, *lacking, *assessed.findings],
        impact=assessed,
        added=added,
        idle=set(idle),
    )


async def _assess(
    errand: Errand, source: Side | None, target: Side, chosen: Chosen, blocked: findings.Blocks
) -> Impact:
    """Ask again and again, until everything of the source that matters has been read."""
    plan = errand.plan
    kept_out = {
        **{
            one.application_key: f"{one.application_name} is set to Do Nothing in the plan."
            for one in errand.operations
        },
        **{key: findings.blocked(block, plan) for key, block in blocked.items()},
    }
    for key in chosen.arriving:
        kept_out.pop(key, None)
    while True:
        assessed = impact.assess(
            impact.Case(
                source=plan.source.name if plan.source else "",
                target=plan.target.name,
                in_source=source.applications if source else {},
                in_target=target.applications,
                arriving=chosen.arriving,
                kept_out=kept_out,
                source_platform=source.platform if source else "",
                target_platform=target.platform,
            )
        )
        if source is None or not assessed.unread:
            return assessed
        await source.read(assessed.unread)


def _as_operations(plan: DeploymentPlan, dependencies: Sequence[Application]) -> list[PlanOperation]:
    """What the plan does with what it lacked: the tag that the source runs, or a new one when it was changed since."""
    if not dependencies or plan.source is None:
        return []
    keys = [one.key for one in dependencies]
    known = {one.key: one for one in KnownApplication.objects.filter(key__in=keys)}
    told = ApplicationStatus.objects.filter(environment=plan.source, application__key__in=keys)
    statuses = {one.application_id: one for one in told}
    version_keys = [one.version_key for one in statuses.values() if one.version_key]
    tagged = {one.key: one for one in ApplicationVersion.objects.filter(key__in=version_keys)}
    used = used_numbers([one.pk for one in known.values()])
    operations = []
    for dependency in dependencies:
        application = known.get(dependency.key)
        status = statuses.get(application.pk) if application else None
        if application is None or status is None:
            raise gate.Refused(f"{dependency.name} was removed from {plan.source} meanwhile. Validate the plan again.")
        version = tagged.get(status.version_key) if status.version_key and not status.is_modified else None
        taken = used.get(application.pk, set())
        highest = max([status.version, *taken], key=versions.order)
        operations.append(
            PlanOperation(
                plan=plan,
                application=application,
                application_key=application.key,
                application_name=application.name,
                kind=OperationKind.DEPLOY if version else OperationKind.TAG_AND_DEPLOY,
                version=version,
                version_key=version.key if version else None,
                version_number=version.version if version else versions.suggest(highest, taken),
                is_dependency=True,
            )
        )
    return operations


# Keeping what was found


def _finish(errand: Errand, outcome: Outcome) -> None:
    with suppress(PlanRefused), locked(errand.plan) as plan:  # discarded, or given another target, meanwhile
        if plan.validated_at == errand.claimed_at and plan.validation == ValidationStatus.RUNNING:
            _keep(plan, outcome)
            return
    _say_edited(errand)


def _keep(plan: DeploymentPlan, outcome: Outcome) -> None:
    if plan.revision != plan.validated_revision:  # settings may have been given meanwhile; they raise both
        outcome = Outcome(status=ValidationStatus.FAILED, message=EDITED)
    if outcome.status in (ValidationStatus.FINISHED, ValidationStatus.ABORTED):
        try:
            refuse_maintenance(plan.environments, Operation.OPERATE_PLANS)
        except gate.InMaintenance as refusal:
            outcome = Outcome(status=ValidationStatus.ABORTED, message=str(refusal))
    entries = _store(plan, outcome) if outcome.status == ValidationStatus.FINISHED else []
    plan.validation, plan.validation_message = outcome.status, outcome.message[:500]
    plan.validated_revision, plan.validated_at = plan.revision, timezone.now()
    changed = ["validation", "validation_message", "validated_revision", "validated_at", "revision"]
    plan.save(update_fields=changed)
    if entries:
        log.record_all(entries)


def _say_edited(errand: Errand) -> None:
    """What was found is about a plan that is another one by now, unless it is gone."""
    rows = DeploymentPlan.objects.filter(pk=errand.plan.pk, validation=ValidationStatus.NONE)
    rows.exclude(revision=errand.plan.revision).update(validation_message=EDITED)


def _store(plan: DeploymentPlan, outcome: Outcome) -> list[log.Entry]:
    """Everything that was found, in the place of what was found before; answers the audit entries."""
    position = plan.operations.count()
    for place, operation in enumerate(outcome.added):
        operation.position = position + place
    PlanOperation.objects.bulk_create(outcome.added)
    idle = plan.operations.filter(pk__in=outcome.idle).exclude(kind=OperationKind.NOTHING)
    stopped = list(idle.values_list("application_name", flat=True).order_by("position", "pk"))
    idle.update(kind=OperationKind.NOTHING, is_proposed=False)
    if outcome.added or stopped:
        plan.revision += 1
    operations = {one.application_key: one for one in plan.operations.order_by("position", "pk")}
    _refresh(plan, operations.values())
    plan.findings.all().delete()
    PlanFinding.objects.bulk_create(
        (findings.row(plan, place, one, operations) for place, one in enumerate(findings.in_order(outcome.found))),
        batch_size=1000,
    )
    left_out = set(plan.dependents.filter(is_selected=False).values_list("application_key", flat=True))
    plan.dependents.all().delete()
    PlanDependent.objects.bulk_create(
        PlanDependent(
            plan=plan,
            application_key=one.application.key,
            application_name=one.application.name,
            reason=one.reason,
            is_selected=one.application.key not in left_out,
        )
        for one in outcome.impact.dependents
    )
    plan.removals.all().delete()
    PlanRemoval.objects.bulk_create(
        PlanRemoval(
            plan=plan,
            application_key=one.application.key,
            application_name=one.application.name,
            module_key=one.module.key,
            module_name=one.module.name,
        )
        for one in outcome.impact.removals
    )
    return _entries(plan, outcome.added, stopped)


def _refresh(plan: DeploymentPlan, operations: Collection[PlanOperation]) -> None:
    """What both sides had when it was validated."""
    told = ApplicationStatus.objects.filter(
        environment__in=plan.environments, application__key__in=[one.application_key for one in operations]
    )
    statuses = {(one.environment_id, key): one for one in told.annotate(key=F("application__key")) for key in [one.key]}
    for operation in operations:
        here = statuses.get((plan.source_id or 0, operation.application_key))
        there = statuses.get((plan.target_id, operation.application_key))
        operation.source_version = here.version if here else ""
        operation.source_is_modified = bool(here and here.is_modified)
        operation.target_version, operation.target_existed = there.version if there else "", there is not None
    fields = ["source_version", "source_is_modified", "target_version", "target_existed"]
    PlanOperation.objects.bulk_update(operations, fields, batch_size=500)


def _entries(plan: DeploymentPlan, added: Sequence[PlanOperation], stopped: Sequence[str]) -> list[log.Entry]:
    name = plan.audit_object.name
    messages = [
        f"Added dependency '{one.application_name}' ({one.described}) to deployment plan '{name}'" for one in added
    ]
    messages += [f"Selected 'Do Nothing' for '{one}' in deployment plan '{name}'" for one in stopped]
    return [log.Entry(message=message, on=plan.audit_object, by=log.SYSTEM) for message in messages]


def recover() -> None:
    """End what a dead worker left behind, enqueue again what was forgotten. Twice does no harm."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE deployments_deploymentplan SET validation = 'failed', validated_at = clock_timestamp(), "
            "validation_message = 'The worker that validated the plan stopped answering. Validate it again.' "
            "WHERE validation = 'running' AND validated_at < clock_timestamp() - make_interval(secs => %s)",
            [ORPHANED_AFTER],
        )
        cursor.execute(
            "UPDATE deployments_deploymentplan SET validated_at = clock_timestamp() "
            "WHERE validation = 'queued' AND status = 'saved' "
            "AND validated_at < clock_timestamp() - make_interval(secs => %s) RETURNING id",
            [FORGOTTEN_AFTER],
        )
        forgotten = [plan_id for (plan_id,) in cursor.fetchall()]
        for plan_id in sorted(forgotten):
            enqueue(TASK, plan_id)
