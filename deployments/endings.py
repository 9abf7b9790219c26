"""Plans that end because of what happens to others: an environment is unregistered, prepared packages are too old."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from audit import log
from deployments import journal, occupation, plans, states
from deployments.journal import Line
from deployments.models import DeploymentPlan, Information, LineType, PlanStatus, Remote
from environments.models import Environment
from lifetime.queue import enqueue

LATE = timedelta(minutes=5)  # the target's clock may differ from ours
PREPARED_TOO_LONG_AGO = "The prepared packages were deleted after 96 hours."


def unregister(environment: Environment, *, by: log.Actor) -> list[log.Entry]:
    """End the plans in progress to or from an environment that is being unregistered, in the caller's transaction.

    Nobody will ask a target that has gone; where the source has gone the target is told to stop. Answers the audit
    entries.
    """
    concerned = DeploymentPlan.objects.between([environment.pk])
    waiting = concerned.filter(target=environment, status=PlanStatus.ABORTED, remote=Remote.STARTED)
    rows = (concerned.in_progress() | waiting).select_for_update(no_key=True, of=("self",)).order_by("pk")
    entries = []
    for plan in rows.select_related("source", "target"):
        is_lost = plan.target_id == environment.pk
        if plan.is_in_progress:
            entries.append(_abort(plan, environment, is_lost=is_lost, by=by))
        if is_lost or plan.remote != Remote.STARTED:
            if plan.remote == Remote.STARTED:
                plan.remote = Remote.ENDED
            occupation.vacate([plan.pk])
        plan.save()
        plans.end_steps([plan.pk] if plan.status == PlanStatus.ABORTED else [])
    if entries:
        enqueue(plans.ADVANCE)
    return entries


def _abort(plan: DeploymentPlan, environment: Environment, *, is_lost: bool, by: log.Actor) -> log.Entry:
    reason = f"{by.name} unregistered environment '{environment}'."
    has_to_stop = plan.remote == Remote.STARTED and not is_lost
    if plan.status != PlanStatus.ABORTING or not has_to_stop:
        states.move(plan, PlanStatus.ABORTING if has_to_stop else PlanStatus.ABORTED)
    states.note_abort(plan, by=by, reason=reason)
    if plan.status == PlanStatus.ABORTED:
        plan.ended_at = timezone.now()
    if is_lost:
        states.lose_sight(plan)
    journal.write(plan, Line(message=reason, type=LineType.ERROR, step=plan.step))
    plan.refresh_from_db(fields=["last_line"])
    return log.Entry(
        message=f"Aborted deployment plan '{plan.audit_object.name}': environment '{environment}' was unregistered",
        on=plan.audit_object,
        by=by,
        details={"step": plan.aborted_at_step, "target_state": plan.target_state},
    )


def expire_prepared() -> None:
    """Abort plans whose prepared packages their targets have deleted; a worker tells the targets. Run each minute."""
    prepared = DeploymentPlan.objects.filter(
        status=PlanStatus.NEEDS_USER_INTERVENTION, information=Information.PREPARED
    )
    with transaction.atomic():
        rows = prepared.filter(prepared_until__lt=timezone.now() - LATE).order_by("pk")
        expired = list(rows.select_for_update(no_key=True, skip_locked=True))
        for plan in expired:
            states.move(plan, PlanStatus.ABORTING)
            states.note_abort(plan, by=log.SYSTEM, reason=PREPARED_TOO_LONG_AGO)
            plan.save(update_fields=["status", "information", *states.ABORT])
        if expired:
            enqueue(plans.ADVANCE)
