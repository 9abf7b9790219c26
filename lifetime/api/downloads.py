"""Links to files, and the files: packages of versions, source code, solutions. A link is signed and expires."""

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote, urlencode
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.http import http_date
from ninja import Router
from ninja.params.functions import Query
from typing_extensions import TypedDict

from environments import gate
from environments.models import Application, ApplicationVersion, Environment
from environments.operations import Operation
from lifetime import policy
from lifetime.api import fetching, places, waiting
from lifetime.api.answers import Failed, answer, errors, nothing, written
from lifetime.api.request import ApiRequest, actor
from lifetime.models import Download, DownloadKind, DownloadStatus
from lifetime.policy import Action

router = Router()
ROOT = "/lifetimeapi/rest/v2"
SIGNER = signing.TimestampSigner(salt="lifetime.api.downloads")
BINARY = {"schema": {"type": "string", "format": "binary"}}
FILE = {"responses": {200: {"content": {"application/octet-stream": BINARY}}}}
PACKAGE_TYPE = "oap"
PACKAGE_TYPES = (PACKAGE_TYPE, "apk", "aab", "ipa")


class DownloadLink(TypedDict):
    """Where the file is, for an hour. It is fetched with the same token."""

    url: str
    expires: str


@router.get(
    "/applications/{key:application}/versions/{key:version}/content",
    response={200: DownloadLink, 204: None, **errors(400, 403, 404)},
)
def get_version_content(request: ApiRequest, application: UUID, version: UUID) -> HttpResponse:
    """A link to the package of a version. Answers when an environment that has the package has given it."""
    found = places.application(request, application)
    known = found.versions.filter(key=version).first()
    if known is None:
        raise Http404(f"{found} has no such version.")
    return _package(request, found, known)


@router.get(
    "/environments/{key:environment}/applications/{key:application}/content",
    response={200: DownloadLink, 204: None, **errors(400, 403, 404)},
)
def get_content_in_environment(
    request: ApiRequest, environment: UUID, application: UUID, kind: str = Query(PACKAGE_TYPE, alias="Type")
) -> HttpResponse:
    """A link to the package of the version that the application is based on there. Native builds do not exist."""
    found, where = places.application_in(request, environment, application)
    status = where.applications.get(application=found)
    known = ApplicationVersion.objects.filter(key=status.version_key).first() if status.version_key else None
    if kind.lower() not in PACKAGE_TYPES:
        raise ValidationError(f"Type is one of {', '.join(PACKAGE_TYPES)}.")
    if known is None or kind.lower() != PACKAGE_TYPE:
        return nothing()
    return _package(request, found, known)


@router.get("/downloads/{key:download}", response={200: None, **errors(400, 403, 404)}, openapi_extra=FILE)
def fetch(request: ApiRequest, download: UUID, signature: str = Query("", alias="signature")) -> HttpResponseBase:
    """The file behind a link. Here the token may also stand alone in the header, without `Bearer`."""
    completed = Download.objects.filter(key=download, status=DownloadStatus.COMPLETED)
    found = completed.select_related("environment__maintenance_window").first()
    _check(request, download, signature)
    if found is None or not fetching.is_whole(found):
        raise Http404("This file is not here any more. Ask for a new link.")
    require_reading(request, found.environment)
    response = StreamingHttpResponse(_parts(found), content_type="application/octet-stream")
    response.headers["Content-Length"] = str(found.size)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(found.name, safe='')}"
    response.headers["ETag"] = f'"{found.digest}"'
    return response


def link(request: ApiRequest, download: Download) -> HttpResponse:
    """The answer with the link to a file that is there."""
    expires = timezone.now() + timedelta(minutes=settings.API_LINK_MINUTES)
    path = f"{ROOT}/downloads/{download.key}"
    query = urlencode({"signature": _signature(request, download.key)})
    told: DownloadLink = {"url": request.build_absolute_uri(f"{path}?{query}"), "expires": written(expires)}
    response = answer(told)
    response.headers["Expires"] = http_date(expires.timestamp())
    return response


def require_reading(request: ApiRequest, environment: Environment, application: Application | None = None) -> None:
    """Whoever reads packages reads the code: that takes the level which opens it, still when it is fetched."""
    decision = policy.may(request.account, Operation.OPEN_SERVICE_STUDIO, environment, application=application)
    if not decision and not decision.is_temporary:
        raise PermissionDenied(decision.reason)


def _package(request: ApiRequest, application: Application, version: ApplicationVersion) -> HttpResponse:
    where = _sources(request, application, version)
    if not where:
        return nothing()
    download = fetching.known_package(version.key, request.account, where)
    if download is None or (download.is_over and not fetching.is_whole(download)):
        with waiting.place():
            download = _until_over(_ask(request, where, application, version))
    elif not download.is_over:
        with waiting.place():
            download = _until_over(download)
    return link(request, download)


def _sources(request: ApiRequest, application: Application, version: ApplicationVersion) -> list[Environment]:
    """The environments that should have the package and from which the account may read it; none has it: empty."""
    registered = Environment.objects.registered().in_order().select_related("maintenance_window")
    running = registered.filter(applications__application=application, applications__version_key=version.key)
    known = {one.pk: one for one in (*running, *registered.filter(pk=version.created_in_id or 0))}
    allowed, refused = [], None
    for one in known.values():
        if not policy.may(request.account, Action.VIEW_APPLICATIONS, one, application=application):
            continue  # not even a refusal names it
        try:
            require_reading(request, one, application)
            allowed.append(one)
        except PermissionDenied as refusal:
            refused = refusal
    if refused and not allowed:
        raise refused
    return allowed


def _ask(
    request: ApiRequest, where: list[Environment], application: Application, version: ApplicationVersion
) -> Download:
    """From the first that the console may talk to now; in maintenance mode are all of them: from none."""
    request.concerned.update(one.key for one in where)
    first = next((one for one in where if not one.is_in_maintenance), where[0])
    return fetching.request(
        DownloadKind.PACKAGE,
        first,
        [fetching.wanted(application, version.key)],
        name=f"{application.name} {version.version}.{PACKAGE_TYPE}",
        account=request.account,
        by=actor(request),
    )


def _until_over(download: Download) -> Download:
    found = waiting.until(lambda: Download.objects.exclude(ended_at=None).filter(pk=download.pk).first())
    if found is None:
        raise Failed("The package is still on its way. Ask again soon: it is not brought twice.", retry_after=5)
    refuse_aborted(found)
    return found


def refuse_aborted(download: Download) -> None:
    """Raise why the file was not made."""
    if download.status == DownloadStatus.ABORTED:
        environment = Environment.objects.get(pk=download.environment_id)
        raise gate.InMaintenance(download.message) if environment.is_in_maintenance else Failed(download.message)


def _signature(request: ApiRequest, key: UUID) -> str:
    signed = SIGNER.sign(_signed(request, key))
    return signed.removeprefix(_signed(request, key) + SIGNER.sep)


def _signed(request: ApiRequest, key: UUID) -> str:
    return f"{key}/{request.account.key}"


def _check(request: ApiRequest, key: UUID, signature: str) -> None:
    whole = SIGNER.sep.join([_signed(request, key), signature])
    try:
        SIGNER.unsign(whole, max_age=timedelta(minutes=settings.API_LINK_MINUTES))
    except signing.SignatureExpired:
        raise PermissionDenied("This link has expired. Ask for a new one.") from None
    except signing.BadSignature:
        raise PermissionDenied("This is no link that was given to this account. Ask for one.") from None


def _parts(download: Download) -> Iterator[bytes]:
    for number in range(-(-download.size // fetching.PART)):
        yield bytes(download.parts.values_list("content", flat=True).get(number=number))
