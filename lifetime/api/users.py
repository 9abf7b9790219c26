"""IT users: who they are, their roles, their passwords, and failed log-ins."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.http import Http404, HttpResponse
from ninja import Router
from ninja.params.functions import Query
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from environments.models import Application
from lifetime import people, policy, teams
from lifetime.api import places
from lifetime.api.answers import answer, answer_list, error, errors, nothing, written
from lifetime.api.request import ApiRequest, author
from lifetime.api.roles import known_role
from lifetime.api.schema import Body
from lifetime.changes import Refused
from lifetime.models import ApplicationRole, LoginCounter, TeamMembership, User
from lifetime.policy import Action

router = Router()


class ApplicationRoleRecord(TypedDict):
    """Somebody's role on one application."""

    applicationKey: str
    applicationName: str
    roleKey: str
    roleName: str


class UserTeam(TypedDict):
    """Somebody's role in a team."""

    teamKey: str
    teamName: str
    roleKey: str
    roleName: str


class UserRecord(TypedDict):
    """A person; `ApplicationRoles` and `Teams` are empty in lists unless they were asked for."""

    Key: str
    Username: str
    Name: str
    Email: str
    IsActive: bool
    RoleKey: str
    RoleName: str
    ApplicationRoles: list[ApplicationRoleRecord]
    Teams: list[UserTeam]


class BlockedLogin(TypedDict):
    """Failed log-ins from one address; the person waits until `BlockedUntil`."""

    IPAddress: str
    Failures: int
    LastFailedOn: str
    BlockedUntil: str | None


class WantedUser(Body):
    """What is left out stays as it is. Without a password a new person logs in through the external provider."""

    username: str | None = None
    name: str | None = None
    email: str | None = None
    is_active: StrictBool | None = None
    role_key: UUID | None = None
    password: str | None = Field(None, max_length=4096)


class NewPassword(Body):
    password: str = Field(min_length=1, max_length=4096)


class WantedApplicationRole(Body):
    application_key: UUID
    role_key: UUID


@router.get("/users", response={200: list[UserRecord], 204: None, **errors(400, 403)})
def list_users(
    request: ApiRequest,
    include_inactive: bool = Query(False, alias="IncludeInactive"),
    include_teams: bool = Query(False, alias="IncludeTeams"),
    include_application_roles: bool = Query(False, alias="IncludeApplicationRoles"),
) -> HttpResponse:
    """The people by name; those who are inactive only when asked for."""
    policy.require(request.account, Action.MANAGE_PEOPLE)
    found = User.objects.select_related("role").order_by("name", "pk")
    shown = list(found if include_inactive else found.filter(is_active=True))
    return answer_list(_records(shown, with_teams=include_teams, with_roles=include_application_roles))


@router.post("/users", response={201: UserRecord, **errors(400, 403)})
def create_user(request: ApiRequest, body: WantedUser) -> HttpResponse:
    """Create a person."""
    policy.require(request.account, Action.MANAGE_PEOPLE)
    if body.role_key is None:
        raise Refused("The RoleKey is missing.")
    user = people.create(
        username=body.username or "",
        name=body.name or "",
        email=body.email or "",
        role=known_role(body.role_key),
        password=body.password or None,
        is_active=body.is_active is not False,
        by=author(request),
    )
    return answer(_record(user), 201)


@router.get("/users/{key:user}", response={200: UserRecord, **errors(403, 404)})
def get_user(request: ApiRequest, user: UUID) -> HttpResponse:
    """One person, with roles and teams."""
    return answer(_record(_get(request, user)))


@router.put("/users/{key:user}", response={200: UserRecord, **errors(400, 403, 404)})
def edit_user(request: ApiRequest, user: UUID, body: WantedUser) -> HttpResponse:
    """Change a person. Nobody is deleted: people are made inactive."""
    found = _get(request, user)
    told: dict[str, Any] = body.model_dump(include={"username", "name", "email", "is_active"}, exclude_none=True)
    if body.role_key is not None:
        told["role"] = known_role(body.role_key)
    return answer(_record(people.edit(found, told, password=body.password or None, by=author(request))))


@router.post("/users/{key:user}/setpassword", response={204: None, **errors(400, 403, 404, 405)})
def set_password(request: ApiRequest, user: UUID, body: NewPassword) -> HttpResponse:
    """Give a person a new password. Not possible where an external provider does the log-in."""
    found = _get(request, user)
    if settings.OIDC_ISSUER:
        return error(request, 405, f"{settings.OIDC_NAME} does the log-in: change the password there.")
    people.edit(found, {}, password=body.password, by=author(request))
    return nothing()


@router.get("/users/{key:user}/blockedlogins", response={200: list[BlockedLogin], 204: None, **errors(403, 404)})
def list_blocked_logins(request: ApiRequest, user: UUID) -> HttpResponse:
    """The person's failed log-ins to this console, by address."""
    found = LoginCounter.objects.filter(_counted(_get(request, user))).order_by("-last_failed_at", "pk")
    return answer_list([_login(one) for one in found])


@router.delete("/users/{key:user}/blockedlogins", response={204: None, **errors(403, 404)})
def unblock_logins(request: ApiRequest, user: UUID) -> HttpResponse:
    """Forget the failed log-ins: the person may try again."""
    people.unblock(_get(request, user), by=author(request))
    return nothing()


@router.post("/users/{key:user}/applications", response={201: UserRecord, **errors(400, 403, 404)})
def set_application_role(request: ApiRequest, user: UUID, body: WantedApplicationRole) -> HttpResponse:
    """Give a person a role on one application; it stands instead of those by team and by default."""
    found = _managed(user)
    application = places.application(request, body.application_key, Action.MANAGE_APPLICATION_ROLES)
    teams.set_application_role(found, application, known_role(body.role_key), by=author(request))
    return answer(_record(found), 201)


@router.delete("/users/{key:user}/applications/{key:application}", response={204: None, **errors(400, 403, 404)})
def remove_application_role(request: ApiRequest, user: UUID, application: UUID) -> HttpResponse:
    """Take the role on one application from a person."""
    found = places.application(request, application, Action.MANAGE_APPLICATION_ROLES)
    person = _managed(user)
    if not ApplicationRole.objects.filter(user=person, application=found).exists():
        raise Http404(f"{person} has no role on the application {found}.")
    teams.remove_application_role(person, found, by=author(request))
    return nothing()


def _get(request: ApiRequest, key: UUID) -> User:
    policy.require(request.account, Action.MANAGE_PEOPLE)
    return _managed(key)


def _managed(key: UUID) -> User:
    found = User.objects.select_related("role").filter(key=key).first()
    if found is None:
        raise Http404("There is no such user.")
    return found


def _counted(user: User) -> Q:
    return Q(username=user.username.upper().lower())  # as the database compares: upper case


def _login(one: LoginCounter) -> BlockedLogin:
    return {
        "IPAddress": one.address,
        "Failures": one.failures,
        "LastFailedOn": written(one.last_failed_at),
        "BlockedUntil": written(one.blocked_until) if one.blocked_until else None,
    }


def _record(user: User) -> UserRecord:
    return _records([user], with_teams=True, with_roles=True)[0]


def _records(users: list[User], *, with_teams: bool, with_roles: bool) -> list[UserRecord]:
    in_teams: dict[int, list[UserTeam]] = {}
    on_applications: dict[int, list[ApplicationRoleRecord]] = {}
    if with_teams:
        memberships = TeamMembership.objects.filter(user__in=users).select_related("team", "role")
        for one in memberships.order_by("team__name", "pk"):
            in_teams.setdefault(one.user_id, []).append(
                {
                    "teamKey": str(one.team.key),
                    "teamName": one.team.name,
                    "roleKey": str(one.role.key),
                    "roleName": one.role.name,
                }
            )
    if with_roles:
        granted = ApplicationRole.objects.filter(user__in=users).select_related("application", "role")
        for given in granted.order_by("application__name", "pk"):
            on_applications.setdefault(given.user_id, []).append(_application_role(given.application, given))
    return [
        {
            "Key": str(user.key),
            "Username": user.username,
            "Name": user.name,
            "Email": user.email,
            "IsActive": user.is_active,
            "RoleKey": str(user.role.key),
            "RoleName": user.role.name,
            "ApplicationRoles": on_applications.get(user.pk, []),
            "Teams": in_teams.get(user.pk, []),
        }
        for user in users
    ]


def _application_role(application: Application, given: ApplicationRole) -> ApplicationRoleRecord:
    return {
        "applicationKey": str(application.key),
        "applicationName": application.name,
        "roleKey": str(given.role.key),
        "roleName": given.role.name,
    }
