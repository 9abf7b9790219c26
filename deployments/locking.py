"""The locks under which plans are decided, environments first, and what is refused whatever is to be done."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from django.db import transaction

from deployments import states
from deployments.models import DeploymentPlan, PlanStatus
from environments import gate
from environments.models import Environment
from environments.operations import Operation, explain


class PlanRefused(gate.Refused):
    """Nothing was done with the plan. The text says why, and what to do."""


class ChangedMeanwhile(PlanRefused):
    """The plan is not as the person saw it when they decided."""


def lock(environment_ids: Collection[int]) -> dict[int, Environment]:
    return {one.pk: one for one in Environment.objects.filter(pk__in=environment_ids).lock()}


@contextmanager
def locked(plan: DeploymentPlan, *, also: Collection[int] = ()) -> Iterator[DeploymentPlan]:
    """The plan as it is now, in a transaction that holds its environments' rows, others' (`also`), and its own."""
    with transaction.atomic():
        known = DeploymentPlan.objects.filter(pk=plan.pk).values_list("source", "target").first()
        environments = lock([pk for pk in (*(known or ()), *also) if pk])
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
def changing(plan: DeploymentPlan, revision: int | None, *, also: Collection[int] = ()) -> Iterator[DeploymentPlan]:
    """As `locked`, for a plan that may be edited: not started, as the person saw it, its environments open."""
    with locked(plan, also=also) as found:
        if found.status != PlanStatus.SAVED:
            raise states.WrongState(f"{found} cannot be edited any more: {states.told(found)}")
        others = list(Environment.objects.filter(pk__in=also).select_related("maintenance_window"))
        refuse_closed([*found.environments, *others], Operation.OPERATE_PLANS)
        refuse_changed(found, revision)
        yield found


def refuse_maintenance(environments: Collection[Environment], operation: Operation) -> None:
    for environment in environments:
        if environment.maintenance_window:
            raise gate.InMaintenance(explain(environment.name, environment.maintenance_window, operation.label))


def refuse_closed(environments: Collection[Environment], operation: Operation) -> None:
    for environment in environments:
        if not environment.is_registered:
            raise gate.NotRegistered(f"{environment} is not registered any more.")
    refuse_maintenance(environments, operation)


def refuse_changed(plan: DeploymentPlan, revision: int | None) -> None:
    if revision is not None and revision != plan.revision:
        raise ChangedMeanwhile(
            f"{plan} was changed since you looked at it. Look at it as it is now, then decide again."
        )
