"""What came of a piece of work on a plan, stored in one transaction with what it means.

All of it is guarded by the host's claim: who has lost it changes nothing (`LostClaim`).
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import Sum
from django.utils import timezone

from audit import log
from deployments import journal, occupation, plans, states
from deployments.execution.claims import held
from deployments.journal import Line
from deployments.models import (
    DeploymentPlan,
    Information,
    LineType,
    PlanStatus,
    PlanStep,
    Remote,
    StepName,
    StepState,
    TargetState,
)
from environments.environment_api import DeploymentState

ASKED_AGAIN_AFTER = 30.0  # seconds; a target that did not say what has become of an aborted plan
ASKED_FOR = 3600.0  # seconds, then what has become of it stays unknown
STORED = (
    *("status", "information", "interventions", "answer", "prepared_until", "remote", "target_state", "ended_at"),
    *states.ABORT,
    *("trouble_since", "claimed_by", "claimed_until", "attempts"),
)


@dataclass(frozen=True)
class GoOn:
    """There is more to do, by whoever comes next, not before some seconds are over. `trouble` is why not now."""

    seconds: float = 0.0
    trouble: str = ""


@dataclass(frozen=True)
class Waits:
    """The target waits for a person."""

    state: DeploymentState


@dataclass(frozen=True)
class Done:
    """All seven steps are over. `warning` is what did not go well at the end."""

    warning: str = ""


@dataclass(frozen=True)
class Stopped:
    """It will not go on; the deployment at the target is over, or never began. `reason` of who aborted it stays."""

    reason: str
    target_state: TargetState = TargetState.UNCHANGED


@dataclass(frozen=True)
class Failed:
    """It cannot go on, and what goes on at the target has to be stopped first, or was never heard of again."""

    reason: str
    is_lost: bool = False  # nobody will be able to ask the target


Outcome = GoOn | Waits | Done | Stopped | Failed


def store(plan_id: int, host: UUID, outcome: Outcome) -> None:
    """Store what came of it and let go of the plan; raises LostClaim."""
    with held(plan_id, host) as plan:
        match outcome:
            case GoOn():
                entries = _go_on(plan, outcome)
            case Waits():
                entries = _wait(plan, outcome.state)
            case Done():
                entries = _finish(plan, outcome.warning)
            case Stopped():
                entries = _stop(plan, outcome)
            case Failed():
                entries = _fail(plan, outcome)
        plan.claimed_by, plan.attempts = None, 0
        wait = outcome.seconds if isinstance(outcome, GoOn) else 0.0
        if isinstance(outcome, Failed) and plan.status == PlanStatus.ABORTED and plan.remote == Remote.STARTED:
            wait = ASKED_AGAIN_AFTER
        plan.claimed_until = timezone.now() + timedelta(seconds=wait) if wait else None
        plan.save(update_fields=STORED)
        if entries:
            log.record_all(entries)


def _go_on(plan: DeploymentPlan, outcome: GoOn) -> list[log.Entry]:
    if not outcome.trouble:
        plan.trouble_since = None
    else:
        _note_trouble(plan, outcome.trouble)
    return []


def _note_trouble(plan: DeploymentPlan, trouble: str) -> None:
    """Say it once. Whoever aborted the plan does not wait for ever to hear what has become of it."""
    if plan.trouble_since is None:
        plan.trouble_since = timezone.now()
        _write(plan, trouble, LineType.WARNING)
    lasts = (timezone.now() - plan.trouble_since).total_seconds()
    if plan.status == PlanStatus.ABORTED and lasts > ASKED_FOR:
        _write(plan, f"{plan.target} was asked for an hour what has become of it. Look there.", LineType.WARNING)
        _forget_remote(plan)


def _forget_remote(plan: DeploymentPlan) -> None:
    """Nobody asks the target any more; what has become of it there stays unknown."""
    states.lose_sight(plan)
    if plan.remote == Remote.STARTED:
        plan.remote = Remote.ENDED
    occupation.vacate([plan.pk])


def _wait(plan: DeploymentPlan, state: DeploymentState) -> list[log.Entry]:
    information = Information(state.information)
    if plan.status != PlanStatus.RUNNING:
        return []  # it is being stopped
    states.move(plan, PlanStatus.NEEDS_USER_INTERVENTION, information=information)
    plan.interventions = [one.model_dump(mode="json") for one in state.interventions]
    plan.prepared_until, plan.answer, plan.trouble_since = state.prepared_until, {}, None
    _write(plan, f"{information.label}: somebody has to continue or abort the deployment.")
    return []


def _finish(plan: DeploymentPlan, warning: str) -> list[log.Entry]:
    if plan.status != PlanStatus.RUNNING:
        return []  # it was aborted meanwhile
    if warning:
        _write(plan, warning, LineType.WARNING)
        PlanStep.objects.filter(plan=plan, name=StepName.SYNCHRONIZING).update(warnings=1)
    counted = plan.steps.aggregate(errors=Sum("errors"), warnings=Sum("warnings"))
    if counted["errors"]:
        status = PlanStatus.FINISHED_WITH_ERRORS
    elif counted["warnings"]:
        status = PlanStatus.FINISHED_WITH_WARNINGS
    else:
        status = PlanStatus.FINISHED_SUCCESSFUL
    states.move(plan, status)
    plan.ended_at, plan.trouble_since = timezone.now(), None
    plan.steps.exclude(state=StepState.FINISHED).update(state=StepState.FINISHED, ended_at=plan.ended_at)
    occupation.vacate([plan.pk])
    _write(plan, f"{status.label}.")
    return [
        log.Entry(
            message=f"Completed deployment plan '{plan.audit_object.name}': {status.label}",
            on=plan.audit_object,
            by=log.SYSTEM,
            succeeded=status != PlanStatus.FINISHED_WITH_ERRORS,
            details={"status": status.value, "target": plan.target.name},
        )
    ]


def _stop(plan: DeploymentPlan, outcome: Stopped) -> list[log.Entry]:
    """The end of a plan that was aborted, or news of one that was ended without word from its target."""
    was_over = plan.status == PlanStatus.ABORTED
    if plan.remote == Remote.STARTED:
        plan.remote = Remote.ENDED
    plan.target_state, plan.trouble_since = outcome.target_state, None
    entries = [] if was_over else _abort(plan, outcome.reason)
    told = {
        TargetState.UNCHANGED: f"{plan.target} is as it was before.",
        TargetState.CHANGED: f"{plan.target} had switched over already: what the plan deployed is in place there.",
        TargetState.UNKNOWN: f"What became of it in {plan.target} is not known.",
    }[outcome.target_state]
    _write(plan, told, LineType.INFO if outcome.target_state == TargetState.UNCHANGED else LineType.WARNING)
    plan.save(update_fields=["target_state"])
    plans.end_steps([plan.pk])
    occupation.vacate([plan.pk])
    if was_over:
        entries.append(
            log.Entry(
                message=f"Aborted deployment plan '{plan.audit_object.name}' is over in environment '{plan.target}': "
                f"{outcome.target_state.label.lower()}",
                on=plan.audit_object,
                by=log.SYSTEM,
                cause=plan.window.audit_key if plan.window_id and plan.window else None,
            )
        )
    return entries


def _fail(plan: DeploymentPlan, outcome: Failed) -> list[log.Entry]:
    if plan.status == PlanStatus.ABORTED:
        _note_trouble(plan, outcome.reason)
        if outcome.is_lost:
            _forget_remote(plan)
        return []
    if plan.status == PlanStatus.RUNNING and plan.remote == Remote.ENDED:
        return _finish(plan, outcome.reason)  # the target has done its part
    is_under_way = plan.remote == Remote.STARTED
    if is_under_way and not outcome.is_lost and plan.status == PlanStatus.RUNNING:
        states.move(plan, PlanStatus.ABORTING)
        states.note_abort(plan, by=log.SYSTEM, reason=outcome.reason)
        _write(plan, outcome.reason, LineType.ERROR)
        return []
    states.lose_sight(plan)
    entries = _abort(plan, outcome.reason)
    if outcome.is_lost:
        _forget_remote(plan)
    if plan.remote != Remote.STARTED:
        occupation.vacate([plan.pk])
    plan.save(update_fields=["target_state"])
    plans.end_steps([plan.pk])
    return entries


def _abort(plan: DeploymentPlan, reason: str) -> list[log.Entry]:
    """The plan is aborted from now on; the reason and the name of who aborted it stay."""
    states.move(plan, PlanStatus.ABORTED)
    if plan.aborted_at is None:
        states.note_abort(plan, by=log.SYSTEM, reason=reason)
        _write(plan, reason, LineType.ERROR)
    plan.ended_at = timezone.now()
    _write(plan, "The plan was aborted.", LineType.ERROR)
    return [
        log.Entry(
            message=f"Deployment plan '{plan.audit_object.name}' ended as aborted: {plan.abort_reason}",
            on=plan.audit_object,
            by=log.SYSTEM,
            succeeded=False,
            details={"step": plan.aborted_at_step, "target_state": plan.target_state, "aborted_by": plan.aborted_by},
        )
    ]


def _write(plan: DeploymentPlan, message: str, type_: LineType = LineType.INFO) -> None:
    journal.write(plan, Line(message=message, type=type_, step=plan.step))
