"""Deployment plans, as people make and operate them. Nobody is contacted here: `deployments.execution` does the work.

Each function decides under the locks of source, target and plan, in this order, and records what was done. All
refusals are `gate.Refused`, with a text for people; nothing has changed then.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from audit import log
from deployments import journal, occupation, states
from deployments.choices import Choice, choice_of, described, keep_settings, replace_operations, selections
from deployments.journal import Line
from deployments.models import (
    DeploymentPlan,
    LineType,
    OperationKind,
    PlanOperation,
    PlanStatus,
    PlanStep,
    Remote,
    Severity,
    StepName,
    StepState,
    TargetState,
    ValidationStatus,
)
from deployments.models.plan import LABEL_LENGTH, NOTES_LENGTH, REASON_LENGTH
from environments import gate, tagging
from environments.models import (
    ApplicationBlock,
    ApplicationStatus,
    Environment,
    MaintenanceWindow,
)
from environments.operations import Operation, explain
from lifetime.queue import enqueue

ADVANCE = "deployments.tasks.advance"
NAMED_AT_MOST = 5


class PlanRefused(gate.Refused):
    """Nothing was done with the plan. The text says why, and what to do."""


class ChangedMeanwhile(PlanRefused):
    """The plan is not as the person saw it when they decided."""


# Making and changing plans


def create(
    source: Environment | None,
    target: Environment,
    *,
    by: log.Actor,
    label: str = "",
    notes: str = "",
    choices: Sequence[Choice] = (),
) -> DeploymentPlan:
    """A new draft. Raises ValidationError (label, notes, choices) and gate.Refused."""
    if source is not None and source.pk == target.pk:
        raise PlanRefused("Source and target are the same environment; choose two.")
    with transaction.atomic():
        environments = _lock([source.pk, target.pk] if source else [target.pk])
        _refuse_closed(environments.values(), Operation.DEPLOY)
        plan = DeploymentPlan(
            number=_next_number(),
            label=_clean_label(label),
            notes=_clean_notes(notes),
            source=environments[source.pk] if source else None,
            target=environments[target.pk],
            created_by=by.name,
            created_by_username=by.username,
        )
        plan.save()
        replace_operations(plan, choices)
        whence = f"from '{source}' " if source else ""
        entry = log.Entry(
            message=f"Created deployment plan '{plan.audit_object.name}' {whence}to '{target}'",
            on=plan.audit_object,
            by=by,
            details={"source": source.name if source else "", "target": target.name},
        )
        log.record_all([entry, *selections(plan, by)])
    return plan


def save(
    plan: DeploymentPlan, *, by: log.Actor, revision: int, label: str | None = None, notes: str | None = None
) -> DeploymentPlan:
    """Keep the plan for others to see and run, with its label and notes where they are given."""
    with _changing(plan, revision) as plan:
        plan.label = plan.label if label is None else _clean_label(label)
        plan.notes = plan.notes if notes is None else _clean_notes(notes)
        _note_saved(plan, by)
        plan.save(update_fields=["label", "notes", "saved_at", "saved_by", "saved_by_username"])
        log.record(f"Saved deployment plan '{plan.audit_object.name}'", plan.audit_object, by=by)
    return plan


def change(plan: DeploymentPlan, choices: Sequence[Choice], *, by: log.Actor, revision: int) -> DeploymentPlan:
    """Replace what the plan does. What validation had found is outdated then."""
    with _changing(plan, revision) as plan:
        before = described(plan)
        replace_operations(plan, choices)
        _raise_revision(plan)
        after = described(plan)
        entries = [entry for entry in selections(plan, by) if entry.message not in before]
        entries += [
            log.Entry(
                message=f"Removed application '{name}' from deployment plan '{plan.audit_object.name}'",
                on=plan.audit_object,
                by=by,
            )
            for name in sorted(set(before.values()) - set(after.values()))
        ]
        if entries:
            log.record_all(entries)
    return plan


def change_target(plan: DeploymentPlan, target: Environment, *, by: log.Actor, revision: int) -> DeploymentPlan:
    """Deploy the same to another environment."""
    if target.pk == plan.source_id:
        raise PlanRefused("Source and target are the same environment; choose two.")
    with _changing(plan, revision, also=[target.pk]) as plan:
        before, plan.target = plan.target, target
        plan.save(update_fields=["target"])
        replace_operations(plan, [choice_of(operation) for operation in plan.operations.order_by("position", "pk")])
        _raise_revision(plan)
        log.record(
            f"Changed the target of deployment plan '{plan.audit_object.name}' from '{before}' to '{target}'",
            plan.audit_object,
            by=by,
        )
    return plan


def set_settings(
    plan: DeploymentPlan, documents: Mapping[UUID, dict[str, Any]], *, by: log.Actor, revision: int
) -> DeploymentPlan:
    """Settings to apply with the deployment, by application key: bodies of the Environment API's PUT settings."""
    with _changing(plan, revision) as plan:
        keep_settings(plan, documents)
        names = ", ".join(sorted(one.application_name for one in plan.operations.filter(application_key__in=documents)))
        log.record(
            f"Configured settings of {names} in deployment plan '{plan.audit_object.name}'", plan.audit_object, by=by
        )
    return plan


def select_dependents(plan: DeploymentPlan, application_keys: Collection[UUID], *, by: log.Actor) -> DeploymentPlan:
    """Which applications of the target are republished with the plan."""
    with _changing(plan, None) as plan:
        for dependent in plan.dependents.order_by("pk"):
            is_selected = dependent.application_key in application_keys
            if dependent.is_selected != is_selected:
                dependent.is_selected = is_selected
                dependent.save(update_fields=["is_selected"])
    return plan


def relabel(plan: DeploymentPlan, label: str, *, by: log.Actor) -> DeploymentPlan:
    """Call the plan otherwise, whatever its state."""
    label = _clean_label(label)
    with _locked(plan) as plan:
        _refuse_closed(plan.environments, Operation.OPERATE_PLANS)
        before, plan.label = plan.label, label
        plan.save(update_fields=["label"])
        log.record(
            f"Relabelled deployment plan '{plan.audit_object.name}' from '{before}' to '{label}'",
            plan.audit_object,
            by=by,
        )
    return plan


def discard(plan: DeploymentPlan, *, by: log.Actor) -> None:
    """Forget a plan that has not been started."""
    with _locked(plan) as plan:
        _refuse_maintenance(plan.environments, Operation.OPERATE_PLANS)
        if plan.status != PlanStatus.SAVED:
            raise states.WrongState(f"Only a plan that has not been started can be discarded: {states.told(plan)}")
        entry = log.Entry(
            message=f"Discarded deployment plan '{plan.audit_object.name}'",
            on=plan.audit_object,
            by=by,
            details={"label": plan.label, "target": plan.target.name},
        )
        plan.delete()
        log.record_all([entry])


# Operating plans


def start(
    plan: DeploymentPlan,
    *,
    by: log.Actor,
    revision: int | None = None,
    redeploy_outdated: bool = True,
    continue_with_errors: bool = False,
    accept_module_removal: bool = False,
) -> DeploymentPlan:
    """Have the plan carried out: it is running from now on. It must be validated as it is, and be free to run."""
    with _locked(plan) as plan:
        if plan.status != PlanStatus.SAVED:
            raise states.WrongState(f"{plan} cannot be started: {states.told(plan)}")
        _refuse_closed(plan.environments, Operation.DEPLOY)
        _refuse_changed(plan, revision)
        operations = [one for one in plan.operations.order_by("position", "pk") if one.is_deployed]
        _refuse_unfit(plan, operations, continue_with_errors=continue_with_errors)
        occupation.occupy(plan, operations)
        if plan.is_draft:
            _note_saved(plan, by)
        states.move(plan, PlanStatus.RUNNING)
        plan.started_at, plan.started_by, plan.started_by_username = timezone.now(), by.name, by.username
        plan.redeploy_outdated, plan.continue_with_errors = redeploy_outdated, continue_with_errors
        plan.accept_module_removal = accept_module_removal
        plan.two_stage, plan.step = plan.target.two_stage_deployments, StepName.RETRIEVING
        plan.save()
        PlanStep.objects.bulk_create(
            PlanStep(plan=plan, position=position, name=name) for position, name in enumerate(StepName.values, start=1)
        )
        journal.write(plan, Line(message=f"{by.name} started the deployment of {len(operations)} applications."))
        enqueue(ADVANCE)
        launched = log.Entry(
            message=f"Launched deployment plan '{plan.audit_object.name}'",
            on=plan.audit_object,
            by=by,
            details={"source": plan.source.name if plan.source else "", "target": plan.target.name},
        )
        log.record_all([launched, *(_deploying(plan, operation, by) for operation in operations)])
    return plan


def continue_(
    plan: DeploymentPlan,
    *,
    by: log.Actor,
    information: str,
    settings: Mapping[UUID, dict[str, Any]] | None = None,
) -> DeploymentPlan:
    """Answer what the plan waits for (`information`). Two people's answer is one: the second finds it running."""
    with _locked(plan) as plan:
        if plan.status == PlanStatus.RUNNING and plan.answer.get("information") == information:
            return plan
        if plan.status != PlanStatus.NEEDS_USER_INTERVENTION or plan.information != information:
            raise states.WrongState(f"{plan} does not wait for that: {states.told(plan)}")
        _refuse_closed(plan.environments, Operation.OPERATE_PLANS)
        if settings:
            keep_settings(plan, settings)
        plan.answer = {"information": information, "by": {"name": by.name, "username": by.username}}
        states.move(plan, PlanStatus.RUNNING)
        plan.claimed_by, plan.claimed_until, plan.attempts = None, None, 0
        plan.save(update_fields=["answer", "status", "information", "claimed_by", "claimed_until", "attempts"])
        journal.write(plan, Line(message=f"{by.name} continued the deployment.", step=plan.step))
        enqueue(ADVANCE)
        log.record(
            f"Continued deployment plan '{plan.audit_object.name}'",
            plan.audit_object,
            by=by,
            details={"information": information},
        )
    return plan


def abort(plan: DeploymentPlan, *, by: log.Actor, reason: str = "") -> DeploymentPlan:
    """Stop the plan; a worker undoes what it has done to the target. Not while the target switches over."""
    reason = " ".join(reason.split())[:REASON_LENGTH]
    with _locked(plan) as plan:
        if not plan.is_in_progress or plan.status == PlanStatus.ABORTING:
            raise states.WrongState(f"{plan} cannot be aborted: {states.told(plan)}")
        _refuse_closed(plan.environments, Operation.OPERATE_PLANS)
        if not plan.can_abort:
            step = StepName(plan.step).label
            raise PlanRefused(f"{plan} cannot be aborted now: “{step}” must come to its end. It takes a moment.")
        states.move(plan, PlanStatus.ABORTING)
        plan.aborted_at, plan.aborted_by, plan.aborted_by_username = timezone.now(), by.name, by.username
        plan.abort_reason, plan.aborted_at_step = reason or f"{by.name} aborted it.", plan.step
        plan.save()
        journal.write(plan, Line(message=f"{by.name} aborts: {plan.abort_reason}", step=plan.step))
        enqueue(ADVANCE)
        log.record(
            f"Aborted deployment plan '{plan.audit_object.name}'",
            plan.audit_object,
            by=by,
            reason=reason[:500],
            details={"step": plan.step},
        )
    return plan


def retry(plan: DeploymentPlan, *, by: log.Actor) -> DeploymentPlan:
    """A new draft that does what the aborted plan did; what it has tagged is deployed from that tag."""
    if plan.status != PlanStatus.ABORTED:
        raise states.WrongState(f"Only an aborted plan is retried: {states.told(plan)}")
    draft, _ = _again(plan, plan.source, plan.target, by=by, same_versions=True)
    return draft


def reuse(
    plan: DeploymentPlan, *, by: log.Actor, source: Environment, target: Environment, same_versions: bool = True
) -> tuple[DeploymentPlan, list[str]]:
    """A new draft with the applications of a finished plan, and what could not be taken over, in words."""
    if not plan.is_finished:
        raise states.WrongState(f"Only a finished plan is reused: {states.told(plan)}")
    return _again(plan, source, target, by=by, same_versions=same_versions)


def _again(
    plan: DeploymentPlan, source: Environment | None, target: Environment, *, by: log.Actor, same_versions: bool
) -> tuple[DeploymentPlan, list[str]]:
    if source is None:
        raise PlanRefused(f"{plan} deployed an uploaded package. Upload the package again.")
    operations = list(plan.operations.order_by("position", "pk").select_related("application", "version"))
    there = set(
        ApplicationStatus.objects.filter(
            environment=source, application__in=[one.application_id for one in operations]
        ).values_list("application_id", flat=True)
    )
    choices, messages = [], []
    for operation in operations:
        if operation.application_id is None or operation.application_id not in there:
            messages.append(f"{operation.application_name} is not in {source} any more.")
        else:
            choices.append(_renewed(operation, source, same_versions=same_versions))
    if not choices:
        raise PlanRefused(f"None of the applications of {plan} is in {source} any more. Make a new plan.")
    with transaction.atomic():
        draft = create(source, target, by=by, label=plan.label, notes=plan.notes, choices=choices)
        journal.write(draft, Line(message=f"Made from {plan}."))
    return draft, messages


def _renewed(operation: PlanOperation, source: Environment, *, same_versions: bool) -> Choice:
    if operation.kind == OperationKind.NOTHING:
        return choice_of(operation)
    if same_versions and operation.version is not None:
        return Choice(
            application_key=operation.application_key,
            kind=OperationKind.DEPLOY,
            version_key=operation.version.key,
            version_number=operation.version.version,
            zone_key=operation.zone_key,
        )
    assert operation.application is not None  # noqa: S101 - for the type checker
    proposal = tagging.propose(source, operation.application)
    status = ApplicationStatus.objects.get(environment=source, application=operation.application)
    if proposal.is_modified or status.version_key is None:
        return Choice(
            application_key=operation.application_key,
            kind=OperationKind.TAG_AND_DEPLOY,
            version_number=proposal.suggestion,
            change_log=operation.change_log,
            zone_key=operation.zone_key,
        )
    return Choice(
        application_key=operation.application_key,
        kind=OperationKind.DEPLOY,
        version_key=status.version_key,
        version_number=status.version,
        zone_key=operation.zone_key,
    )


# What maintenance mode does to plans


def in_progress_between(environment_ids: list[int]) -> list[DeploymentPlan]:
    """Plans in progress to or from one of these environments: what enabling maintenance mode would abort."""
    plans = DeploymentPlan.objects.in_progress().between(environment_ids)
    return list(plans.select_related("source", "target").order_by("number"))


def abort_for(windows: Mapping[int, MaintenanceWindow], *, by: log.Actor) -> list[tuple[DeploymentPlan, log.Entry]]:
    """Abort the plans in progress to or from these environments (by environment id); saved plans stay as they are.

    Runs in the caller's transaction, which holds the environments' rows. Returns each plan with its audit entry, for
    the caller to record with its own. Plans between other environments are never touched. A deployment that the
    target has under way is stopped by the worker that watches it, or else when the target may be spoken to again.
    """
    plans = DeploymentPlan.objects.in_progress().between(list(windows)).select_for_update(no_key=True).order_by("pk")
    ids = list(plans.values_list("pk", flat=True))
    if not ids:
        return []
    aborted = []
    for plan in DeploymentPlan.objects.filter(pk__in=ids).select_related("source", "target").order_by("pk"):
        environment = plan.target if plan.target_id in windows or plan.source is None else plan.source
        window = plan.window = windows[environment.pk]
        states.move(plan, PlanStatus.ABORTED)
        if plan.aborted_at is None:
            plan.aborted_at, plan.aborted_by = window.enabled_at, by.name
            plan.aborted_by_username, plan.aborted_at_step = by.username, plan.step
        plan.ended_at = window.enabled_at
        plan.abort_reason = f"Maintenance mode of '{environment}' was enabled: {window.reason}"[:REASON_LENGTH]
        if plan.remote == Remote.STARTED:
            plan.target_state = TargetState.UNKNOWN
        entry = log.Entry(
            message=f"Aborted deployment plan '{plan.audit_object.name}': "
            f"maintenance mode of '{environment}' was enabled",
            on=plan.audit_object,
            by=by,
            reason=window.reason,
            cause=window.audit_key,
            details={"step": plan.aborted_at_step, "target_state": plan.target_state},
        )
        aborted.append((plan, entry))
    _store_aborted([plan for plan, _ in aborted])
    return aborted


STORE_ABORTED = """
UPDATE deployments_deploymentplan p SET status = 'aborted', information = '', ended_at = v.ended_at,
    aborted_at = v.at, aborted_by = v.by, aborted_by_username = v.username, aborted_at_step = v.step,
    abort_reason = v.reason, window_id = v.window_id, target_state = v.target_state
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::bigint[], %s::text[]) AS v(id, ended_at, at, by, username, step, reason, window_id, target_state)
WHERE p.id = v.id
"""


def _store_aborted(aborted: Sequence[DeploymentPlan]) -> None:
    """What an abort by maintenance mode changes, by one statement for each table."""
    rows = [
        (
            *(plan.pk, plan.ended_at, plan.aborted_at, plan.aborted_by, plan.aborted_by_username),
            *(plan.aborted_at_step, plan.abort_reason, plan.window_id, plan.target_state),
        )
        for plan in aborted
    ]
    with connection.cursor() as cursor:
        cursor.execute(STORE_ABORTED, [list(column) for column in zip(*rows, strict=True)])
    end_steps([plan.pk for plan in aborted])
    occupation.vacate([plan.pk for plan in aborted if plan.remote != Remote.STARTED])
    lines = []
    for plan in aborted:
        reason = plan.abort_reason
        message = f"Cannot continue the operation because the environment is in maintenance mode. {reason}"
        lines.append((plan.pk, Line(message=message, type=LineType.ERROR, step=plan.step)))
        lines.append((plan.pk, Line(message="The plan was aborted.", type=LineType.ERROR, step=plan.step)))
    journal.write_all(lines)


def end_steps(plan_ids: Sequence[int]) -> None:
    """No step of these plans, which were aborted, goes on: what had been done was undone, up to the switch."""
    steps = PlanStep.objects.filter(plan__in=plan_ids)
    steps.filter(state=StepState.RUNNING).update(state=StepState.FAILED, ended_at=timezone.now())
    steps.filter(state=StepState.FINISHED, plan__target_state=TargetState.UNCHANGED).update(state=StepState.UNDONE)


# Locks and refusals


def _lock(environment_ids: Collection[int]) -> dict[int, Environment]:
    return {one.pk: one for one in Environment.objects.filter(pk__in=environment_ids).lock()}


@contextmanager
def _locked(plan: DeploymentPlan, *, also: Collection[int] = ()) -> Iterator[DeploymentPlan]:
    """The plan as it is now, in a transaction that holds its environments' rows, others' (`also`), and its own."""
    with transaction.atomic():
        known = DeploymentPlan.objects.filter(pk=plan.pk).values_list("source", "target").first()
        environments = _lock([pk for pk in (*(known or ()), *also) if pk])
        found = DeploymentPlan.objects.select_for_update(no_key=True).filter(pk=plan.pk).first()
        if known is None or found is None:
            raise PlanRefused(f"{plan} is not there any more: somebody discarded it.")
        if (found.source_id, found.target_id) != known:
            raise ChangedMeanwhile(
                f"Somebody changed the target of {plan}. Look at it as it is now, then decide again."
            )
        found.source = environments[found.source_id] if found.source_id else None
        found.target = environments[found.target_id]
        yield found


@contextmanager
def _changing(plan: DeploymentPlan, revision: int | None, *, also: Collection[int] = ()) -> Iterator[DeploymentPlan]:
    """As `_locked`, for a plan that may be edited: not started, as the person saw it, its environments open."""
    with _locked(plan, also=also) as found:
        if found.status != PlanStatus.SAVED:
            raise states.WrongState(f"{found} cannot be edited any more: {states.told(found)}")
        others = list(Environment.objects.filter(pk__in=also).select_related("maintenance_window"))
        _refuse_closed([*found.environments, *others], Operation.OPERATE_PLANS)
        _refuse_changed(found, revision)
        yield found


def _refuse_maintenance(environments: Collection[Environment], operation: Operation) -> None:
    for environment in environments:
        if environment.maintenance_window:
            raise gate.InMaintenance(explain(environment.name, environment.maintenance_window, operation.label))


def _refuse_closed(environments: Collection[Environment], operation: Operation) -> None:
    for environment in environments:
        if not environment.is_registered:
            raise gate.NotRegistered(f"{environment} is not registered any more.")
    _refuse_maintenance(environments, operation)


def _refuse_changed(plan: DeploymentPlan, revision: int | None) -> None:
    if revision is not None and revision != plan.revision:
        raise ChangedMeanwhile(
            f"{plan} was changed since you looked at it. Look at it as it is now, then decide again."
        )


def _refuse_unfit(plan: DeploymentPlan, operations: Sequence[PlanOperation], *, continue_with_errors: bool) -> None:
    """Raise PlanRefused when there is nothing to do, something is gone or blocked, or it is not validated."""
    if not operations:
        raise PlanRefused(f"{plan} does nothing: add applications to deploy.")
    keys = [one.application_key for one in operations]
    if plan.source is not None:
        there = ApplicationStatus.objects.filter(environment=plan.source, application__key__in=keys)
        found = set(there.values_list("application__key", flat=True))
        if gone := [one.application_name for one in operations if one.application_key not in found]:
            raise PlanRefused(f"Not in {plan.source} any more: {_named(gone)}. Remove them from the plan.")
    blocked = ApplicationBlock.objects.in_force().filter(environment=plan.target, application__key__in=keys)
    if names := list(blocked.values_list("application__name", flat=True)):
        raise PlanRefused(f"Blocked from deployment to {plan.target}: {_named(names)}. Choose Do Nothing for them.")
    if not plan.is_validated:
        raise PlanRefused(f"{plan} is not validated as it is now. Validate it first.")
    errors = plan.findings.filter(severity=Severity.ERROR)
    if not continue_with_errors and (first := errors.order_by("position", "pk").first()):
        count = errors.count()
        more = f" ({count - 1} more)" if count > 1 else ""
        raise PlanRefused(f"Validation found errors: {first.message}{more} Fix them, or continue with errors.")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(sorted(names)[:NAMED_AT_MOST]) + more


def _clean_label(text: str) -> str:
    label = " ".join(text.split())
    if len(label) > LABEL_LENGTH:
        raise ValidationError({"label": f"Keep the label to {LABEL_LENGTH} characters."})
    return label


def _clean_notes(text: str) -> str:
    notes = text.strip().replace("\x00", "")
    if len(notes) > NOTES_LENGTH:
        raise ValidationError({"notes": f"Keep the notes to {NOTES_LENGTH:,} characters."})
    return notes


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('deployments_plan_number')")
        return int(cursor.fetchone()[0])


def _note_saved(plan: DeploymentPlan, by: log.Actor) -> None:
    plan.saved_at, plan.saved_by, plan.saved_by_username = timezone.now(), by.name, by.username


def _raise_revision(plan: DeploymentPlan) -> None:
    plan.revision += 1
    plan.validation, plan.validation_message = ValidationStatus.NONE, ""
    plan.save(update_fields=["revision", "validation", "validation_message"])


# Audit entries


def _deploying(plan: DeploymentPlan, operation: PlanOperation, by: log.Actor) -> log.Entry:
    name = plan.audit_object.name
    return log.Entry(
        message=f"Started deploy of application '{operation.application_name}' in environment '{plan.target}' "
        f"(deployment plan '{name}')",
        on=log.AuditObject(type="application", key=str(operation.application_key), name=operation.application_name),
        by=by,
        details={"plan": str(plan.key), "operation": operation.described, "environment": plan.target.name},
    )
