"""Roles, and the ladder of permission levels."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse
from ninja import Router
from ninja.params.functions import Query
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from environments.models import Environment
from lifetime import policy, roles
from lifetime.api.answers import answer, errors, nothing
from lifetime.api.request import ApiRequest, author
from lifetime.api.schema import Body
from lifetime.changes import Refused
from lifetime.models import Level, Role
from lifetime.permissions import Ladder, Rights
from lifetime.policy import Action

router = Router()
UsersNewRoleKey = Query(None, alias="UsersNewRoleKey")


class PermissionLevel(TypedDict):
    level: int
    levelLabel: str
    description: str


class EnvironmentPermission(TypedDict):
    """What a role allows in one environment."""

    environmentKey: str
    environmentName: str
    level: int
    levelLabel: str
    createApplications: bool
    addDependenciesToSystem: bool


class RoleRecord(TypedDict):
    """A role; `environmentPermissions` is empty in lists unless it was asked for."""

    key: str
    name: str
    description: str
    isBuiltIn: bool
    manageInfrastructure: bool
    manageTeams: bool
    environmentPermissions: list[EnvironmentPermission]


class WantedPermission(Body):
    environment_key: UUID
    level: Level
    create_applications: StrictBool = False
    add_dependencies_to_system: StrictBool = False


class WantedRole(Body):
    """What is left out stays as it is; in a new role it is the default."""

    name: str | None = None
    description: str | None = None
    manage_infrastructure: StrictBool | None = None
    manage_teams: StrictBool | None = None
    environment_permissions: list[WantedPermission] = Field(default=[])


@router.get("/roles/permissionlevels", response={200: list[PermissionLevel], **errors()})
def list_permission_levels(request: ApiRequest) -> HttpResponse:
    """The seven levels; each includes those below it."""
    told: list[PermissionLevel] = [
        {"level": level.value, "levelLabel": str(level.label), "description": level.adds} for level in Level
    ]
    return answer(told)


@router.get("/roles", response={200: list[RoleRecord], **errors(400, 403)})
def list_roles(
    request: ApiRequest, include_permissions: bool = Query(False, alias="IncludeEnvPermissions")
) -> HttpResponse:
    """All roles by name."""
    policy.require(request.account, Action.MANAGE_PEOPLE)
    found = list(Role.objects.order_by("name", "pk"))
    return answer(_records(found, _environments() if include_permissions else []))


@router.post("/roles", response={201: RoleRecord, **errors(400, 403)})
def create_role(request: ApiRequest, body: WantedRole) -> HttpResponse:
    """Create a role. Environments that are left out get the default."""
    policy.require(request.account, Action.MANAGE_PEOPLE)
    values = {"name": "", "description": "", **_values(body)}
    return answer(_record(roles.create(values, _levels(body), by=author(request))), 201)


@router.get("/roles/{key:role}", response={200: RoleRecord, **errors(403, 404)})
def get_role(request: ApiRequest, role: UUID) -> HttpResponse:
    """One role, with what it allows in each environment."""
    return answer(_record(_get(request, role)))


@router.put("/roles/{key:role}", response={200: RoleRecord, **errors(400, 403, 404)})
def edit_role(request: ApiRequest, role: UUID, body: WantedRole) -> HttpResponse:
    """Change a role for everybody who has it."""
    return answer(_record(roles.edit(_get(request, role), _values(body), _levels(body), by=author(request))))


@router.delete("/roles/{key:role}", response={204: None, **errors(400, 403, 404)})
def delete_role(request: ApiRequest, role: UUID, replacement: UUID | None = UsersNewRoleKey) -> HttpResponse:
    """Delete a role. Whoever has it gets the other one, which is needed when somebody does."""
    found = _get(request, role)
    other = None
    if replacement is not None and (other := Role.objects.filter(key=replacement).first()) is None:
        raise Refused("There is no role with the key in UsersNewRoleKey.")
    roles.delete(found, replacement=other, by=author(request))
    return nothing()


def known_role(key: UUID) -> Role:
    """The role that a body names; Refused when there is none."""
    found = Role.objects.filter(key=key).first()
    if found is None:
        raise Refused(f"There is no role {key}.")
    return found


def _get(request: ApiRequest, key: UUID) -> Role:
    policy.require(request.account, Action.MANAGE_PEOPLE)
    found = Role.objects.filter(key=key).first()
    if found is None:
        raise Http404("There is no such role.")
    return found


def _environments() -> list[Environment]:
    return list(Environment.objects.registered().in_order())


def _values(body: WantedRole) -> dict[str, Any]:
    told = {
        "name": body.name,
        "description": body.description,
        "manage_infrastructure_and_users": body.manage_infrastructure,
        "manage_teams_and_application_roles": body.manage_teams,
    }
    return {name: value for name, value in told.items() if value is not None}


def _levels(body: WantedRole) -> dict[Environment, Rights]:
    known = {one.key: one for one in _environments()}
    found = {}
    for one in body.environment_permissions:
        if one.environment_key not in known:
            raise Refused(f"There is no environment {one.environment_key}.")
        found[known[one.environment_key]] = Rights(one.level, one.create_applications, one.add_dependencies_to_system)
    return found


def _record(role: Role) -> RoleRecord:
    return _records([role], _environments())[0]


def _records(found: Iterable[Role], environments: list[Environment]) -> list[RoleRecord]:
    found = list(found)
    ladder = Ladder(found, environments)
    return [
        {
            "key": str(role.key),
            "name": role.name,
            "description": role.description,
            "isBuiltIn": role.is_built_in,
            "manageInfrastructure": role.manage_infrastructure_and_users,
            "manageTeams": role.manage_teams_and_application_roles,
            "environmentPermissions": [_permission(one, ladder.of(role, one)) for one in environments],
        }
        for role in found
    ]


def _permission(environment: Environment, rights: Rights) -> EnvironmentPermission:
    return {
        "environmentKey": str(environment.key),
        "environmentName": environment.name,
        "level": rights.level.value,
        "levelLabel": str(rights.level.label),
        "createApplications": rights.create_applications,
        "addDependenciesToSystem": rights.add_system_dependencies,
    }
