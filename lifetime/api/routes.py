"""The paths of the API: a module for each resource. `lifetime.api.entry` resolves them, without a slash at the end."""

from types import ModuleType
from typing import Any

from django.http import Http404, HttpRequest
from django.urls import path
from ninja import NinjaAPI, Router
from ninja.errors import HttpError, ValidationError
from ninja.security import HttpBearer

from lifetime.api import (
    applications,
    blocked_addresses,
    configurations,
    creation,
    database_connections,
    database_permissions,
    deployment_commands,
    deployment_configuration,
    deployment_packages,
    deployments,
    downloads,
    environments,
    maintenance_mode,
    modules,
    properties,
    registration,
    roles,
    security,
    source_code,
    teams,
    tokens,
    users,
    versions,
)
from lifetime.api.answers import refuse
from lifetime.api.schema import Parser

DESCRIPTION = """
The LifeTime REST API v2 of this console. Send the token of a service account with each call:
`Authorization: Bearer <token>`. What a call may do and see is what the account's role allows.

Paths work with and without a slash at the end. Keys of JSON bodies and names of query parameters are taken in any
case. Errors are `{"Errors": [...], "StatusCode": n}`. Each answer has an `X-Request-ID`, and `RateLimit-*` tells how
many calls the token may still make. While maintenance mode is in the way, a call is refused with 400, `Code`
`in_maintenance` and, when its end is known, `Retry-After`.
""".strip()


class Token(HttpBearer):
    """The token of a service account. `entry` has looked at it before; here it gets into the description."""

    def __call__(self, request: HttpRequest) -> Any:
        return getattr(request, "account", None)

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        raise NotImplementedError


api = NinjaAPI(
    title="LifeTime REST API",
    version="2",
    description=DESCRIPTION,
    openapi_url=None,
    docs_url=None,
    auth=Token(),
    parser=Parser(),
    urls_namespace="lifetime-api",
)
for kind in (Exception, Http404, HttpError, ValidationError):
    api.add_exception_handler(kind, refuse)  # type: ignore[arg-type]

RESOURCES: dict[str, list[ModuleType]] = {
    "Environments": [environments, registration],
    "Database connections": [database_connections, database_permissions],
    "Maintenance mode": [maintenance_mode],
    "Applications": [applications, creation, configurations],
    "Versions": [versions],
    "Modules": [modules],
    "Deployments": [deployments, deployment_packages, deployment_commands, deployment_configuration],
    "Packages and source code": [downloads, source_code],
    "Security": [security, blocked_addresses],
    "Roles": [roles],
    "Teams": [teams],
    "Users": [users],
    "Tokens": [tokens],
}
lifetime = Router()
for tag, resources in RESOURCES.items():
    for router in dict.fromkeys(resource.router for resource in resources):  # two modules may share their paths
        lifetime.add_router("", router, tags=[tag])
api.add_router("/lifetimeapi/rest/v2", lifetime)
api.add_router("/PropertiesAPI/rest/v1", properties.router, tags=["Properties"])

urlpatterns = [path("", api.urls)]
