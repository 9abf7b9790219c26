"""Applications, and what each environment has of them. Any number of them costs a constant number of queries."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery, TextField
from django.db.models.functions import Cast, Lower
from django.http import HttpResponse
from django.urls import reverse
from ninja import Router
from ninja.errors import HttpError
from ninja.params.functions import Query
from typing_extensions import TypedDict

from environments.matrix import Sight
from environments.models import Application, ApplicationIcon, Environment
from environments.models.application import ApplicationKind
from lifetime.api import places, statuses
from lifetime.api.answers import answer_written, answer_written_list, errors, to_json
from lifetime.api.request import ApiRequest
from lifetime.api.statuses import AppStatusInEnv

router = Router()
IncludeModules = Query(False, alias="IncludeModules", description="Needs IncludeEnvStatus.")
IncludeEnvStatus = Query(False, alias="IncludeEnvStatus")


class ApplicationRecord(TypedDict):
    """An application; `AppStatusInEnvs` is empty unless it was asked for."""

    Key: str
    Name: str
    Kind: str
    Team: str
    TeamKey: str
    Description: str
    URLPath: str
    IconHash: str
    IconURL: str
    DetailsURL: str
    IsSystem: bool
    AppStatusInEnvs: list[AppStatusInEnv]


@router.get("/applications", response={200: list[ApplicationRecord], 204: None, **errors(400)})
def list_applications(
    request: ApiRequest, include_modules: bool = IncludeModules, include_env_status: bool = IncludeEnvStatus
) -> HttpResponse:
    """The applications that the account sees, by name."""
    _check(include_modules, include_env_status)
    sight = Sight.of(request.account)
    found = sight.published_in(sight.environments)
    shown = sight.environments if include_env_status else []
    return answer_written_list(written_records(request, sight, found, shown, with_modules=include_modules))


@router.get("/applications/{key:application}", response={200: ApplicationRecord, **errors(400, 403, 404)})
def get_application(
    request: ApiRequest,
    application: UUID,
    include_modules: bool = IncludeModules,
    include_env_status: bool = IncludeEnvStatus,
) -> HttpResponse:
    """One application, with what each environment that the account sees has of it."""
    _check(include_modules, include_env_status)
    found = places.application(request, application)
    sight = Sight.of(request.account)
    shown = sight.environments if include_env_status else []
    return answer_written(_one(request, sight, found, shown, with_modules=include_modules))


@router.get(
    "/environments/{key:environment}/applications",
    response={200: list[ApplicationRecord], 204: None, **errors(400, 403, 404)},
)
def list_applications_in_environment(
    request: ApiRequest,
    environment: UUID,
    include_modules: bool = IncludeModules,
    include_env_status: bool = IncludeEnvStatus,
) -> HttpResponse:
    """The applications that are published in an environment."""
    _check(include_modules, include_env_status)
    where = places.environment(request, environment)
    sight = Sight.of(request.account)
    there = [one for one in sight.environments if one.pk == where.pk]
    shown = there if include_env_status else []
    return answer_written_list(
        written_records(request, sight, sight.published_in(there), shown, with_modules=include_modules)
    )


@router.get(
    "/environments/{key:environment}/applications/{key:application}",
    response={200: ApplicationRecord, **errors(400, 403, 404)},
)
def get_application_in_environment(
    request: ApiRequest,
    environment: UUID,
    application: UUID,
    include_modules: bool = IncludeModules,
    include_env_status: bool = IncludeEnvStatus,
) -> HttpResponse:
    """One application as it is in an environment; 404 where it is not published there."""
    _check(include_modules, include_env_status)
    found, where = places.application_in(request, environment, application)
    sight = Sight.of(request.account)
    return answer_written(
        _one(request, sight, found, [where] if include_env_status else [], with_modules=include_modules)
    )


def _check(include_modules: bool, include_env_status: bool) -> None:
    if include_modules and not include_env_status:
        raise HttpError(400, "IncludeModules needs IncludeEnvStatus.")


def _one(
    request: ApiRequest, sight: Sight, found: Application, shown: Sequence[Environment], *, with_modules: bool
) -> str:
    only = Application.objects.filter(pk=found.pk)
    return written_records(request, sight, only, shown, with_modules=with_modules)[0]


def written_records(
    request: ApiRequest,
    sight: Sight,
    found: QuerySet[Application],
    shown: Sequence[Environment],
    *,
    with_modules: bool = False,
) -> list[str]:
    """These applications by name, with what `shown` environments have of them, each written as JSON."""
    columns = ("pk", "text_key", "name", "kind", "in_team__team__name", "in_team__team__key")
    more = ("description", "url_path", "is_system", "icon")
    icons = ApplicationIcon.objects.filter(application_key=OuterRef("key")).values("digest")
    shown_by_name = found.annotate(text_key=Cast("key", TextField()), icon=Subquery(icons))
    in_order = shown_by_name.order_by(Lower("name"), "pk")
    rows = list(in_order.values_list(*columns, *more))
    of = {row[0]: statuses.Of(key=row[1], is_mobile=row[3] == ApplicationKind.MOBILE) for row in rows}
    told = statuses.written(sight, of, shown, with_modules=with_modules) if shown else {}
    pages = request.build_absolute_uri(reverse("applications:list"))
    return [_written(_record(pages, *row[1:]), told.get(row[0], [])) for row in rows]


def _written(record: ApplicationRecord, told: Sequence[str]) -> str:
    """The record as JSON; its statuses are written already, and are its last member."""
    return f"{to_json(record).removesuffix('[]}')}[{','.join(told)}]}}"


def _record(
    pages: str,
    key: str,
    name: str,
    kind: str,
    team: str | None,
    team_key: UUID | None,
    description: str,
    url_path: str,
    is_system: bool,
    icon: str | None,
) -> ApplicationRecord:
    return {
        "Key": key,
        "Name": name,
        "Kind": kind,
        "Team": team or "",
        "TeamKey": str(team_key or ""),
        "Description": description,
        "URLPath": url_path,
        "IconHash": icon or "",
        "IconURL": f"{pages}{key}/icon/{icon}/" if icon else "",
        "DetailsURL": f"{pages}{key}/",
        "IsSystem": is_system,
        "AppStatusInEnvs": [],
    }
