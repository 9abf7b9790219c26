"""Registering an environment: a worker checks the connection, then it joins the infrastructure."""

from uuid import UUID

from django.http import HttpResponse
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from environments import addresses, newcomers, registry
from environments.models import Environment, Registration
from environments.models.environment import EnvironmentPurpose
from lifetime import policy
from lifetime.api import waiting
from lifetime.api.answers import answer, errors
from lifetime.api.environments import router
from lifetime.api.request import ApiRequest, actor, author
from lifetime.api.schema import Body
from lifetime.changes import Refused
from lifetime.models import Level, Role
from lifetime.permissions import Rights
from lifetime.policy import Action

LAST_POSITION = 100_000


class RolePermission(Body):
    role_key: UUID
    permission_level: Level
    can_create_applications: StrictBool = False
    can_add_dependencies_to_system: StrictBool = False


class NewEnvironment(Body):
    """LifeTime's members; `EnvironmentType` is the console's own. The password is the environment's token."""

    environment_name: str
    environment_address: str = Field(description="Without a scheme it means https.")
    environment_type: EnvironmentPurpose = EnvironmentPurpose.DEVELOPMENT
    service_center_username: str = ""
    service_center_password: str = Field("", description="The token of the environment, its bearer token.")
    life_time_address: str = ""
    environment_position: int | None = Field(None, ge=1, le=LAST_POSITION, description="1 is the first; else the last.")
    override_previous_lifetime: StrictBool = False
    environment_role_permissions: list[RolePermission] = []


class Registered(TypedDict):
    EnvironmentKey: str
    ImportedUsers: list[str]


@router.post("/environments", response={201: Registered, **errors(400, 403)})
def register_environment(request: ApiRequest, body: NewEnvironment) -> HttpResponse:
    """Register an environment. Answers when the connection was checked; a synchronization begins."""
    policy.require(request.account, Action.REGISTER_ENVIRONMENT)
    given = _roles(body)
    with waiting.place():
        proposed = _checked(request, body)
        try:
            newcomers.choose_levels(proposed, given, by=author(request))
            registry.register(proposed, by=actor(request), author=author(request))
        except (Refused, registry.RegistryRefused):
            registry.discard(proposed)
            raise
    environment = Environment.objects.get(pk=proposed.pk)
    if body.environment_position is not None:
        registry.move(environment, to=body.environment_position - 1, by=actor(request))
    told: Registered = {"EnvironmentKey": str(environment.key), "ImportedUsers": []}
    return answer(told, 201)


def _roles(body: NewEnvironment) -> dict[Role, Rights]:
    """Looked up before anything is done, so that an unknown one leaves nothing half done."""
    wanted = {one.role_key: one for one in body.environment_role_permissions}
    found = {role.key: role for role in Role.objects.filter(key__in=wanted)}
    if missing := [str(key) for key in wanted if key not in found]:
        raise Refused(f"There is no role {missing[0]}.")
    if any(role.is_administrator for role in found.values()):
        raise Refused("The role Administrator is built in and cannot be changed: it may do everything everywhere.")
    return {
        found[key]: Rights(one.permission_level, one.can_create_applications, one.can_add_dependencies_to_system)
        for key, one in wanted.items()
    }


def _address(text: str) -> str:
    return addresses.normalise(text if "://" in text else f"https://{text.strip()}")


def _checked(request: ApiRequest, body: NewEnvironment) -> Environment:
    """The proposed environment when its connection is good; else nothing stays of it."""
    address = _address(body.environment_address)
    proposed = registry.propose(
        Environment(
            name=body.environment_name,
            address=address,
            purpose=body.environment_type,
            lifetime_address=_address(body.life_time_address) if body.life_time_address.strip() else "",
        ),
        token=body.service_center_password,
        by=actor(request),
    )

    def look() -> Environment | None:
        found = Environment.objects.filter(pk=proposed.pk).first()
        return None if found and found.registration == Registration.CHECKING else found

    found = waiting.until(look)
    if found is None or found.registration != Registration.CHECKED:
        why = found.registration_message if found else "The connection was not checked in time; nothing was kept."
        registry.discard(proposed)
        raise registry.RegistryRefused(why)
    return found
