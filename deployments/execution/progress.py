"""How far the work on a plan is, stored while it goes on. Guarded by the host's claim, as `outcomes` is."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.utils import timezone

from audit import log
from deployments import journal
from deployments.execution.claims import LostClaim, held
from deployments.journal import Line
from deployments.models import (
    DeploymentPlan,
    LineType,
    PlanOperation,
    PlanStatus,
    Remote,
    StepName,
    StepState,
    TargetState,
)
from environments import tagging
from environments.environment_api import DeploymentState, VersionItem

STEPS = tuple(StepName.values)
COUNTED = {PlanStatus.FINISHED_WITH_ERRORS: "errors", PlanStatus.FINISHED_WITH_WARNINGS: "warnings"}


def begin_step(plan_id: int, host: UUID, name: StepName) -> None:
    """The plan is at this step; raises LostClaim."""
    with held(plan_id, host) as plan:
        _reach(plan, name)


def _reach(plan: DeploymentPlan, name: str) -> None:
    """Steps before this one are finished, this one is running."""
    now = timezone.now()
    earlier = plan.steps.filter(name__in=STEPS[: STEPS.index(name)])
    earlier.exclude(state=StepState.FINISHED).update(state=StepState.FINISHED, ended_at=now)
    plan.steps.filter(name=name, began_at=None).update(began_at=now)
    plan.steps.filter(name=name).update(state=StepState.RUNNING, ended_at=None)
    if plan.step != name:
        plan.step = name
        plan.save(update_fields=["step"])


def write(plan_id: int, host: UUID, *lines: Line) -> None:
    with held(plan_id, host) as plan:
        journal.write(plan, *lines)


def store_tag(plan_id: int, host: UUID, operation: PlanOperation, told: VersionItem) -> None:
    """The source has tagged for this operation; the tag stays, whatever becomes of the plan."""
    with held(plan_id, host) as plan:
        assert plan.source is not None  # noqa: S101 - for the type checker
        if operation.application is not None:
            version = tagging.store(plan.source, operation.application, told, operation.tag_parameters)
            operation.version = version
        operation.version_key, operation.version_number = told.key, told.version
        operation.save(update_fields=["version", "version_key", "version_number"])
        message = f"{operation.application_name} was tagged as {told.version} in {plan.source}."
        journal.write(plan, Line(message=message, step=StepName.RETRIEVING))
        log.record(
            f"Tagged application '{operation.application_name}' in environment '{plan.source}' as {told.version} "
            f"(deployment plan '{plan.audit_object.name}')",
            log.AuditObject(type="application", key=str(operation.application_key), name=operation.application_name),
            by=log.Actor(name=plan.started_by, username=plan.started_by_username),
            details={"environment": plan.source.name, "version": told.version, "version_key": str(told.key)},
        )


def store_packages(plan_id: int, host: UUID, operations: Sequence[PlanOperation]) -> None:
    with held(plan_id, host):
        PlanOperation.objects.bulk_update(operations, ["package_digest", "package_bytes"], batch_size=500)


def store_transferred(plan_id: int, host: UUID, transferred: dict[str, int]) -> None:
    """Bytes at the target, by digest."""
    with held(plan_id, host):
        for digest, there in transferred.items():
            PlanOperation.objects.filter(plan=plan_id, package_digest=digest).update(transferred_bytes=there)


def note_remote(plan_id: int, host: UUID, remote: Remote) -> None:
    """Before the target is asked to start: from now on it must be asked what became of it. Raises LostClaim."""
    with held(plan_id, host) as plan:
        if plan.status != PlanStatus.RUNNING:
            raise LostClaim
        plan.remote = remote
        plan.save(update_fields=["remote"])


def store_state(plan_id: int, host: UUID, state: DeploymentState) -> None:
    """How far the target is, with the lines of its log that are new; raises LostClaim."""
    with held(plan_id, host) as plan:
        for told in state.steps:
            if told.name not in STEPS:
                continue
            values: dict[str, Any] = {"warnings": told.warnings, "errors": told.errors}
            if told.name != StepName.SYNCHRONIZING:  # it is over when the console has synchronized, too
                values |= {"state": told.state, "ended_at": told.ended_at}
                if told.name != StepName.RETRIEVING:  # it began when the console asked the source
                    values["began_at"] = told.began_at
            plan.steps.filter(name=told.name).update(**values)
        fields = []
        if state.step in STEPS and state.step != plan.step and not state.status.startswith("finished"):
            plan.step = state.step
            fields.append("step")
            if plan.step == StepName.SYNCHRONIZING:
                _reach(plan, plan.step)
        if plan.trouble_since:
            plan.trouble_since = None
            fields.append("trouble_since")
        if state.is_applied and plan.target_state != TargetState.CHANGED:
            plan.target_state = TargetState.CHANGED
            fields.append("target_state")
        if fields:
            plan.save(update_fields=fields)
        lines = [
            Line(
                message=line.message,
                type=LineType(line.type),
                step=line.step if line.step in STEPS else "",
                at=line.at,
                remote_line=line.line,
            )
            for line in state.log
        ]
        journal.write(plan, *lines)


def note_answered(plan_id: int, host: UUID) -> None:
    with held(plan_id, host) as plan:
        plan.answer = {**plan.answer, "is_delivered": True}
        plan.save(update_fields=["answer"])


def note_finished_there(plan_id: int, host: UUID, status: str) -> None:
    """The target has done its part, and calls it this; what it did not count is counted here."""
    with held(plan_id, host) as plan:
        plan.remote, plan.target_state = Remote.ENDED, TargetState.CHANGED
        plan.save(update_fields=["remote", "target_state"])
        counted = COUNTED.get(PlanStatus(status))
        if counted and not plan.steps.filter(**{f"{counted}__gt": 0}).exists():
            plan.steps.filter(name=StepName.UPDATING).update(**{counted: 1})
        _reach(plan, StepName.SYNCHRONIZING)


def note_unknown_there(plan_id: int, host: UUID) -> bool:
    """The target knows no deployment of the plan. Whether it has never begun: then it is started (again)."""
    with held(plan_id, host) as plan:
        if has_begun(plan):
            return False
        plan.remote = Remote.NONE
        plan.save(update_fields=["remote"])
        return True


def has_begun(plan: DeploymentPlan) -> bool:
    """Whether the target has ever told anything of its deployment."""
    return plan.lines.filter(remote_line__isnull=False).exists()
