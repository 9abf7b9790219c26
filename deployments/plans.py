"""Deployment plans and what becomes of them when an environment goes into maintenance mode."""

from collections.abc import Mapping, Sequence

from django.db import connection

from audit import log
from deployments.models import DeploymentPlan, PlanStatus
from environments.models import MaintenanceWindow


def in_progress_between(environment_ids: list[int]) -> list[DeploymentPlan]:
    """Plans in progress to or from one of these environments: what enabling maintenance mode would abort."""
    plans = DeploymentPlan.objects.in_progress().between(environment_ids)
    return list(plans.select_related("source", "target").order_by("number"))


def abort_for(windows: Mapping[int, MaintenanceWindow], *, by: log.Actor) -> list[tuple[DeploymentPlan, log.Entry]]:
    """Abort the plans in progress to or from these environments (by environment id); saved plans stay as they are.

    Runs in the caller's transaction, which holds the environments' rows. Returns each plan with its audit entry, for
    the caller to record with its own. Plans between other environments are never touched.
    """
    plans = DeploymentPlan.objects.in_progress().between(list(windows)).select_for_update().order_by("pk")
    ids = list(plans.values_list("pk", flat=True))
    if not ids:
        return []
    aborted = []
    for plan in DeploymentPlan.objects.filter(pk__in=ids).select_related("source", "target").order_by("pk"):
        environment = plan.target if plan.target_id in windows else plan.source
        window = plan.window = windows[environment.pk]
        plan.status = PlanStatus.ABORTED
        plan.aborted_at, plan.aborted_by = window.enabled_at, by.name
        plan.abort_reason = f"Maintenance mode of '{environment}' was enabled: {window.reason}"
        entry = log.Entry(
            message=f"Aborted deployment plan '{plan.audit_object.name}': "
            f"maintenance mode of '{environment}' was enabled",
            on=plan.audit_object,
            by=by,
            reason=window.reason,
            cause=window.audit_key,
        )
        aborted.append((plan, entry))
    _store([plan for plan, _ in aborted])
    return aborted


def _store(aborted: Sequence[DeploymentPlan]) -> None:
    """One statement for all of them; what an abort by maintenance mode changes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE deployments_deploymentplan p SET status = 'aborted', aborted_at = v.at, aborted_by = v.by, "
            "abort_reason = v.reason, window_id = v.window_id "
            "FROM unnest(%s::bigint[], %s::timestamptz[], %s::text[], %s::text[], %s::bigint[]) "
            "AS v(id, at, by, reason, window_id) WHERE p.id = v.id",
            [
                [plan.pk for plan in aborted],
                [plan.aborted_at for plan in aborted],
                [plan.aborted_by for plan in aborted],
                [plan.abort_reason for plan in aborted],
                [plan.window_id for plan in aborted],
            ],
        )
