"""What a plan does with each application: checked as it is chosen, kept with the names of the moment.

What needs no lock is done by `prepared` and `sealed`; `store` and `keep_settings` cost a few statements, however many
applications a plan has, because the rows of its environments are locked meanwhile.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection

from audit import log
from deployments.locking import PlanRefused
from deployments.models import DeploymentPlan, OperationKind, PlanOperation
from environments import versions
from environments.models import (
    Application,
    ApplicationBlock,
    ApplicationStatus,
    ApplicationTask,
    ApplicationVersion,
    Environment,
    TaskKind,
)

TAGGED_FIRST = (OperationKind.TAG_AND_DEPLOY, OperationKind.CUSTOM)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to do with one application. `version_number` is the one to tag, or that of `version_key`."""

    application_key: UUID
    kind: OperationKind
    version_key: UUID | None = None
    version_number: str = ""
    change_log: str = ""
    base_version_key: UUID | None = None
    module_picks: Mapping[str, str] = field(default_factory=dict)
    mobile_versions: Sequence[Mapping[str, str]] = field(default_factory=list)
    zone_key: str = ""
    is_proposed: bool = False


class _Facts:
    """What is known of the applications of some choices: a constant number of queries."""

    def __init__(self, source: Environment | None, target: Environment, choices: Sequence[Choice]) -> None:
        self.source, self.target = source, target
        keys = [choice.application_key for choice in choices]
        places = [source, target] if source else [target]
        self.applications = {one.key: one for one in Application.objects.filter(key__in=keys).only("key", "name")}
        wanted = [choice.version_key for choice in choices if choice.version_key]
        found = ApplicationVersion.objects.filter(key__in=wanted).only("key", "version", "application")
        self.versions = {one.key: one for one in found}
        statuses = ApplicationStatus.objects.filter(environment__in=places, application__key__in=keys)
        self.statuses = {
            (one.environment_id, one.application_id): one
            for one in statuses.only("environment", "application", "version", "is_modified")
        }
        blocks = ApplicationBlock.objects.in_force().filter(environment=target, application__key__in=keys)
        self.blocked = set(blocks.values_list("application_id", flat=True))
        tagged = {choice.application_key for choice in choices if choice.kind in TAGGED_FIRST}
        used = used_numbers([one.pk for one in self.applications.values() if one.key in tagged])
        self.used = {pk: {versions.order(number) for number in numbers} for pk, numbers in used.items()}


def used_numbers(application_ids: Collection[int]) -> dict[int, set[str]]:
    """Every number that these applications have anywhere, or are about to have, by their ids."""
    of_versions = ApplicationVersion.objects.filter(application__in=application_ids)
    of_statuses = ApplicationStatus.objects.filter(application__in=application_ids).exclude(version="")
    tagging = ApplicationTask.objects.active().filter(application__in=application_ids, kind=TaskKind.TAG)
    found: dict[int, set[str]] = {}
    for pk, number in (
        *of_versions.values_list("application", "version"),
        *of_statuses.values_list("application", "version"),
        *tagging.values_list("application", "parameters__version"),
    ):
        found.setdefault(pk, set()).add(number)
    return found


def prepared(source: Environment | None, target: Environment, choices: Sequence[Choice]) -> list[PlanOperation]:
    """The operations of a plan that does this, for `store`. Raises ValidationError."""
    keys = [choice.application_key for choice in choices]
    if len(set(keys)) < len(keys):
        raise ValidationError("An application is in the plan twice.")
    facts = _Facts(source, target, choices)
    return [_operation(facts, position, choice) for position, choice in enumerate(choices)]


def _operation(facts: _Facts, position: int, choice: Choice) -> PlanOperation:
    application = facts.applications.get(choice.application_key)
    if application is None:
        raise ValidationError(f"There is no application {choice.application_key} any more.")
    operation = PlanOperation(
        position=position,
        application=application,
        application_key=application.key,
        application_name=application.name,
        kind=OperationKind.NOTHING if application.pk in facts.blocked else choice.kind,
        change_log=choice.change_log.strip(),
        base_version_key=choice.base_version_key,
        module_picks=dict(choice.module_picks),
        mobile_versions=[dict(one) for one in choice.mobile_versions],
        zone_key=choice.zone_key,
        is_proposed=choice.is_proposed,
    )
    here = facts.statuses.get((facts.source.pk, application.pk)) if facts.source else None
    there = facts.statuses.get((facts.target.pk, application.pk))
    if facts.source is not None and here is None and operation.is_deployed:
        raise ValidationError(f"{application} is not in {facts.source}.")
    operation.source_version = here.version if here else ""
    operation.source_is_modified = bool(here and here.is_modified)
    operation.target_version, operation.target_existed = there.version if there else "", there is not None
    _choose_version(operation, application, choice, facts)
    return operation


def _choose_version(operation: PlanOperation, application: Application, choice: Choice, facts: _Facts) -> None:
    if operation.kind == OperationKind.DEPLOY:
        version = facts.versions.get(choice.version_key) if choice.version_key else None
        if version is None or version.application_id != application.pk:
            raise ValidationError(f"{application} has no such version any more. Refresh the plan, then choose again.")
        operation.version = version
        operation.version_key, operation.version_number = version.key, version.version
    elif operation.is_tagged_first:
        number = versions.clean(choice.version_number)
        if versions.order(number) in facts.used.get(application.pk, ()):
            raise ValidationError(f"{application} has used {number} already; choose a new number.")
        operation.version_number = number


# What an edit says of an operation; everything else stays while its application stays.
EDITED = [
    "position",
    "application",
    "application_name",
    "kind",
    "version",
    "version_key",
    "version_number",
    "change_log",
    "base_version_key",
    "module_picks",
    "mobile_versions",
    "zone_key",
    "is_proposed",
    "source_version",
    "source_is_modified",
    "target_version",
    "target_existed",
]
_COLUMNS = [one.attname for one in PlanOperation._meta.concrete_fields if one.name in EDITED]


def store(plan: DeploymentPlan, operations: Sequence[PlanOperation], before: Iterable[PlanOperation] = ()) -> None:
    """Make these the plan's operations in the place of those `before`. Applications that stay keep their settings."""
    known = {one.application_key: one for one in before}
    for operation in operations:
        operation.plan = plan
    changed = [one for one in operations if not _is_like(one, known.get(one.application_key))]
    if gone := known.keys() - {one.application_key for one in operations}:
        plan.operations.filter(application_key__in=gone).delete()
    PlanOperation.objects.bulk_create(
        changed,
        update_conflicts=True,
        unique_fields=["plan", "application_key"],
        update_fields=EDITED,
        batch_size=1000,
    )


def refuse_removed(operations: Sequence[PlanOperation]) -> None:
    """Raise PlanRefused for a version that is being removed, or gone. The caller holds the rows of the environments,
    as whoever asks for a removal does; the last of its tasks ends and the version is forgotten at the same instant."""
    used = {key for one in operations for key in (one.version_key, one.base_version_key) if key}
    if task := ApplicationTask.objects.removing(used).order_by("pk").first():
        raise PlanRefused(f"{task.removal} Choose another version.")
    there = set(ApplicationVersion.objects.filter(key__in=used).values_list("pk", flat=True))
    for one in operations:
        if one.version_id and one.version_id not in there:
            raise PlanRefused(f"{one.application_name} {one.version_number} was removed meanwhile. Choose another.")


def _is_like(operation: PlanOperation, known: PlanOperation | None) -> bool:
    return known is not None and all(getattr(operation, name) == getattr(known, name) for name in _COLUMNS)


def choice_of(operation: PlanOperation) -> Choice:
    return Choice(
        application_key=operation.application_key,
        kind=OperationKind(operation.kind),
        version_key=operation.version_key,
        version_number=operation.version_number,
        change_log=operation.change_log,
        base_version_key=operation.base_version_key,
        module_picks=operation.module_picks,
        mobile_versions=operation.mobile_versions,
        zone_key=operation.zone_key,
        is_proposed=operation.is_proposed,
    )


# Settings


def sealed(documents: Mapping[UUID, dict[str, Any]]) -> dict[UUID, str]:
    """The settings documents as they are kept, by application key, for `keep_settings`."""
    found = {}
    for key, document in documents.items():
        operation = PlanOperation()
        operation.settings = document
        found[key] = operation.sealed_settings_text
    return found


KEEP = """
UPDATE deployments_planoperation o SET sealed_settings_text = v.text
FROM unnest(%s::uuid[], %s::text[]) AS v(application_key, text)
WHERE o.plan_id = %s AND o.application_key = v.application_key RETURNING o.application_key, o.application_name
"""


def keep_settings(plan: DeploymentPlan, texts: Mapping[UUID, str]) -> list[str]:
    """Keep what `sealed` answered; the names of the applications. Raises ValidationError."""
    with connection.cursor() as cursor:
        cursor.execute(KEEP, [list(texts), list(texts.values()), plan.pk])
        found = dict(cursor.fetchall())
    for key in texts:
        if key not in found:
            raise ValidationError(f"The application {key} is not in the plan.")
    return sorted(found.values())


COPY = """
UPDATE deployments_planoperation n SET sealed_settings_text = o.sealed_settings_text
FROM deployments_planoperation o
WHERE n.plan_id = %s AND o.plan_id = %s AND n.application_key = o.application_key AND o.sealed_settings_text <> ''
"""


def copy_settings(plan: DeploymentPlan, draft: DeploymentPlan) -> None:
    with connection.cursor() as cursor:
        cursor.execute(COPY, [draft.pk, plan.pk])


# In words


def selection(plan: DeploymentPlan, operation: PlanOperation, by: log.Actor) -> log.Entry:
    what = f"Selected '{operation.described}' for '{operation.application_name}'"
    return log.Entry(message=f"{what} in deployment plan '{plan.audit_object.name}'", on=plan.audit_object, by=by)
