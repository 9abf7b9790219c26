"""Versions of applications: reading them, and tagging one in an environment."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import F
from django.http import Http404, HttpResponse
from django.utils import timezone
from ninja import Router
from ninja.params.functions import Query
from pydantic import Field
from typing_extensions import TypedDict

from environments import application_tasks, gate, tagging, version_removal
from environments.models import (
    Application,
    ApplicationStatus,
    ApplicationVersion,
    Environment,
    ModuleStatus,
    ModuleVersion,
    TaskKind,
)
from environments.operations import Operation
from lifetime import policy
from lifetime.api import places, untagged, waiting
from lifetime.api.answers import NEVER, Failed, answer, errors, instant, nothing
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body

router = Router()
NEWEST_FIRST = (F("created_at").desc(nulls_last=True), F("pk").desc())
SHOWN = 5
PATIENCE = 3.0  # seconds
ASKED_EVERY = timedelta(minutes=5)
MOST = 1_000


class MobileVersion(TypedDict):
    NativePlatform: str
    VersionNumber: str
    VersionDescription: str


class ModuleVersionRecord(TypedDict):
    """A module as it is in a version of its application."""

    Key: str
    ModuleKey: str
    ModuleName: str
    CreatedOn: str
    CreatedBy: str
    CreatedByUsername: str
    GeneralHash: str
    DirectUpgradeFromHash: str


class ApplicationVersionRecord(TypedDict):
    """A tagged version of an application."""

    Key: str
    ApplicationKey: str
    Version: str
    ChangeLog: str
    CreatedOn: str
    CreatedBy: str
    InUse: bool
    MobileVersions: list[MobileVersion]
    PrimaryColor: str
    NativeHash: str
    ModuleVersions: list[ModuleVersionRecord]
    EnvironmentKey: str


class NewMobileVersion(Body):
    native_platform: str
    version_number: str
    version_description: str | None = None


class NewVersion(Body):
    """What to tag."""

    version: str
    change_log: str | None = ""
    base_version_key: UUID | None = Field(None, description="An older version to go back to, instead of what is there.")
    mobile_versions: list[NewMobileVersion] | None = Field(None, description="For mobile applications.")
    module_version_keys: list[str] | None = Field(
        None, description="What the caller found there: something else by now is refused. May be left out."
    )


class Tagged(TypedDict):
    ApplicationVersionKey: str


@router.get(
    "/applications/{key:application}/versions",
    response={200: list[ApplicationVersionRecord], **errors(400, 403, 404)},
)
def list_versions(
    request: ApiRequest,
    application: UUID,
    maximum_versions_to_return: int = Query(SHOWN, alias="MaximumVersionsToReturn", ge=0, le=MOST),
    change_log_filter: str = Query("", alias="ChangeLogFilter"),
) -> HttpResponse:
    """The tagged versions of an application, newest first."""
    of = places.application(request, application)
    found = of.versions.order_by(*NEWEST_FIRST)
    if change_log_filter:
        found = found.filter(change_log__icontains=change_log_filter)
    shown = found.select_related("created_in").prefetch_related("modules")[:maximum_versions_to_return]
    if _complete(request, of, list(shown)):
        shown = shown.all()
    return answer(records(list(shown)))


@router.get(
    "/applications/{key:application}/versions/{key:version}",
    response={200: ApplicationVersionRecord, **errors(400, 403, 404)},
)
def get_version(
    request: ApiRequest,
    application: UUID,
    version: UUID,
    include_modules: bool = Query(False, alias="IncludeModules"),
) -> HttpResponse:
    """One version of an application."""
    of = places.application(request, application)
    if str(version) == untagged.key_of(of.key):
        return answer(_untagged(of))
    shown = of.versions.filter(key=version).select_related("created_in").prefetch_related("modules")
    if _complete(request, of, list(shown)):
        shown = shown.all()
    return answer(records(list(shown), with_modules=include_modules)[0] if shown else _no_version(of))


@router.delete("/applications/{key:application}/versions/{key:version}", response={204: None, **errors(400, 403, 404)})
def remove_version(request: ApiRequest, application: UUID, version: UUID) -> HttpResponse:
    """Remove a version that nothing uses. Answers when the environments that have the application have done it."""
    of = places.application(request, application)
    found = of.versions.filter(key=version).first() or _no_version(of)
    where = version_removal.places(found)
    request.concerned.update(one.key for one in where)
    policy.require_wherever_it_is(request.account, Operation.TAG_APPLICATIONS, of, where)
    with waiting.place():
        for task in version_removal.request(found, by=actor(request)):
            waiting.until_over(task)
    return nothing()


@router.post(
    "/environments/{key:environment}/applications/{key:application}/versions",
    response={201: Tagged, **errors(400, 403, 404)},
)
def tag(request: ApiRequest, environment: UUID, application: UUID, body: NewVersion) -> HttpResponse:
    """Tag the application as it is in the environment. Answers when the environment has done it."""
    found, where = places.application_in(request, environment, application, Operation.TAG_APPLICATIONS)
    mobile = [
        {
            "platform": one.native_platform,
            "version": one.version_number,
            "description": one.version_description or "",
        }
        for one in body.mobile_versions or []
    ]
    _refuse_other_modules(where, found, body.module_version_keys or [])
    wanted = tagging.Wanted(
        version=body.version,
        change_log=body.change_log or "",
        mobile_versions=mobile,
        base_version_key=body.base_version_key,
    )
    with waiting.place():
        task = waiting.until_over(tagging.request(where, found, wanted, by=actor(request)))
    told: Tagged = {"ApplicationVersionKey": str(task.key)}
    return answer(told, 201)


def _refuse_other_modules(where: Environment, application: Application, keys: Iterable[str]) -> None:
    """The environment still has what the caller looked at before."""
    statuses = ModuleStatus.objects.filter(environment=where, module__application=application)
    there = {str(key) for key in statuses.values_list("version_key", flat=True)}
    if others := sorted({key.lower() for key in keys if key} - there):
        raise ValidationError(
            f"{application} has no module of version {others[0]} in {where} any more: it was changed there meanwhile. "
            "Read its modules again, or leave ModuleVersionKeys out."
        )


def _complete(request: ApiRequest, application: Application, shown: Sequence[ApplicationVersion]) -> bool:
    """Have versions read that the console met before it read what is in them; whether it has more to tell now.

    An environment is asked once in a while only, and a call does not wait long for it: it has something to answer.
    """
    unknown = [one.key for one in shown if not one.is_known]
    where = _place_to_ask(request, application, unknown) if unknown else None
    if where is None:
        return False
    try:
        with waiting.place():
            waiting.until_over(tagging.request_versions(where, application, by=actor(request)), seconds=PATIENCE)
    except (gate.Refused, Failed):
        return False
    return True


def _place_to_ask(request: ApiRequest, application: Application, versions: Sequence[UUID]) -> Environment | None:
    """An environment that has one of these versions, may be asked by the account, and was not asked lately."""
    found = Environment.objects.active().in_order().select_related("maintenance_window")
    running = found.filter(applications__application=application, applications__version_key__in=versions).distinct()
    asked = application_tasks.latest(application, [TaskKind.READ_VERSIONS])
    for one in running:
        last = asked.get((one.pk, TaskKind.READ_VERSIONS.value))
        is_new = last is None or last.requested_at < timezone.now() - ASKED_EVERY
        if is_new and policy.may(request.account, Operation.SYNCHRONIZE, one, application=application):
            return one
    return None


def records(versions: Iterable[ApplicationVersion], *, with_modules: bool = True) -> list[ApplicationVersionRecord]:
    """These versions, their modules prefetched."""
    versions = list(versions)
    keys = [one.key for one in versions]
    in_use = set(ApplicationStatus.objects.filter(version_key__in=keys).values_list("version_key", flat=True))
    applications = Application.objects.in_bulk({one.application_id for one in versions})
    return [
        {
            "Key": str(one.key),
            "ApplicationKey": str(applications[one.application_id].key),
            "Version": one.version,
            "ChangeLog": one.change_log,
            "CreatedOn": instant(one.created_at),
            "CreatedBy": one.created_by,
            "InUse": one.key in in_use,
            "MobileVersions": [_mobile(told) for told in one.mobile_versions],
            "PrimaryColor": applications[one.application_id].colour,
            "NativeHash": "",
            "ModuleVersions": [module_record(module) for module in one.modules.all()] if with_modules else [],
            "EnvironmentKey": str(one.created_in.key) if one.created_in else "",
        }
        for one in versions
    ]


def _no_version(application: Application) -> Any:
    raise Http404(f"{application} has no such version.")


def _mobile(told: dict[str, str]) -> MobileVersion:
    return {
        "NativePlatform": told["platform"],
        "VersionNumber": told["version"],
        "VersionDescription": told.get("description", ""),
    }


def module_record(one: ModuleVersion) -> ModuleVersionRecord:
    return {
        "Key": str(one.version_key),
        "ModuleKey": str(one.module_key),
        "ModuleName": one.name,
        "CreatedOn": instant(one.created_at),
        "CreatedBy": one.created_by,
        "CreatedByUsername": "",
        "GeneralHash": one.hash,
        "DirectUpgradeFromHash": "",
    }


def _untagged(application: Application) -> ApplicationVersionRecord:
    return {
        "Key": untagged.key_of(application.key),
        "ApplicationKey": str(application.key),
        "Version": untagged.VERSION,
        "ChangeLog": "Never tagged.",
        "CreatedOn": NEVER,
        "CreatedBy": "",
        "InUse": True,
        "MobileVersions": [],
        "PrimaryColor": application.colour,
        "NativeHash": "",
        "ModuleVersions": [],
        "EnvironmentKey": "",
    }
