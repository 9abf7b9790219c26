"""What environments have of applications, written as JSON.

There may be tens of thousands of these records in one answer, and most of each is the same in many of them. So a record
is built and written once for each variety, with a hole for the key of the version, which is what differs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import TextField
from django.db.models.functions import Cast
from typing_extensions import TypedDict

from environments.matrix import Sight
from environments.models import ApplicationStatus, ApplicationVersion, Environment, ModuleStatus
from lifetime.api import untagged
from lifetime.api.answers import to_json
from lifetime.api.environments import default_zone_key

HOLE = "\x00"
WRITTEN_HOLE = to_json(HOLE)[1:-1]
Text = tuple[str, str]  # before and after the hole


class MobileAppStatus(TypedDict):
    """The native build of a mobile application for one platform."""

    EnvironmentKey: str
    NativePlatform: str
    VersionNumber: str
    HasBinaryAvailable: bool
    IsConfigured: bool
    IsConfigurationChanged: bool
    IsModified: bool


class ModuleStatusInEnv(TypedDict):
    """What an environment has of a module."""

    ApplicationKey: str
    EnvironmentKey: str
    ModuleKey: str
    ModuleVersionKey: str
    ConsistencyStatus: str
    ConsistencyStatusMessages: str


class AppStatusInEnv(TypedDict):
    """What an environment has of an application."""

    EnvironmentKey: str
    BaseApplicationVersionKey: str
    BaseApplicationVersionLabel: str
    IsModified: bool
    IsModifiedReason: str
    IsModifiedMessage: str
    ConsistencyStatus: str
    ConsistencyStatusMessages: str
    MobileAppsStatus: list[MobileAppStatus]
    ModuleStatusInEnvs: list[ModuleStatusInEnv]
    DeploymentZoneKey: str


@dataclass(frozen=True, kw_only=True)
class Of:
    """The application whose statuses are wanted."""

    key: str
    is_mobile: bool


class _Status(NamedTuple):
    application: int
    environment: int
    version_key: str | None
    version: str
    is_modified: bool
    consistency: str
    consistency_message: str


def written(
    sight: Sight, of: Mapping[int, Of], shown: Sequence[Environment], *, with_modules: bool
) -> dict[int, list[str]]:
    """By the id of the application: its statuses in these environments, in their order, as far as they are seen."""
    environments = {one.pk: one for one in shown}
    places = {pk: place for place, pk in enumerate(environments)}
    told = sorted(_told(of, environments), key=lambda status: places[status.environment])
    mobile = _mobile_versions(of, told)
    modules = _modules(of, environments) if with_modules else {}
    known: dict[tuple[object, ...], Text] = {}
    found: dict[int, list[str]] = {}
    for status in told:
        if status.application in sight.special and not sight.sees(status.application, environments[status.environment]):
            continue
        native = mobile.get(status.version_key or "", ())
        variety = (*status[1:2], *status[3:], native)
        text = known.get(variety)
        if text is None:
            text = known[variety] = _holed(_record(environments[status.environment], status, native))
        version_key = status.version_key or untagged.key_of(of[status.application].key)
        whole = f"{text[0]}{version_key}{text[1]}"
        if inner := modules.get((status.application, status.environment)):
            whole = f"{whole.removesuffix('[]}')}[{','.join(inner)}]}}"
        found.setdefault(status.application, []).append(whole)
    return found


def _holed(record: AppStatusInEnv | ModuleStatusInEnv) -> Text:
    before, _, after = to_json(record).partition(WRITTEN_HOLE)
    return before, after


def _record(environment: Environment, status: _Status, native: Sequence[Sequence[str]]) -> AppStatusInEnv:
    key = str(environment.key)
    return {
        "EnvironmentKey": key,
        "BaseApplicationVersionKey": HOLE,
        "BaseApplicationVersionLabel": status.version or untagged.VERSION,
        "IsModified": status.is_modified,
        "IsModifiedReason": "Module_Modified" if status.is_modified else "",
        "IsModifiedMessage": _modified(status.version) if status.is_modified else "",
        "ConsistencyStatus": status.consistency,
        "ConsistencyStatusMessages": status.consistency_message,
        "MobileAppsStatus": [
            {
                "EnvironmentKey": key,
                "NativePlatform": platform,
                "VersionNumber": number,
                "HasBinaryAvailable": False,
                "IsConfigured": False,
                "IsConfigurationChanged": False,
                "IsModified": status.is_modified,
            }
            for platform, number in native
        ],
        "DeploymentZoneKey": default_zone_key(environment),
        "ModuleStatusInEnvs": [],
    }


def _modified(version: str) -> str:
    return f"At least one module was changed since version {version}." if version else "It was never tagged."


def _told(applications: Iterable[int], environments: Iterable[int]) -> list[_Status]:
    statuses = ApplicationStatus.objects.filter(environment__in=list(environments), application__in=list(applications))
    in_text = statuses.annotate(k=Cast("version_key", TextField()))
    rest = ("version", "is_modified", "consistency", "consistency_message")
    return list(map(_Status._make, in_text.values_list("application", "environment", "k", *rest)))


def _mobile_versions(of: Mapping[int, Of], told: Iterable[_Status]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Platform and number of the native builds of mobile applications, by the key of the version."""
    wanted = {one.version_key for one in told if of[one.application].is_mobile and one.version_key}
    if not wanted:
        return {}
    found = ApplicationVersion.objects.filter(key__in=wanted).values_list("key", "mobile_versions")
    return {str(key): tuple((one["platform"], one["version"]) for one in versions) for key, versions in found}


def _modules(of: Mapping[int, Of], environments: Mapping[int, Environment]) -> dict[tuple[int, int], list[str]]:
    """By application and environment."""
    statuses = ModuleStatus.objects.filter(environment__in=list(environments), module__application__in=list(of))
    in_text = statuses.annotate(m=Cast("module__key", TextField()), v=Cast("version_key", TextField()))
    columns = ("module__application", "environment", "m", "v", "consistency", "consistency_message")
    known: dict[tuple[object, ...], Text] = {}
    found: dict[tuple[int, int], list[str]] = {}
    for application, environment, module, version, consistency, message in in_text.order_by("pk").values_list(*columns):
        variety = (environment, application, consistency, message)
        text = known.get(variety)
        if text is None:
            text = known[variety] = _holed(
                {
                    "ApplicationKey": of[application].key,
                    "EnvironmentKey": str(environments[environment].key),
                    "ConsistencyStatus": consistency,
                    "ConsistencyStatusMessages": message,
                    "ModuleKey": HOLE,
                    "ModuleVersionKey": "",
                }
            )
        rest = text[1].removesuffix('""}')
        found.setdefault((application, environment), []).append(f'{text[0]}{module}{rest}"{version or ""}"}}')
    return found
