"""Modules of applications, what each environment has of them, and their versions."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.http import Http404, HttpResponse
from ninja import Router
from ninja.params.functions import Query
from typing_extensions import TypedDict

from environments.matrix import Sight
from environments.models import Module, ModuleStatus, ModuleVersion
from lifetime.api.answers import answer, answer_list, errors
from lifetime.api.request import ApiRequest
from lifetime.api.statuses import ModuleStatusInEnv
from lifetime.api.versions import ModuleVersionRecord, module_record

router = Router()
MOST = 1_000


class ModuleRecord(TypedDict):
    """A module; `ModuleStatusInEnv` is empty unless it was asked for."""

    Key: str
    Name: str
    Description: str
    Kind: str
    ApplicationKey: str
    ModuleStatusInEnv: list[ModuleStatusInEnv]


@router.get("/modules", response={200: list[ModuleRecord], 204: None, **errors(400)})
def list_modules(
    request: ApiRequest, include_env_status: bool = Query(False, alias="IncludeEnvStatus")
) -> HttpResponse:
    """The modules of the applications that the account sees, by name."""
    sight = Sight.of(request.account)
    return answer_list(_records(sight, _seen(sight), with_status=include_env_status))


@router.get("/modules/{key:module}", response={200: ModuleRecord, **errors(400, 403, 404)})
def get_module(
    request: ApiRequest, module: UUID, include_env_status: bool = Query(False, alias="IncludeEnvStatus")
) -> HttpResponse:
    """One module."""
    sight = Sight.of(request.account)
    found = _records(sight, _seen(sight).filter(key=module), with_status=include_env_status)
    if not found:
        raise Http404("There is no such module.")
    return answer(found[0])


@router.get("/modules/{key:module}/versions", response={200: list[ModuleVersionRecord], **errors(403, 404)})
def list_module_versions(request: ApiRequest, module: UUID) -> HttpResponse:
    """The versions of a module that are in tagged versions of its application, newest first."""
    return answer([module_record(one) for one in _versions(request, module)[:MOST]])


@router.get("/modules/{key:module}/versions/{key:version}", response={200: ModuleVersionRecord, **errors(403, 404)})
def get_module_version(request: ApiRequest, module: UUID, version: UUID) -> HttpResponse:
    """One version of a module."""
    found = next((one for one in _versions(request, module) if one.version_key == version), None)
    if found is None:
        raise Http404("The module has no such version.")
    return answer(module_record(found))


def _seen(sight: Sight) -> QuerySet[Module]:
    return Module.objects.filter(application__in=sight.published_in(sight.environments))


def _records(sight: Sight, found: QuerySet[Module], *, with_status: bool) -> list[ModuleRecord]:
    modules = list(found.select_related("application").order_by(Lower("name"), "pk"))
    statuses = _statuses(sight, modules) if with_status else {}
    return [
        {
            "Key": str(one.key),
            "Name": one.name,
            "Description": one.description,
            "Kind": one.kind,
            "ApplicationKey": str(one.application.key),
            "ModuleStatusInEnv": statuses.get(one.pk, []),
        }
        for one in modules
    ]


def _statuses(sight: Sight, modules: Iterable[Module]) -> dict[int, list[ModuleStatusInEnv]]:
    by_id = {one.pk: one for one in modules}
    environments = {one.pk: one for one in sight.environments}
    found: dict[int, list[ModuleStatusInEnv]] = {}
    told = ModuleStatus.objects.filter(module__in=list(by_id), environment__in=list(environments))
    for status in told.order_by("environment__position", "pk"):
        module, environment = by_id[status.module_id], environments[status.environment_id]
        if not sight.sees(module.application_id, environment):
            continue
        found.setdefault(module.pk, []).append(
            {
                "ApplicationKey": str(module.application.key),
                "EnvironmentKey": str(environment.key),
                "ModuleKey": str(module.key),
                "ModuleVersionKey": str(status.version_key or ""),
                "ConsistencyStatus": status.consistency,
                "ConsistencyStatusMessages": status.consistency_message,
            }
        )
    return found


def _versions(request: ApiRequest, key: UUID) -> list[ModuleVersion]:
    """Newest first; each once, though several versions of the application may have it."""
    sight = Sight.of(request.account)
    module = _seen(sight).filter(key=key).first()
    if module is None:
        raise Http404("There is no such module.")
    found = ModuleVersion.objects.filter(module_key=key, application_version__application=module.application_id)
    return sorted(found.order_by("version_key", "pk").distinct("version_key"), key=lambda one: -one.pk)
