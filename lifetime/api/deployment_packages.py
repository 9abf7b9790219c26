"""Deployments of uploaded packages: the file is the body of the call."""

import tempfile
from typing import IO
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from ninja import Router
from ninja.errors import HttpError

from deployments import packages
from environments.models import Application
from environments.operations import Operation
from lifetime import policy
from lifetime.api import deployments, places
from lifetime.api.answers import errors
from lifetime.api.request import ApiRequest, actor

router = Router()
PIECE = 256 * 1024
BINARY = {"schema": {"type": "string", "format": "binary"}}
UPLOAD = {
    **deployments.CREATED,
    "requestBody": {
        "description": "A package (.oap) or a solution of packages (.osp).",
        "required": True,
        "content": {"application/octet-stream": BINARY},
    },
}


@router.post(
    "/environments/{key:environment}/deployment",
    response={201: None, **errors(400, 403, 404)},
    openapi_extra=UPLOAD,
)
def create_package_deployment(request: ApiRequest, environment: UUID) -> HttpResponse:
    """Make a plan that deploys the package to the environment, and have it validated. The answer is its bare key."""
    target = places.environment(request, environment, Operation.DEPLOY)
    with tempfile.TemporaryFile() as file:
        _receive(request, file)
        with packages.read(file) as found:
            known = {one.key: one for one in Application.objects.filter(key__in=[one.application_key for one in found])}
            for one in found:
                application = known.get(one.application_key) or Application(pk=0, name=one.application_name)
                policy.require(request.account, Operation.DEPLOY, target, application=application)
            plan = packages.create(target, found, by=actor(request))
    return deployments.created(plan)


def _receive(request: ApiRequest, file: IO[bytes]) -> None:
    """The body, piece by piece."""
    told = request.headers.get("Content-Length", "")
    announced = int(told) if told.isascii() and told.isdigit() else 0
    too_large = HttpError(400, f"The file is too large: it may have {settings.API_LARGEST_UPLOAD:,} bytes.")
    if announced > settings.API_LARGEST_UPLOAD:
        raise too_large
    size = 0
    while piece := request.read(PIECE):
        size += len(piece)
        if size > settings.API_LARGEST_UPLOAD:
            raise too_large
        file.write(piece)
    if not size or size < announced:
        raise HttpError(400, "The file did not arrive whole.")
