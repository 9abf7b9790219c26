"""Which modules of a target a plan in progress occupies: two plans that share one do not run at once.

Decided under the target's row lock; the unique constraint on `PlanModule` holds it whoever asks.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from deployments.models import DeploymentPlan, ModuleReferences, PlanModule, PlanOperation, PlanStatus
from environments import gate
from environments.models import ApplicationVersion, Environment, ModuleStatus


class Occupied(gate.Refused):
    """Another plan is in the way. The text names it, and what to do."""


def occupy(plan: DeploymentPlan, operations: Sequence[PlanOperation]) -> None:
    """Take the modules of these operations for the plan, in the transaction that starts it; raises Occupied."""
    others = list(
        DeploymentPlan.objects.in_progress().filter(target=plan.target).exclude(pk=plan.pk).order_by("number")
    )
    _refuse_beyond_limit(plan.target, others)
    own = _own_modules(plan, operations)
    referenced = _referenced_modules(plan, operations) - own
    taken = PlanModule.objects.filter(target=plan.target, module_key__in=own | referenced).exclude(plan=plan)
    for row in taken.select_related("plan").order_by("plan__number", "module_key"):
        if row.module_key in own or not row.is_referenced:
            raise Occupied(_in_the_way(row, row.plan))
    PlanModule.objects.bulk_create(
        [
            *(PlanModule(plan=plan, target=plan.target, module_key=key) for key in own),
            *(PlanModule(plan=plan, target=plan.target, module_key=key, is_referenced=True) for key in referenced),
        ]
    )


def vacate(plan_ids: Sequence[int]) -> None:
    """These plans have ended, their deployments at the targets too."""
    PlanModule.objects.filter(plan__in=plan_ids).delete()


def _refuse_beyond_limit(target: Environment, others: Sequence[DeploymentPlan]) -> None:
    limit = target.parallel_deployment_limit if target.parallel_deployments else 1
    if len(others) >= limit:
        names = ", ".join(f"#{one.number}" for one in others[:5])
        at_once = f"at most {limit} plans run at once in" if limit > 1 else "one plan at a time runs in"
        raise Occupied(f"{names} to {target} has not ended, and {at_once} {target}. Wait for it, or abort it.")


def _own_modules(plan: DeploymentPlan, operations: Sequence[PlanOperation]) -> set[UUID]:
    """Modules that come, and modules that are there now."""
    keys = [one.application_key for one in operations]
    statuses = ModuleStatus.objects.filter(environment__in=plan.environments, module__application__key__in=keys)
    found = set(statuses.values_list("module__key", flat=True))
    found |= {UUID(one["key"]) for told in _uploaded(plan) for one in told["modules"]}
    wanted = [one.version_key for one in operations if one.version_key]
    versions = ApplicationVersion.objects.filter(key__in=wanted)
    return found | set(versions.filter(modules__isnull=False).values_list("modules__module_key", flat=True))


def _referenced_modules(plan: DeploymentPlan, operations: Sequence[PlanOperation]) -> set[UUID]:
    """Modules that the ones to come use, as far as validation has read it."""
    keys = [one.application_key for one in operations]
    statuses = ModuleStatus.objects.filter(environment__in=plan.environments, module__application__key__in=keys)
    current = set(statuses.values_list("version_key", flat=True))
    wanted = [one.version_key for one in operations if one.version_key]
    tagged = ApplicationVersion.objects.filter(key__in=wanted, modules__isnull=False)
    current |= set(tagged.values_list("modules__version_key", flat=True))
    rows = ModuleReferences.objects.filter(version_key__in=[one for one in current if one])
    uploaded = [module["consumes"] for told in _uploaded(plan) for module in told["modules"]]
    return set(_used([*rows.values_list("consumes", flat=True), *uploaded]))


def _uploaded(plan: DeploymentPlan) -> Sequence[dict[str, Any]]:
    """What the uploaded packages of a plan say of their modules."""
    return [] if plan.source_id else list(plan.packages.order_by("pk").values_list("references", flat=True))


def _used(consumes: Iterable[list[dict[str, str]]]) -> Iterator[UUID]:
    for modules in consumes:
        for module in modules:
            yield UUID(module["module_key"])


def _in_the_way(row: PlanModule, other: DeploymentPlan) -> str:
    how = "refers to" if row.is_referenced else "deploys"
    if other.status == PlanStatus.ABORTED:
        return (
            f"{other}, which was aborted, {how} a module of this plan, and {row.target} has not confirmed yet that it "
            "stopped. It is asked as soon as it may be; try again in a minute."
        )
    return f"{other} is in progress and {how} a module of this plan. Wait for it, or abort it."
