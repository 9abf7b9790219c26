"""What people may do where: the ladder of levels, and which of somebody's roles counts for an application.

The most specific role counts and stands instead of the others, upward or downward: the role on the application, else
the role in the team that the application belongs to, else the default role.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from django.db.models import Q

from environments.models import Application, Environment, EnvironmentPurpose
from lifetime.models import (
    ApplicationRole,
    Level,
    Role,
    RoleLevel,
    ServiceAccount,
    TeamApplication,
    TeamMembership,
    User,
)

Person = User | ServiceAccount


@dataclass(frozen=True)
class Rights:
    """What a role allows in one environment."""

    level: Level
    create_applications: bool = False
    add_system_dependencies: bool = False

    def __str__(self) -> str:
        flags = [
            name
            for name, has in (
                ("Create Applications", self.create_applications),
                ("Add System Dependencies", self.add_system_dependencies),
            )
            if has
        ]
        return " + ".join([self.level.label, *flags])

    def covers(self, other: Self) -> bool:
        """Whether nothing of the other is above this."""
        return (
            self.level >= other.level
            and self.create_applications >= other.create_applications
            and self.add_system_dependencies >= other.add_system_dependencies
        )

    @property
    def on_applications(self) -> Level:
        """The level as a role in a team or on an application, which ends no log-in and reaches no environment."""
        return min(max(self.level, Level.ACCESS), Level.CHANGE)


EVERYTHING = Rights(Level.FULL_CONTROL, create_applications=True, add_system_dependencies=True)
NOTHING = Rights(Level.NO_ACCESS)
DEFAULT = Rights(Level.LIST)
DEVELOPER_DEFAULTS = {
    EnvironmentPurpose.DEVELOPMENT: Rights(Level.CHANGE, create_applications=True),
    EnvironmentPurpose.TEST: Rights(Level.OPEN),
    EnvironmentPurpose.PRODUCTION: Rights(Level.LIST),
}


def default_rights(role: Role, environment: Environment) -> Rights:
    """What a role allows in an environment for which nobody has set it."""
    if role.is_administrator:
        return EVERYTHING
    return DEVELOPER_DEFAULTS[EnvironmentPurpose(environment.purpose)] if role.is_built_in else DEFAULT


class Ladder:
    """What each of these roles allows in each environment, read by one query."""

    def __init__(self, roles: Iterable[Role], environments: Iterable[Environment] | None = None) -> None:
        roles = list(roles)
        levels = RoleLevel.objects.filter(role__in=[role.pk for role in roles])
        if environments is not None:
            levels = levels.filter(environment__in=[environment.pk for environment in environments])
        columns = ("level", "create_applications", "add_system_dependencies")
        kinds: dict[tuple[int, bool, bool], Rights] = {}  # there are few, of thousands of rows
        self._set: dict[tuple[int, int], Rights] = {}
        for role_id, environment_id, level, create, add in levels.values_list("role", "environment", *columns):
            kind = level, create, add
            if kind not in kinds:
                kinds[kind] = Rights(Level(level), create, add)
            self._set[role_id, environment_id] = kinds[kind]

    def of(self, role: Role, environment: Environment) -> Rights:
        if role.is_administrator:
            return EVERYTHING
        return self._set.get((role.pk, environment.pk)) or default_rights(role, environment)


@dataclass(frozen=True, kw_only=True)
class Permissions:
    """All that one person may do, read by at most four queries; asking it about anything costs none.

    `roles` are those that count for an application, by its id, where that is not the default role.
    """

    default: Role
    is_active: bool
    ladder: Ladder
    in_teams: Mapping[int, Role] = field(default_factory=dict)  # by team
    on_team_applications: Mapping[int, Role] = field(default_factory=dict)  # by application
    on_applications: Mapping[int, Role] = field(default_factory=dict)  # by application

    @classmethod
    def of(cls, person: Person, environments: Iterable[Environment] | None = None) -> Self:
        if isinstance(person, ServiceAccount):
            return cls(default=person.role, is_active=person.is_active, ladder=Ladder([person.role], environments))
        return cls.of_all([person], environments)[person.pk]

    @classmethod
    def of_all(cls, people: Collection[User], environments: Iterable[Environment] | None = None) -> dict[int, Self]:
        """By user id; four queries for any number of people, whose roles are fetched already."""
        memberships = list(TeamMembership.objects.filter(user__in=people).select_related("role"))
        theirs = TeamApplication.objects.filter(team__in={one.team_id for one in memberships}) if memberships else []
        applications: dict[int, list[int]] = {}
        for owned in theirs:
            applications.setdefault(owned.team_id, []).append(owned.application_id)
        in_teams: dict[int, dict[int, Role]] = {}
        by_team: dict[int, dict[int, Role]] = {}
        for membership in memberships:
            in_teams.setdefault(membership.user_id, {})[membership.team_id] = membership.role
            granted = dict.fromkeys(applications.get(membership.team_id, []), membership.role)
            by_team.setdefault(membership.user_id, {}).update(granted)
        by_application: dict[int, dict[int, Role]] = {}
        for one in ApplicationRole.objects.filter(user__in=people).select_related("role"):
            by_application.setdefault(one.user_id, {})[one.application_id] = one.role
        roles = {person.role for person in people}
        for given in (*in_teams.values(), *by_application.values()):
            roles.update(given.values())
        ladder = Ladder(roles, environments)
        return {
            person.pk: cls(
                default=person.role,
                is_active=person.is_active,
                ladder=ladder,
                in_teams=in_teams.get(person.pk, {}),
                on_team_applications=by_team.get(person.pk, {}),
                on_applications=by_application.get(person.pk, {}),
            )
            for person in people
        }

    def rights(self, environment: Environment) -> Rights:
        """By the default role, for the environment as a whole."""
        return self.ladder.of(self.default, environment) if self.is_active else NOTHING

    def role_for(self, application_id: int) -> Role:
        """The role that counts for an application."""
        return self.on_applications.get(application_id) or self.on_team_applications.get(application_id) or self.default

    def level(self, application_id: int, environment: Environment) -> Level:
        """The effective level for an application; without access to the environment nothing lifts it."""
        base = self.rights(environment).level
        if base == Level.NO_ACCESS:
            return base
        role = self.on_applications.get(application_id) or self.on_team_applications.get(application_id)
        return self.ladder.of(role, environment).on_applications if role else base

    def best_level(self, environment: Environment) -> Level:
        """The highest level for any application, or for the environment itself."""
        base = self.rights(environment).level
        if base == Level.NO_ACCESS:
            return base
        granted = {*self.on_applications.values(), *self.on_team_applications.values(), *self.in_teams.values()}
        return max([base, *(self.ladder.of(role, environment).on_applications for role in granted)])

    def reaching(self, level: Level, environments: Iterable[Environment]) -> Q:
        """The applications for which the person has at least this level in one of the environments."""
        found = Q(pk__in=[])
        special = {*self.on_applications, *self.on_team_applications}
        for environment in environments:
            enough = [one for one in special if self.level(one, environment) >= level]
            if self.rights(environment).level >= level:
                found |= Q(pk__in=enough) | ~Q(pk__in=special)
            else:
                found |= Q(pk__in=enough)
        return found

    def may_create_applications(self, environment: Environment, team_id: int | None = None) -> bool:
        """For any team by the default role, for one team by the role in it; without a team: for any team at all."""
        rights = self.rights(environment)
        if rights.level == Level.NO_ACCESS:
            return False
        if rights.create_applications:
            return True
        roles = self.in_teams.values() if team_id is None else filter(None, [self.in_teams.get(team_id)])
        return any(self.ladder.of(role, environment).create_applications for role in roles)

    @property
    def manages_infrastructure(self) -> bool:
        return self.is_active and self.default.manage_infrastructure_and_users

    def manages_team(self, team_id: int) -> bool:
        """Whether Manage Teams and Application Roles holds for this team, by default or by the role in it."""
        role = self.in_teams.get(team_id)
        here = role is not None and role.manage_teams_and_application_roles
        return self.is_active and (self.default.manage_teams_and_application_roles or here)

    def manages_application(self, application_id: int) -> bool:
        """Whether Manage Teams and Application Roles holds for the roles on this application."""
        return self.is_active and (
            self.default.manage_teams_and_application_roles
            or self.role_for(application_id).manage_teams_and_application_roles
        )

    @property
    def manages_some_people(self) -> bool:
        """Whether Manage Teams and Application Roles holds anywhere at all."""
        roles = [self.default, *self.in_teams.values(), *self.on_applications.values()]
        return self.is_active and any(role.manage_teams_and_application_roles for role in roles)

    @property
    def managed_applications(self) -> set[int]:
        """The applications that the person manages by a role on them or in their team."""
        return {one for one in {*self.on_applications, *self.on_team_applications} if self.manages_application(one)}

    @property
    def managed_teams(self) -> set[int]:
        """The teams that the person manages by a role in them."""
        return {team for team in self.in_teams if self.manages_team(team)}


def effective_level(person: Person, application: Application, environment: Environment) -> Level:
    """One look-up; for lists read `Permissions` once."""
    return Permissions.of(person, [environment]).level(application.pk, environment)
