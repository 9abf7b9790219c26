"""Source code of an application and solutions of several: asked for, watched, and then there to download."""

from uuid import UUID

from django.http import Http404, HttpResponse
from ninja import Router
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from environments.models import Application, ApplicationStatus, Environment, Module
from lifetime.api import downloads, fetching, places
from lifetime.api.answers import answer, errors
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.changes import Refused
from lifetime.models import Download, DownloadKind, DownloadStatus

router = Router()
SOURCE = "/environments/{key:environment}/applications/{key:application}/sourcecodeaccess"
OF_MODULE = "/environments/{key:environment}/modules/{key:module}/sourcecodeaccess"
BARE_KEY = {"responses": {200: {"content": {"text/plain": {"schema": {"type": "string", "format": "uuid"}}}}}}


class Message(TypedDict):
    Id: int
    Message: str
    Detail: str
    HelpRef: str
    ExtraInfo: str
    Type: str
    Submitable: bool


class SourceCodeStatus(TypedDict):
    """`Status` is InProgress or Done."""

    PackageKey: str
    Status: str
    Messages: list[Message]


class SolutionStatus(TypedDict):
    """`Status` ends as Completed or Aborted; then `StatusReason` says why."""

    Status: str
    StatusReason: str


class WantedSolution(Body):
    solution_name: str = Field(min_length=1, max_length=100)
    application_keys: list[UUID] = Field(min_length=1, max_length=fetching.MOST_APPLICATIONS)
    include_references: StrictBool = False


@router.post(SOURCE, response={201: SourceCodeStatus, **errors(400, 403, 404)})
def request_source_code(request: ApiRequest, environment: UUID, application: UUID) -> HttpResponse:
    """Have the source code of the version packed that the application is based on there."""
    found, where = places.application_in(request, environment, application)
    return _pack(request, where, found)


@router.get(SOURCE + "/{key:package}/status", response={201: SourceCodeStatus, **errors(403, 404)})
def get_source_code_status(request: ApiRequest, environment: UUID, application: UUID, package: UUID) -> HttpResponse:
    """Whether the source code is packed. What cannot be had is an error that says why."""
    found = _own(request, environment, package, DownloadKind.SOURCE_CODE, application=application)
    downloads.refuse_aborted(found)
    return answer(_source_status(found), 201)


@router.get(SOURCE + "/{key:package}/download", response={200: downloads.DownloadLink, **errors(400, 403, 404)})
def get_source_code_link(request: ApiRequest, environment: UUID, application: UUID, package: UUID) -> HttpResponse:
    """A link to the zip file, which has one zip file for each module."""
    return _link(request, _own(request, environment, package, DownloadKind.SOURCE_CODE, application=application))


@router.post(OF_MODULE, response={201: SourceCodeStatus, **errors(400, 403, 404)})
def request_source_code_of_module(request: ApiRequest, environment: UUID, module: UUID) -> HttpResponse:
    """Have the source code of one module packed, of the version that its application is based on there."""
    request.concerned.add(environment)
    found = Module.objects.select_related("application").filter(key=module, statuses__environment__key=environment)
    if (one := found.first()) is None:
        raise Http404("There is no such module in the environment.")
    application, where = places.application_in(request, environment, one.application.key)
    return _pack(request, where, application, module=one)


@router.get(OF_MODULE + "/{key:package}/status", response={201: SourceCodeStatus, **errors(400, 403, 404)})
def get_source_code_status_of_module(
    request: ApiRequest, environment: UUID, module: UUID, package: UUID
) -> HttpResponse:
    """Whether the source code is packed. What cannot be had is an error that says why."""
    found = _own(request, environment, package, DownloadKind.SOURCE_CODE, module=module)
    downloads.refuse_aborted(found)
    return answer(_source_status(found), 201)


@router.get(OF_MODULE + "/{key:package}/download", response={200: downloads.DownloadLink, **errors(400, 403, 404)})
def get_source_code_link_of_module(request: ApiRequest, environment: UUID, module: UUID, package: UUID) -> HttpResponse:
    """A link to the zip file, which has one zip file: the module's."""
    return _link(request, _own(request, environment, package, DownloadKind.SOURCE_CODE, module=module))


@router.post(
    "/environments/{key:environment}/solution", response={200: None, **errors(400, 403, 404)}, openapi_extra=BARE_KEY
)
def request_solution(request: ApiRequest, environment: UUID, body: WantedSolution) -> HttpResponse:
    """Have packages of several applications put into one solution. The answer is the bare key of the solution."""
    where = places.environment(request, environment)
    keys = list(dict.fromkeys(body.application_keys))
    applications = [places.application_in(request, environment, key)[0] for key in keys]
    download = fetching.request(
        DownloadKind.SOLUTION,
        where,
        [_wanted(status) for status in _readable(request, where, applications)],
        name=f"{body.solution_name}.osp",
        account=request.account,
        by=actor(request),
        with_references=body.include_references,
    )
    return HttpResponse(str(download.key), content_type="text/plain; charset=utf-8")


@router.get(
    "/environments/{key:environment}/solutionstatus/{key:solution}",
    response={200: SolutionStatus, **errors(400, 403, 404)},
)
def get_solution_status(request: ApiRequest, environment: UUID, solution: UUID) -> HttpResponse:
    """How far the solution is."""
    found = _own(request, environment, solution, DownloadKind.SOLUTION)
    told: SolutionStatus = {"Status": DownloadStatus(found.status).label, "StatusReason": found.message}
    return answer(told)


@router.get(
    "/environments/{key:environment}/solution/{key:solution}",
    response={200: downloads.DownloadLink, **errors(400, 403, 404)},
)
def get_solution_link(request: ApiRequest, environment: UUID, solution: UUID) -> HttpResponse:
    """A link to the solution."""
    return _link(request, _own(request, environment, solution, DownloadKind.SOLUTION))


def _pack(
    request: ApiRequest, environment: Environment, application: Application, *, module: Module | None = None
) -> HttpResponse:
    """Queue the source code of the application, or of this module of it."""
    status = _readable(request, environment, [application])[0]
    download = fetching.request(
        DownloadKind.SOURCE_CODE,
        environment,
        [_wanted(status)],
        name=f"{(module or application).name} {status.version}.zip",
        account=request.account,
        by=actor(request),
        module=module,
    )
    return answer(_source_status(download), 201)


def _readable(
    request: ApiRequest, environment: Environment, applications: list[Application]
) -> list[ApplicationStatus]:
    """What the environment has of these applications, when all of them are tagged and the account may read them."""
    for one in applications:
        downloads.require_reading(request, environment, one)
    statuses = ApplicationStatus.objects.filter(environment=environment, application__in=applications)
    found = {one.application_id: one for one in statuses.select_related("application")}
    for one in applications:
        if found[one.pk].version_key is None:
            raise Refused(f"{one} was never tagged in {environment}: there is no version to read. Tag it first.")
    return [found[one.pk] for one in applications]


def _wanted(status: ApplicationStatus) -> dict[str, str]:
    assert status.version_key is not None  # noqa: S101 - `_readable` has looked
    return fetching.wanted(status.application, status.version_key)


def _own(
    request: ApiRequest,
    environment: UUID,
    key: UUID,
    kind: DownloadKind,
    *,
    application: UUID | None = None,
    module: UUID | None = None,
) -> Download:
    """What the account asked for there: of this application or module, where it is of one."""
    request.concerned.add(environment)
    asked = Download.objects.filter(key=key, kind=kind, account=request.account, environment__key=environment)
    if application:
        asked = asked.filter(parameters__applications__0__key=str(application))
    found = asked.select_related("environment__maintenance_window").first()
    if found is None or found.parameters.get("module") != (str(module) if module else None):
        raise Http404("This account asked for no such thing there.")
    downloads.require_reading(request, found.environment)
    return found


def _link(request: ApiRequest, download: Download) -> HttpResponse:
    downloads.refuse_aborted(download)
    if not download.is_over:
        raise Refused("It is still being made. Ask for its status first.")
    return downloads.link(request, download)


def _source_status(download: Download) -> SourceCodeStatus:
    is_done = download.status == DownloadStatus.COMPLETED
    return {"PackageKey": str(download.key), "Status": "Done" if is_done else "InProgress", "Messages": []}
