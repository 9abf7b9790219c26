"""Teams: their people with a role each, and their applications."""

from collections.abc import Iterable
from uuid import UUID

from django.http import Http404, HttpResponse
from ninja import Router
from typing_extensions import TypedDict

from environments.models import Application
from lifetime import policy, teams
from lifetime.api.answers import answer, answer_list, errors, nothing
from lifetime.api.request import ApiRequest, author
from lifetime.api.roles import known_role
from lifetime.api.schema import Body
from lifetime.changes import Refused
from lifetime.models import Team, User
from lifetime.policy import Action

router = Router()


class TeamUser(TypedDict):
    """Somebody's role in a team."""

    userKey: str
    username: str
    name: str
    roleKey: str
    roleName: str


class TeamApplication(TypedDict):
    key: str
    name: str


class TeamRecord(TypedDict):
    key: str
    name: str
    description: str
    users: list[TeamUser]
    applications: list[TeamApplication]


class WantedTeam(Body):
    """What is left out stays as it is."""

    name: str | None = None
    description: str | None = None


class WantedMember(Body):
    user_key: UUID
    role_key: UUID


class WantedApplications(Body):
    application_keys: list[UUID]


@router.get("/teams", response={200: list[TeamRecord], 204: None, **errors(403)})
def list_teams(request: ApiRequest) -> HttpResponse:
    """All teams by name."""
    policy.require(request.account, Action.MANAGE_TEAMS)
    return answer_list(_records(Team.objects.order_by("name", "pk")))


@router.post("/teams", response={201: TeamRecord, **errors(400, 403)})
def create_team(request: ApiRequest, body: WantedTeam) -> HttpResponse:
    """Create a team without people and applications."""
    policy.require(request.account, Action.CREATE_TEAMS)
    team = teams.create(name=body.name or "", description=body.description or "", by=author(request))
    return answer(_record(team), 201)


@router.get("/teams/{key:team}", response={200: TeamRecord, **errors(403, 404)})
def get_team(request: ApiRequest, team: UUID) -> HttpResponse:
    """One team."""
    return answer(_record(_get(request, team)))


@router.put("/teams/{key:team}", response={200: TeamRecord, **errors(400, 403, 404)})
def edit_team(request: ApiRequest, team: UUID, body: WantedTeam) -> HttpResponse:
    """Change the name or the description."""
    values = {name: value for name, value in body.model_dump().items() if value is not None}
    return answer(_record(teams.edit(_get(request, team), values, by=author(request))))


@router.delete("/teams/{key:team}", response={204: None, **errors(400, 403, 404)})
def delete_team(request: ApiRequest, team: UUID) -> HttpResponse:
    """Delete a team. Its people and applications stay."""
    policy.require(request.account, Action.CREATE_TEAMS)
    teams.delete(_get(request, team), by=author(request))
    return nothing()


@router.post("/teams/{key:team}/users", response={200: TeamRecord, **errors(400, 403, 404)})
def set_team_user(request: ApiRequest, team: UUID, body: WantedMember) -> HttpResponse:
    """Give somebody a role in the team, or another one."""
    found = _get(request, team)
    user = User.objects.filter(key=body.user_key).first()
    if user is None:
        raise Refused(f"There is no user {body.user_key}.")
    teams.set_member(found, user, known_role(body.role_key), by=author(request))
    return answer(_record(found))


@router.delete("/teams/{key:team}/users/{key:user}", response={200: TeamRecord, **errors(400, 403, 404)})
def remove_team_user(request: ApiRequest, team: UUID, user: UUID) -> HttpResponse:
    """Take somebody out of the team."""
    found = _get(request, team)
    member = User.objects.filter(key=user, memberships__team=found).first()
    if member is None:
        raise Http404(f"Nobody with this key is in the team {found}.")
    teams.remove_member(found, member, by=author(request))
    return answer(_record(found))


@router.post("/teams/{key:team}/applications", response={200: TeamRecord, **errors(400, 403, 404)})
def add_team_applications(request: ApiRequest, team: UUID, body: WantedApplications) -> HttpResponse:
    """Make applications the team's. An application belongs to one team at most."""
    found = _get(request, team)
    wanted = set(body.application_keys)
    applications = list(Application.objects.filter(key__in=wanted).order_by("pk"))
    if missing := wanted - {one.key for one in applications}:
        raise Refused(f"There is no application {min(missing)}.")
    teams.add_applications(found, applications, by=author(request))
    return answer(_record(found))


@router.delete("/teams/{key:team}/applications/{key:application}", response={200: TeamRecord, **errors(400, 403, 404)})
def remove_team_application(request: ApiRequest, team: UUID, application: UUID) -> HttpResponse:
    """Take an application from the team."""
    found = _get(request, team)
    owned = Application.objects.filter(key=application, in_team__team=found).first()
    if owned is None:
        raise Http404(f"No application with this key belongs to the team {found}.")
    teams.remove_application(found, owned, by=author(request))
    return answer(_record(found))


def _get(request: ApiRequest, key: UUID) -> Team:
    policy.require(request.account, Action.MANAGE_TEAMS)
    return policy.get_team(request.account, key, Action.MANAGE_TEAMS)


def _record(team: Team) -> TeamRecord:
    return _records([team])[0]


def _records(found: Iterable[Team]) -> list[TeamRecord]:
    prefetched = Team.objects.filter(pk__in=[team.pk for team in found]).order_by("name", "pk")
    return [
        {
            "key": str(team.key),
            "name": team.name,
            "description": team.description,
            "users": [
                {
                    "userKey": str(one.user.key),
                    "username": one.user.username,
                    "name": one.user.name,
                    "roleKey": str(one.role.key),
                    "roleName": one.role.name,
                }
                for one in sorted(team.memberships.all(), key=lambda member: (member.user.name, member.pk))
            ],
            "applications": [
                {"key": str(one.application.key), "name": one.application.name}
                for one in sorted(team.applications.all(), key=lambda owned: (owned.application.name, owned.pk))
            ],
        }
        for team in prefetched.prefetch_related("memberships__user", "memberships__role", "applications__application")
    ]
