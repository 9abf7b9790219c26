"""Environments: which there are, their deployment zones, and leaving the infrastructure."""

from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

from django.http import HttpResponse
from django.urls import reverse
from ninja import Router
from typing_extensions import TypedDict

from environments import registry
from environments.models import Environment
from lifetime.api import places
from lifetime.api.answers import answer, answer_list, error, errors, nothing, written
from lifetime.api.request import ApiRequest, actor
from lifetime.policy import Action

router = Router()
NO_KEY = UUID(int=0)
TECHNOLOGY = {"Key": "classic", "Name": "Classic Virtual Machines"}


class EnvironmentRecord(TypedDict):
    """An environment. The last four members are the console's own."""

    Key: str
    Name: str
    OSVersion: str
    Order: int
    DetailsURL: str
    HostName: str
    UseHTTPS: bool
    EnvironmentType: str
    NumberOfFrontEnds: int
    ApplicationServerType: str
    ApplicationServer: str
    DatabaseProvider: str
    IsCloudEnvironment: bool
    IsOffline: bool
    IsInMaintenanceMode: bool
    MaintenanceModeReason: str
    MaintenanceModeSince: str | None
    MaintenanceModeExpectedEnd: str | None


class DeploymentTechnology(TypedDict):
    Key: str
    Name: str


class DeploymentZone(TypedDict):
    """Where in an environment an application runs."""

    Key: str
    Name: str
    IsDefault: bool
    DeploymentTechnology: DeploymentTechnology


@router.get("/environments", response={200: list[EnvironmentRecord], 204: None, **errors()})
def list_environments(request: ApiRequest) -> HttpResponse:
    """The environments that the account sees, in pipeline order."""
    page = _page(request)
    return answer_list([_record(page, one) for one in places.environments(request)])


@router.get("/environments/{key:environment}", response={200: EnvironmentRecord, **errors(403, 404)})
def get_environment(request: ApiRequest, environment: UUID) -> HttpResponse:
    """One environment."""
    return answer(_record(_page(request), places.environment(request, environment)))


@router.delete("/environments/{key:environment}", response={204: None, **errors(400, 403, 404, 405)})
def unregister_environment(request: ApiRequest, environment: UUID) -> HttpResponse:
    """Take an environment out of the infrastructure. It is not contacted; maintenance mode is not in the way."""
    found = places.environment(request, environment)
    if found.is_cloud:
        return error(request, 405, f"{found} is a cloud environment: support staff unregister it.")
    found = places.environment(request, environment, Action.UNREGISTER_ENVIRONMENT)
    registry.unregister(found, by=actor(request))
    return nothing()


@router.get(
    "/environments/{key:environment}/deploymentzones", response={200: list[DeploymentZone], **errors(400, 403, 404)}
)
def list_deployment_zones(request: ApiRequest, environment: UUID) -> HttpResponse:
    """The deployment zones of an environment; there is at least one."""
    return answer(zones(places.environment(request, environment)))


def _page(request: ApiRequest) -> str:
    """The address of an environment's page, with a key in it that no environment has."""
    return request.build_absolute_uri(reverse("environments:edit", args=[NO_KEY]))


def _record(page: str, one: Environment) -> EnvironmentRecord:
    address = urlsplit(one.address)
    window = one.maintenance_window
    return {
        "Key": str(one.key),
        "Name": one.name,
        "OSVersion": one.version,
        "Order": one.position + 1,
        "DetailsURL": page.replace(str(NO_KEY), str(one.key)),
        "HostName": address.netloc + address.path,
        "UseHTTPS": address.scheme == "https",
        "EnvironmentType": one.purpose,
        "NumberOfFrontEnds": one.number_of_front_ends or 0,
        "ApplicationServerType": one.application_server_type,
        "ApplicationServer": one.application_server,
        "DatabaseProvider": one.database_provider,
        "IsCloudEnvironment": one.is_cloud,
        "IsOffline": window is not None or one.sync_state.unreachable_since is not None,
        "IsInMaintenanceMode": window is not None,
        "MaintenanceModeReason": window.reason if window else "",
        "MaintenanceModeSince": written(window.enabled_at) if window else None,
        "MaintenanceModeExpectedEnd": written(window.expected_end) if window and window.expected_end else None,
    }


def zones(environment: Environment) -> list[DeploymentZone]:
    """What the environment told of its zones; one that told nothing has the predefined one."""
    told: list[dict[str, Any]] = environment.deployment_zones or [
        {"key": str(uuid5(NAMESPACE_URL, f"zone:{environment.key}")), "name": "Global", "is_default": True}
    ]
    return [
        {
            "Key": str(zone["key"]),
            "Name": zone["name"],
            "IsDefault": bool(zone.get("is_default")),
            "DeploymentTechnology": {"Key": TECHNOLOGY["Key"], "Name": TECHNOLOGY["Name"]},
        }
        for zone in told
    ]


def default_zone_key(environment: Environment) -> str:
    """The key of the zone in which an application runs unless a deployment says otherwise."""
    known = zones(environment)
    return next((zone["Key"] for zone in known if zone["IsDefault"]), known[0]["Key"])
