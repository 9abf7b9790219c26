"""A call as the modules of the API get it."""

from uuid import UUID

from django.http import HttpRequest

from audit.log import Actor
from lifetime.changes import Author
from lifetime.models import ServiceAccount
from lifetime.requests import client_address


class ApiRequest(HttpRequest):
    """A call of a service account. `concerned` are the keys of environments that a refusal may be about."""

    account: ServiceAccount
    concerned: set[UUID]
    request_id: str
    version: int


def actor(request: ApiRequest) -> Actor:
    return request.account.actor(client_address(request))


def author(request: ApiRequest) -> Author:
    return Author(who=request.account, address=client_address(request))
