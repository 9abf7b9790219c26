"""The states of a deployment plan, and which may follow which.

Source: OutSystems' LifeTime API v2 (DeploymentStatus) and its documentation of deployment plans.
"""

from collections.abc import Mapping
from datetime import datetime

from django.utils import timezone

from audit import log
from deployments.models import DeploymentPlan, Information, PlanStatus, Remote, TargetState
from deployments.models.plan import REASON_LENGTH
from environments import gate

S = PlanStatus
TRANSITIONS: Mapping[PlanStatus, frozenset[PlanStatus]] = {
    S.SAVED: frozenset({S.RUNNING}),  # or it is discarded
    S.RUNNING: frozenset(
        {
            S.NEEDS_USER_INTERVENTION,
            S.ABORTING,
            S.ABORTED,
            S.FINISHED_SUCCESSFUL,
            S.FINISHED_WITH_WARNINGS,
            S.FINISHED_WITH_ERRORS,
        }
    ),
    S.NEEDS_USER_INTERVENTION: frozenset({S.RUNNING, S.ABORTING, S.ABORTED}),
    S.ABORTING: frozenset({S.ABORTED}),
    S.ABORTED: frozenset(),  # a retry is another plan
    S.FINISHED_SUCCESSFUL: frozenset(),
    S.FINISHED_WITH_WARNINGS: frozenset(),
    S.FINISHED_WITH_ERRORS: frozenset(),
}


class WrongState(gate.Refused):
    """The plan is in no state for this. The text says in which it is, and who brought it there."""


def move(plan: DeploymentPlan, to: PlanStatus, *, information: Information = Information.NONE) -> None:
    """Bring the plan, which the caller has locked, into another state; raises WrongState. Does not save it."""
    if to not in TRANSITIONS[PlanStatus(plan.status)]:
        raise WrongState(f"{plan} cannot become “{to.label}”: {told(plan)}")
    plan.status, plan.information = to, information


ABORT = ("aborted_at", "aborted_by", "aborted_by_username", "abort_reason", "aborted_at_step")


def note_abort(plan: DeploymentPlan, *, by: log.Actor, reason: str, at: datetime | None = None) -> None:
    """Who aborts the plan, and why, unless somebody did before. Does not save it: these are the fields of ABORT."""
    if plan.aborted_at is None:
        plan.aborted_at, plan.aborted_by, plan.aborted_by_username = at or timezone.now(), by.name, by.username
        plan.abort_reason, plan.aborted_at_step = reason[:REASON_LENGTH], plan.step


def lose_sight(plan: DeploymentPlan) -> None:
    """Nobody hears for now what becomes of the deployment that the target may have under way. Does not save it."""
    if plan.remote == Remote.STARTED and plan.target_state != TargetState.CHANGED:
        plan.target_state = TargetState.UNKNOWN


def told(plan: DeploymentPlan) -> str:
    """The state of a plan in a sentence, with who brought it there and when."""
    label = PlanStatus(plan.status).label
    if plan.status == S.SAVED:
        if plan.saved_at:
            return f"it was saved by {plan.saved_by} on {plan.saved_at:%d %b %H:%M} UTC and has not been started."
        return f"it is a draft of {plan.created_by}."
    if plan.status in (S.ABORTED, S.ABORTING) and plan.aborted_at:
        why = f": {plan.abort_reason}" if plan.abort_reason else "."
        return f"it is “{label}”; {plan.aborted_by} aborted it on {plan.aborted_at:%d %b %H:%M} UTC{why}"
    if plan.started_at:
        return f"it is “{label}”; {plan.started_by} started it on {plan.started_at:%d %b %H:%M} UTC."
    return f"it is “{label}”."
