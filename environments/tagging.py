"""Tagging: a version of an application as it is in one environment. Only that environment is asked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction

from audit import log
from environments import application_tasks, gate, tag_bases, versions
from environments.application_tasks import TaskRefused, Work
from environments.environment_api import VersionItem, VersionsPage, canonical, read
from environments.models import (
    Application,
    ApplicationStatus,
    ApplicationTask,
    ApplicationVersion,
    Environment,
    ModuleStatus,
    ModuleVersion,
    Purpose,
    TaskKind,
)
from environments.operations import Operation

LONGEST_CHANGE_LOG = 10_000
PLATFORMS = ("Android", "iOS")
PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What somebody wants to tag."""

    version: str
    change_log: str = ""
    mobile_versions: Sequence[Mapping[str, str]] = field(default_factory=list)
    base_version_key: UUID | None = None  # an older version instead of the application as it is
    module_picks: Mapping[str, str] = field(default_factory=dict)  # module key -> version key


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What a tagging form begins with."""

    current: str
    is_modified: bool
    suggestion: str
    mobile: Mapping[str, str]  # the highest number so far, by platform
    bases: Sequence[ApplicationVersion]
    base: ApplicationVersion | None = None
    modules: Sequence[tag_bases.ModuleChoices] = ()
    are_too_many: bool = False  # modules, to pick single ones
    problem: str = ""  # why it cannot be tagged at all


def propose(environment: Environment, application: Application, *, base: str = "") -> Proposal:
    """What to begin with; `base` is the key of the version to go back to, one that is not offered is none."""
    status = ApplicationStatus.objects.get(environment=environment, application=application)
    used = _used(application)
    highest = _highest_mobile(application)
    bases = tag_bases.offered(application)
    chosen = next((one for one in bases if str(one.key) == base), None)
    return Proposal(
        current=status.version,
        is_modified=status.is_modified,
        suggestion=versions.suggest(chosen.version if chosen else status.version, used),
        mobile={platform: highest.get(platform, "") for platform in PLATFORMS} if application.is_mobile else {},
        bases=bases,
        base=chosen,
        modules=tag_bases.modules(environment, application, bases, chosen),
        are_too_many=tag_bases.are_too_many(environment, application),
        problem="" if _has_modules(environment, application) else _without_modules(environment, application),
    )


def request(environment: Environment, application: Application, wanted: Wanted, *, by: log.Actor) -> ApplicationTask:
    """Queue the tagging of a version; raises ValidationError by field, TaskRefused, and gate.Refused."""
    with transaction.atomic():
        Environment.objects.filter(pk=environment.pk).lock()
        # One after the other for an application, so that a number is given once whoever asks from wherever.
        Application.objects.select_for_update(no_key=True).get(pk=application.pk)
        if not _has_modules(environment, application):
            raise TaskRefused(_without_modules(environment, application))
        base = tag_bases.clean_base(application, wanted.base_version_key)
        if base and (removing := ApplicationTask.objects.removing([base.key]).first()):
            raise TaskRefused(f"{removing.removal} Choose another one to base the tag on.")
        picks = tag_bases.clean_picks(environment, application, wanted.module_picks)
        version = _clean_version(environment, application, wanted.version, base)
        mobile = clean_mobile(application, wanted.mobile_versions)
        if len(wanted.change_log) > LONGEST_CHANGE_LOG:
            raise ValidationError({"change_log": f"Keep it to {LONGEST_CHANGE_LOG:,} characters."})
        task, is_new = application_tasks.request(
            TAG,
            environment,
            application,
            by=by,
            parameters={
                "version": version,
                "change_log": wanted.change_log.strip(),
                "mobile_versions": mobile,
                **({"base_version_key": str(base.key)} if base else {}),
                **({"modules": picks} if picks else {}),
            },
            entry=log.Entry(
                message=f"Requested tagging of application '{application}' in environment '{environment}' as {version}"
                + _made_of(base, picks),
                on=application.audit_object,
                by=by,
                details={"environment": environment.name, "version": version},
            ),
        )
        if not is_new:
            raise TaskRefused(
                f"{task.requested_by} is tagging {application} in {environment} as {task.parameters['version']} right "
                "now. Wait until that has ended, then look again."
            )
    return task


def _has_modules(environment: Environment, application: Application) -> bool:
    return ModuleStatus.objects.filter(environment=environment, module__application=application).exists()


def _without_modules(environment: Environment, application: Application) -> str:
    return f"{application} has no modules in {environment}; an application without modules cannot be tagged."


def _used(application: Application) -> set[str]:
    """Every number that the application has, or is about to have."""
    tagging = ApplicationTask.objects.active().filter(application=application, kind=TaskKind.TAG)
    return {
        *application.versions.values_list("version", flat=True),
        *application.statuses.exclude(version="").values_list("version", flat=True),
        *tagging.values_list("parameters__version", flat=True),
    }


def _made_of(base: ApplicationVersion | None, picks: Sequence[object]) -> str:
    """The end of a message about a tag that is not of the application as it is."""
    picked = f" with {len(picks)} module{'' if len(picks) == 1 else 's'} of other versions" if picks else ""
    return (f", based on {base.version}" if base else "") + picked


def _clean_version(
    environment: Environment, application: Application, text: str, base: ApplicationVersion | None
) -> str:
    try:
        version = versions.clean(text)
    except ValidationError as refusal:
        raise ValidationError({"version": refusal.messages}) from None
    order = versions.order(version)
    for used in _used(application):
        if versions.order(used) == order:
            same = "" if used == version else f" ({used} is the same number)"
            raise ValidationError({"version": f"{application} has used {version} already{same}; choose a new number."})
    if base:
        earlier, whose = base.version, "the base is"
    else:
        earlier = ApplicationStatus.objects.get(environment=environment, application=application).version
        whose = f"in {environment} it is based on"
    if order < versions.order(earlier):
        message = f"Versions do not go backwards: {whose} {earlier}, so choose a higher number."
        raise ValidationError({"version": message})
    return version


def _highest_mobile(application: Application) -> dict[str, str]:
    highest: dict[str, str] = {}
    for told in application.versions.values_list("mobile_versions", flat=True):
        for one in told:
            if versions.order(one["version"]) > versions.order(highest.get(one["platform"], "")):
                highest[one["platform"]] = one["version"]
    return highest


def clean_mobile(application: Application, wanted: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The numbers as they are sent. Raises ValidationError by field of the form."""
    if wanted and not application.is_mobile:
        raise ValidationError(f"{application} is no mobile application; it has no mobile versions.")
    highest = _highest_mobile(application)
    found = []
    for one in wanted:
        platform = one["platform"]
        name = f"{platform.lower()}_version"
        try:
            number = versions.clean(one["version"])
        except ValidationError as refusal:
            raise ValidationError({name: refusal.messages}) from None
        if versions.order(number) <= versions.order(highest.get(platform, "")):
            message = f"It must be higher than every earlier one of {platform}: the highest is {highest[platform]}."
            raise ValidationError({name: message})
        found.append({"platform": platform, "version": number, "description": one.get("description", "")})
    return found


# What the worker does


async def ask(
    client: gate.Client, application_key: UUID, *, key: UUID, parameters: Mapping[str, Any], by: Mapping[str, str]
) -> VersionItem:
    """Have the environment tag: `parameters` are those of its API. Safe to ask twice: the version gets this key."""
    body = {"key": str(key), **parameters, "by": by}
    path = f"/applications/{application_key}/versions"
    answer = read(await client.post(path, canonical(body)), VersionItem, step="POST versions")
    if answer.key != key or answer.version != parameters["version"]:
        raise gate.Rejected("The environment tagged another version than it was asked for.")
    base = parameters.get("base_version_key")
    has = {str(module.module_key): str(module.version_key) for module in answer.modules}
    picked = {one["module_key"]: one["version_key"] for one in parameters.get("modules", [])}
    if (base and str(answer.based_on) != base) or not picked.items() <= has.items():
        raise gate.Rejected("The environment tagged the application as it is, not what it was asked to go back to.")
    return answer


async def _tag(client: gate.Client, task: ApplicationTask) -> VersionItem:
    assert task.application is not None  # noqa: S101 - for the type checker
    person = {"name": task.requested_by, "username": task.by.username}
    return await ask(client, task.application.key, key=task.key, parameters=task.parameters, by=person)


def store(
    environment: Environment, application: Application, told: VersionItem, parameters: Mapping[str, Any]
) -> ApplicationVersion:
    """Keep what was tagged with these parameters; the application is that now, unless it went back to something."""
    version = keep(application, told, created_in=environment)
    if "base_version_key" not in parameters and not parameters.get("modules"):
        _store_as_it_is(environment, application, told)
    return version


def _store_tag(task: ApplicationTask, told: VersionItem) -> list[log.Entry]:
    application, environment = task.application, task.environment
    assert application is not None  # noqa: S101 - for the type checker
    store(environment, application, told, task.parameters)
    base = application.versions.filter(key=task.parameters.get("base_version_key")).first()
    picks = task.parameters.get("modules", [])
    return [
        log.Entry(
            message=f"Tagged application '{application}' in environment '{environment}' as {told.version}"
            + _made_of(base, picks),
            on=application.audit_object,
            by=task.by,
            details={"environment": environment.name, "version": told.version, "version_key": str(told.key)},
        )
    ]


def _store_as_it_is(environment: Environment, application: Application, told: VersionItem) -> None:
    """The application is what was tagged. A tag of anything else leaves it alone."""
    ApplicationStatus.objects.filter(environment=environment, application=application).update(
        version=told.version, version_key=told.key, is_modified=False
    )
    by_module = {module.module_key: module for module in told.modules}
    statuses = ModuleStatus.objects.filter(
        environment=environment, module__application=application, module__key__in=list(by_module)
    ).select_related("module")
    for status in statuses:
        status.version_key, status.is_modified = by_module[status.module.key].version_key, False
    ModuleStatus.objects.bulk_update(statuses, ["version_key", "is_modified"], batch_size=500)


def _tag_failed(task: ApplicationTask, why: str) -> list[log.Entry]:
    assert task.application is not None  # noqa: S101 - for the type checker
    version = task.parameters["version"]
    return [
        log.Entry(
            message=f"Did not tag application '{task.application}' in environment '{task.environment}' "
            f"as {version}: {why}",
            on=task.application.audit_object,
            by=task.by,
            succeeded=False,
            details={"environment": task.environment.name, "version": version},
        )
    ]


def keep(application: Application, told: VersionItem, *, created_in: Environment | None = None) -> ApplicationVersion:
    """Store a version with its modules; one that is known already is completed."""
    values: dict[str, Any] = {
        "application": application,
        "version": told.version,
        "change_log": told.change_log,
        "created_at": told.created_at,
        "created_by": told.created_by,
        "based_on": told.based_on,
        "package_digest": told.package.digest if told.package else "",
        "mobile_versions": [json.loads(one.model_dump_json()) for one in told.mobile_versions],
    }
    if created_in is not None:
        values["created_in"] = created_in
    version, _ = ApplicationVersion.objects.update_or_create(key=told.key, defaults=values)
    ModuleVersion.objects.bulk_create(
        (
            ModuleVersion(
                application_version=version,
                module_key=module.module_key,
                name=module.name,
                version_key=module.version_key,
                hash=module.hash,
                created_at=module.created_at,
                created_by=module.created_by,
            )
            for module in told.modules
        ),
        update_conflicts=True,
        unique_fields=["application_version", "module_key"],
        update_fields=["name", "version_key", "hash", "created_at", "created_by"],
    )
    return version


async def _read_versions(client: gate.Client, task: ApplicationTask) -> list[VersionItem]:
    assert task.application is not None  # noqa: S101 - for the type checker
    found: list[VersionItem] = []
    cursor, more = "0", True
    while more:
        path = f"/applications/{task.application.key}/versions?since={cursor}&limit={PAGE}"
        page = read(await client.get(path), VersionsPage, step="GET versions")
        if page.more and page.cursor == cursor:
            raise gate.Rejected("The list of versions does not advance: GET versions answers the same cursor.")
        found += page.versions
        cursor, more = page.cursor, page.more
    return found


def _store_versions(task: ApplicationTask, told: list[VersionItem]) -> list[log.Entry]:
    assert task.application is not None  # noqa: S101 - for the type checker
    there = ApplicationVersion.objects.filter(key__in=[one.key for one in told])
    # What is known stays, and no environment makes another application's version this one's.
    known = set(there.exclude(application=task.application, created_at=None).values_list("key", flat=True))
    for one in told:
        if one.key not in known:
            keep(task.application, one)
    return []


def request_versions(environment: Environment, application: Application, *, by: log.Actor) -> ApplicationTask:
    """Queue the reading of what the environment knows of the application's versions."""
    entry = application_tasks.asked_for("the versions", environment, application, by=by)
    return application_tasks.request(READ_VERSIONS, environment, application, by=by, entry=entry)[0]


def mark_hotfix_solved(environment: Environment, application: Application, *, by: log.Actor) -> None:
    """Clear the red mark: what was changed there is merged. Known to the console alone."""
    with transaction.atomic():
        found = ApplicationStatus.objects.select_for_update().get(environment=environment, application=application)
        found.hotfix_solved_at = found.changed_at
        found.save(update_fields=["hotfix_solved_at"])
        log.record(
            f"Marked the hotfix of application '{application}' in environment '{environment}' as solved",
            application.audit_object,
            by=by,
            details={"environment": environment.name, "version": found.version},
        )


TAG: Work[VersionItem] = Work(
    kind=TaskKind.TAG,
    operation=Operation.TAG_APPLICATIONS,
    purpose=Purpose.TAG,
    converse=_tag,
    store=_store_tag,
    failed=_tag_failed,
)
READ_VERSIONS: Work[list[VersionItem]] = Work(
    kind=TaskKind.READ_VERSIONS,
    operation=Operation.SYNCHRONIZE,
    purpose=Purpose.SYNC,
    converse=_read_versions,
    store=_store_versions,
)
