"""What roles and single people may do with a database connection when they develop in its environment."""

from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from ninja import Router
from typing_extensions import TypedDict

from environments import database_connections
from environments.database_connections import Permission
from lifetime.api import places, waiting
from lifetime.api.answers import answer, errors
from lifetime.api.database_connections import PATH, asked, named
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.models import Role, User
from lifetime.policy import Action

router = Router()

ROLE, USER = (f"{PATH}/{{connection}}/{kind}permissionlevel" for kind in ("role", "user"))
DESCRIPTIONS = {
    Permission.NO_ACCESS: "Does not see the connection.",
    Permission.READ_ONLY: "Uses the connection.",
    Permission.FULL_CONTROL: "Uses the connection and changes what it is used for.",
}
LEVELS = list(Permission)  # a level's number is its place


class DbPermissionLevel(TypedDict):
    Id: int
    Label: str
    ShortLabel: str
    Description: str
    Level: int


class DbPermissionLevelRecord(TypedDict):
    DbConnectionPermissionLevel: DbPermissionLevel


class DbConnectionRole(Body):
    role: str


class DbConnectionUser(Body):
    username: str


class DbConnectionRoleLevel(DbConnectionRole):
    permission_level: int


class DbConnectionUserLevel(DbConnectionUser):
    permission_level: int


@router.get("/environments/dbconnection/permissionlevels", response={200: list[DbPermissionLevelRecord], **errors()})
def list_database_permission_levels(request: ApiRequest) -> HttpResponse:
    """The levels that there are."""
    told: list[DbPermissionLevelRecord] = [{"DbConnectionPermissionLevel": _record(one)} for one in LEVELS]
    return answer(told)


@router.put(ROLE, response={200: DbPermissionLevel, **errors(400, 403, 404)})
def set_role_permission_level(
    request: ApiRequest, environment: UUID, connection: str, body: DbConnectionRoleLevel
) -> HttpResponse:
    """Give a role a level on the connection."""
    return _set(request, environment, connection, body, body.permission_level)


@router.delete(ROLE, response={200: DbPermissionLevel, **errors(400, 403, 404)})
def revoke_role_permission_level(
    request: ApiRequest, environment: UUID, connection: str, body: DbConnectionRole
) -> HttpResponse:
    """Take a role its level on the connection."""
    return _set(request, environment, connection, body, None)


@router.get(ROLE + "/{role}", response={200: DbPermissionLevel, **errors(400, 403, 404)})
def get_role_permission_level(request: ApiRequest, environment: UUID, connection: str, role: str) -> HttpResponse:
    """The level of a role on the connection."""
    return _get(request, environment, connection, DbConnectionRole(role=role))


@router.put(USER, response={200: DbPermissionLevel, **errors(400, 403, 404)})
def set_user_permission_level(
    request: ApiRequest, environment: UUID, connection: str, body: DbConnectionUserLevel
) -> HttpResponse:
    """Give a person a level of their own on the connection."""
    return _set(request, environment, connection, body, body.permission_level)


@router.delete(USER, response={200: DbPermissionLevel, **errors(400, 403, 404)})
def revoke_user_permission_level(
    request: ApiRequest, environment: UUID, connection: str, body: DbConnectionUser
) -> HttpResponse:
    """Take a person their own level on the connection; that of their role counts again."""
    return _set(request, environment, connection, body, None)


@router.get(USER + "/{username}", response={200: DbPermissionLevel, **errors(400, 403, 404)})
def get_user_permission_level(request: ApiRequest, environment: UUID, connection: str, username: str) -> HttpResponse:
    """A person's own level on the connection."""
    return _get(request, environment, connection, DbConnectionUser(username=username))


def _set(
    request: ApiRequest,
    environment: UUID,
    connection: str,
    body: DbConnectionRole | DbConnectionUser,
    wanted: int | None,
) -> HttpResponse:
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    holder = _holder(body)
    if wanted is not None and not 0 <= wanted < len(LEVELS):
        raise ValidationError("There is no such permission level; see environments/dbconnection/permissionlevels.")
    level = None if wanted is None else LEVELS[wanted]
    with waiting.place():
        present = named(asked(request, found), connection)
        waiting.until_over(database_connections.permit(found, present.key, holder, level, by=actor(request)))
    return answer(_record(level or Permission.NO_ACCESS))


def _get(
    request: ApiRequest, environment: UUID, connection: str, of: DbConnectionRole | DbConnectionUser
) -> HttpResponse:
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    holder = _holder(of)
    with waiting.place():
        present = named(asked(request, found), connection)
    levels = present.roles if isinstance(holder, Role) else present.users
    return answer(_record(Permission(levels.get(str(holder.key), Permission.NO_ACCESS))))


def _holder(of: DbConnectionRole | DbConnectionUser) -> Role | User:
    found: Role | User | None
    if isinstance(of, DbConnectionRole):
        found, said = Role.objects.filter(name__iexact=of.role).first(), f"role named {of.role}"
    else:
        found, said = User.objects.filter(username__iexact=of.username).first(), f"user {of.username}"
    if found is None:
        raise Http404(f"There is no {said}.")
    return found


def _record(level: Permission) -> DbPermissionLevel:
    number = LEVELS.index(level)
    return {
        "Id": number,
        "Label": level.label,
        "ShortLabel": level.label,
        "Description": DESCRIPTIONS[level],
        "Level": number,
    }
