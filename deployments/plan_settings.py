"""Settings that a plan brings with it: what the target would lack a value for, and what a person gave for it.

What both sides say of their settings is read by queued tasks; nobody is contacted here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audit import log
from deployments.models import DeploymentPlan, PlanOperation
from environments import application_settings
from environments.application_settings import KINDS, Setting
from environments.models import (
    Application,
    ApplicationSettings,
    ApplicationStatus,
    ApplicationTask,
    Environment,
    TaskKind,
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A setting of an application of the plan, as the source defines it."""

    application_key: UUID
    application_name: str
    setting: Setting
    is_missing: bool  # the target would have no value
    is_new: bool  # the target does not know it yet
    there: str | None  # the target's effective value
    value: str | None  # what the plan has for it
    is_given: bool

    @property
    def inherited(self) -> str | None:
        """What the target would have without anything given."""
        return self.there if self.there is not None else self.setting.default


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is known of the settings of a plan's applications: `settings` with the missing ones first."""

    settings: Sequence[Wanted]
    unread: Sequence[tuple[Environment, Application]]
    tasks: Sequence[ApplicationTask] = field(default_factory=list)

    @property
    def is_moving(self) -> bool:
        return any(task.is_active for task in self.tasks)

    @property
    def done(self) -> int:
        return sum(not task.is_active for task in self.tasks)

    @property
    def failed(self) -> list[ApplicationTask]:
        return [task for task in self.tasks if not task.is_active and task.message]

    @property
    def is_complete(self) -> bool:
        return not self.unread and not self.is_moving

    @property
    def missing(self) -> list[Wanted]:
        return [one for one in self.settings if one.is_missing]

    @property
    def lacking(self) -> list[Wanted]:
        """What still has no value."""
        return [one for one in self.missing if not one.is_given]


def reading(plan: DeploymentPlan) -> Reading:
    """A constant number of queries, whatever the plan deploys."""
    operations = [one for one in _operations(plan) if one.is_deployed and one.application_id]
    ids = [one.application_id for one in operations]
    places = plan.environments
    documents = ApplicationSettings.objects.filter(application__in=ids, environment__in=places)
    known = {(one.environment_id, one.application_id): one for one in documents}
    statuses = ApplicationStatus.objects.filter(application__in=ids, environment__in=places)
    changed = {(one.environment_id, one.application_id): one.changed_at for one in statuses}
    unread = []
    found: list[Wanted] = []
    for operation in operations:
        application = operation.application
        assert application is not None  # noqa: S101 - for the type checker
        for environment in places:
            place = (environment.pk, application.pk)
            if place in changed and (place not in known or known[place].read_at < changed[place]):
                unread.append((environment, application))
        if plan.source_id and (source := known.get((plan.source_id, application.pk))):
            found += _wanted(operation, source, known.get((plan.target_id, application.pk)))
    found.sort(key=lambda one: (not one.is_missing, not one.is_new, one.application_name.casefold(), one.setting.id))
    tasks = ApplicationTask.objects.filter(application__in=ids, environment__in=places, kind=TaskKind.READ_SETTINGS)
    newest = tasks.order_by("environment", "application", "-pk").distinct("environment", "application")
    return Reading(
        settings=found,
        unread=unread,
        tasks=list(newest.select_related("environment", "application").defer("sealed_secrets", "result")),
    )


def _operations(plan: DeploymentPlan) -> list[PlanOperation]:
    """With their settings, which lists of operations leave out."""
    return list(PlanOperation.objects.filter(plan=plan).select_related("application").order_by("position", "pk"))


def _wanted(
    operation: PlanOperation, source: ApplicationSettings, target: ApplicationSettings | None
) -> Iterable[Wanted]:
    there = {one.id: one for one in application_settings.settings_of(target)} if target else {}
    given = _given(operation.settings)
    for setting in application_settings.settings_of(source):
        known = there.get(setting.id)
        effective = known.effective if known else None
        value = given.get(setting.id)
        has_default = setting.default is not None or bool(known and known.default is not None)
        yield Wanted(
            application_key=operation.application_key,
            application_name=operation.application_name,
            setting=setting,
            is_missing=not has_default and effective is None,
            is_new=known is None,
            there=effective,
            value=None if setting.is_secret else value,
            is_given=value is not None,
        )


def _given(document: Mapping[str, Any]) -> dict[str, str | None]:
    return {
        f"{kind}/{one['module_key']}/{one['name']}": one.get(effective)
        for kind, (_, _, effective) in KINDS.items()
        for one in document.get(kind, [])
    }


def documents(plan: DeploymentPlan, settings: Sequence[Wanted], typed: Mapping[int, str]) -> dict[UUID, dict[str, Any]]:
    """What the plan is to apply, by application: `typed` by place in `settings`; a kept secret stays."""
    kept = {one.application_key: _given(one.settings) for one in _operations(plan)}
    found: dict[UUID, dict[str, Any]] = {}
    for place, one in enumerate(settings):
        value: str | None = typed.get(place)
        if value is None and one.setting.is_secret:
            value = kept.get(one.application_key, {}).get(one.setting.id)
        document = found.setdefault(one.application_key, {})
        if value is not None:
            entry = {"module_key": one.setting.module_key, "name": one.setting.name}
            effective = KINDS[one.setting.kind][2]
            document.setdefault(one.setting.kind, []).append({**entry, effective: value})
    return found


def request(plan: DeploymentPlan, found: Reading, *, by: log.Actor, again: bool = False) -> int:
    """Queue the reading of what is not known, or of everything; answers how much. Raises gate.Refused."""
    wanted = found.unread
    if again:
        wanted = [
            (environment, one.application)
            for environment in plan.environments
            for one in plan.operations.all()
            if one.is_deployed and one.application and (environment.pk == plan.source_id or one.target_existed)
        ]
    for environment, application in wanted:
        application_settings.request_reading(environment, application, by=by)
    return len(wanted)


def answering(plan: DeploymentPlan) -> list[Wanted]:
    """The settings that the target waits for, as the source defines them; those that nobody knows are left out."""
    named: dict[str, set[str]] = {}
    for one in plan.interventions:
        if one["kind"] == "missing_setting":
            named.setdefault(str(one["application_key"]), set()).update(one["names"])
    return [
        one
        for one in reading(plan).settings
        if one.setting.kind == "site_properties"
        and {one.setting.name, f"{one.setting.module}.{one.setting.name}"} & named.get(str(one.application_key), set())
    ]


def merged(plan: DeploymentPlan, given: Mapping[UUID, dict[str, Any]]) -> dict[UUID, dict[str, Any]]:
    """What the plan has for these applications already, with what is given now instead of it."""
    if not given:
        return {}
    found: dict[UUID, dict[str, Any]] = {}
    for operation in _operations(plan):
        if (news := given.get(operation.application_key)) is None:
            continue
        document = dict(operation.settings)
        for kind, entries in news.items():
            names = {(one["module_key"], one["name"]) for one in entries}
            kept = [one for one in document.get(kind, []) if (one["module_key"], one["name"]) not in names]
            document[kind] = [*kept, *entries]
        found[operation.application_key] = document
    return found
