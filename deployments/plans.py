"""Deployment plans, as people make and operate them. Nobody is contacted here: `deployments.execution` does the work.

Each function decides under the locks of source, target and plan, in this order, and records what was done. All
refusals are `gate.Refused`, with a text for people; nothing has changed then. Making and changing plans is in
`deployments.editing`, making them anew in `deployments.again`; callers find all of it here.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from audit import log
from deployments import journal, occupation, states
from deployments.again import retry, reuse
from deployments.choices import Choice, choice_of, keep_settings, sealed
from deployments.editing import (
    SAVED,
    change,
    change_target,
    create,
    discard,
    note_saved,
    prune,
    relabel,
    save,
    select_dependents,
    set_settings,
)
from deployments.journal import Line
from deployments.locking import ChangedMeanwhile, PlanRefused, locked, refuse_changed, refuse_closed
from deployments.models import (
    DeploymentPlan,
    LineType,
    PlanOperation,
    PlanStatus,
    PlanStep,
    Remote,
    Severity,
    StepName,
    StepState,
    TargetState,
)
from deployments.models.plan import REASON_LENGTH
from deployments.words import counted, named
from environments.models import ApplicationBlock, ApplicationStatus, MaintenanceWindow
from environments.operations import Operation
from lifetime.queue import enqueue

__all__ = [
    "ADVANCE",
    "ChangedMeanwhile",
    "Choice",
    "PlanRefused",
    "abort",
    "abort_for",
    "change",
    "change_target",
    "choice_of",
    "continue_",
    "create",
    "discard",
    "end_steps",
    "in_progress_between",
    "prune",
    "relabel",
    "retry",
    "reuse",
    "save",
    "select_dependents",
    "set_settings",
    "start",
]

ADVANCE = "deployments.tasks.advance"
STARTED = (
    "status",
    "information",
    "started_at",
    "started_by",
    "started_by_username",
    "redeploy_outdated",
    "continue_with_errors",
    "accept_module_removal",
    "two_stage",
    "step",
)


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
    with locked(plan) as plan:
        if plan.status != PlanStatus.SAVED:
            raise states.WrongState(f"{plan} cannot be started: {states.told(plan)}")
        refuse_closed(plan.environments, Operation.DEPLOY)
        refuse_changed(plan, revision)
        operations = [one for one in plan.operations.order_by("position", "pk") if one.is_deployed]
        _refuse_unfit(plan, operations, continue_with_errors=continue_with_errors)
        occupation.occupy(plan, operations)
        if plan.is_draft:
            note_saved(plan, by)
        states.move(plan, PlanStatus.RUNNING)
        plan.started_at, plan.started_by, plan.started_by_username = timezone.now(), by.name, by.username
        plan.redeploy_outdated, plan.continue_with_errors = redeploy_outdated, continue_with_errors
        plan.accept_module_removal = accept_module_removal
        plan.two_stage, plan.step = plan.target.two_stage_deployments, StepName.RETRIEVING
        plan.save(update_fields=[*SAVED, *STARTED])
        PlanStep.objects.bulk_create(
            PlanStep(plan=plan, position=position, name=name) for position, name in enumerate(StepName.values, start=1)
        )
        what = counted(len(operations), "application")
        journal.write(plan, Line(message=f"{by.name} started the deployment of {what}."))
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
    texts = sealed(settings or {})
    with locked(plan) as plan:
        if plan.status == PlanStatus.RUNNING and plan.answer.get("information") == information:
            return plan
        if plan.status != PlanStatus.NEEDS_USER_INTERVENTION or plan.information != information:
            raise states.WrongState(f"{plan} does not wait for that: {states.told(plan)}")
        refuse_closed(plan.environments, Operation.OPERATE_PLANS)
        if texts:
            keep_settings(plan, texts)
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
    with locked(plan) as plan:
        if not plan.is_in_progress or plan.status == PlanStatus.ABORTING:
            raise states.WrongState(f"{plan} cannot be aborted: {states.told(plan)}")
        refuse_closed(plan.environments, Operation.OPERATE_PLANS)
        if not plan.can_abort:
            step = StepName(plan.step).label
            raise PlanRefused(f"{plan} cannot be aborted now: “{step}” must come to its end. It takes a moment.")
        states.move(plan, PlanStatus.ABORTING)
        states.note_abort(plan, by=by, reason=reason or f"{by.name} aborted it.")
        plan.save(update_fields=["status", "information", *states.ABORT])
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


def _refuse_unfit(plan: DeploymentPlan, operations: Sequence[PlanOperation], *, continue_with_errors: bool) -> None:
    """Raise PlanRefused when there is nothing to do, something is gone or blocked, or it is not validated."""
    if not operations:
        raise PlanRefused(f"{plan} does nothing: add applications to deploy.")
    keys = [one.application_key for one in operations]
    if plan.source is not None:
        there = ApplicationStatus.objects.filter(environment=plan.source, application__key__in=keys)
        found = set(there.values_list("application__key", flat=True))
        if gone := sorted(one.application_name for one in operations if one.application_key not in found):
            raise PlanRefused(f"Not in {plan.source} any more: {named(gone)}. Remove them from the plan.")
    blocked = ApplicationBlock.objects.in_force().filter(environment=plan.target, application__key__in=keys)
    if names := sorted(blocked.values_list("application__name", flat=True)):
        raise PlanRefused(f"Blocked from deployment to {plan.target}: {named(names)}. Choose Do Nothing for them.")
    if not plan.is_validated:
        raise PlanRefused(f"{plan} is not validated as it is now. Validate it first.")
    errors = plan.findings.filter(severity=Severity.ERROR)
    if not continue_with_errors and (first := errors.order_by("position", "pk").first()):
        count = errors.count()
        more = f" ({count - 1} more)" if count > 1 else ""
        raise PlanRefused(f"Validation found errors: {first.message}{more} Fix them, or continue with errors.")


def _deploying(plan: DeploymentPlan, operation: PlanOperation, by: log.Actor) -> log.Entry:
    name = plan.audit_object.name
    return log.Entry(
        message=f"Started deploy of application '{operation.application_name}' in environment '{plan.target}' "
        f"(deployment plan '{name}')",
        on=log.AuditObject(type="application", key=str(operation.application_key), name=operation.application_name),
        by=by,
        details={"plan": str(plan.key), "operation": operation.described, "environment": plan.target.name},
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
    aborted, lines = [], []
    for plan in DeploymentPlan.objects.filter(pk__in=ids).select_related("source", "target").order_by("pk"):
        environment = plan.target if plan.target_id in windows or plan.source is None else plan.source
        window = plan.window = windows[environment.pk]
        why = f"Maintenance mode of '{environment}' was enabled: {window.reason}"
        states.move(plan, PlanStatus.ABORTED)
        states.note_abort(plan, by=by, reason=why, at=window.enabled_at)
        plan.ended_at = window.enabled_at
        states.lose_sight(plan)
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
        lines += [(plan.pk, line) for line in _said(plan, why)]
    _store_aborted([plan for plan, _ in aborted])
    journal.write_all(lines)
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


def _said(plan: DeploymentPlan, why: str) -> list[Line]:
    """The last lines of the plan's log."""
    messages = (
        f"Cannot continue the operation because the environment is in maintenance mode. {why}",
        "The plan was aborted.",
    )
    return [Line(message=message, type=LineType.ERROR, step=plan.step) for message in messages]


def end_steps(plan_ids: Sequence[int]) -> None:
    """No step of these plans, which were aborted, goes on: what had been done was undone, up to the switch."""
    steps = PlanStep.objects.filter(plan__in=plan_ids)
    steps.filter(state=StepState.RUNNING).update(state=StepState.FAILED, ended_at=timezone.now())
    steps.filter(state=StepState.FINISHED, plan__target_state=TargetState.UNCHANGED).update(state=StepState.UNDONE)
