"""What all changes to people have in common: who makes them, one at a time, and that environments get to know."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from audit.log import SYSTEM, Actor
from environments.models import Environment
from lifetime.models import Role, ServiceAccount, User
from lifetime.permissions import Ladder, Permissions, Rights


class Refused(Exception):
    """Nothing was changed; the text says why and what to do. `field` is what of the form it is about."""

    def __init__(self, text: str, *, field: str | None = None) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who changes something about people, and from where. Nobody is the console itself, which may give every right."""

    who: User | ServiceAccount | None = None
    address: str = ""

    @property
    def actor(self) -> Actor:
        return self.who.actor(self.address) if self.who else SYSTEM

    def is_(self, user: User) -> bool:
        return isinstance(self.who, User) and self.who.pk == user.pk


def one_at_a_time() -> None:
    """Make changes to people wait for each other until the transaction ends, so that each decides on what is.

    Two of them at once could each remove the other's administrator. They are rare and short; nothing else waits.
    """
    administrator = Role.objects.administrator()
    Role.objects.select_for_update(no_key=True).get(pk=administrator.pk)


def deliver() -> None:
    """Make every registered environment's synchronization due, which delivers the difference.

    One in maintenance mode gets it on its return. A row that a worker writes right now is passed over rather than
    waited for: its environment has the change one interval later.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH now_due AS (SELECT s.environment_id FROM environments_syncstate s"
            " JOIN environments_environment e ON e.id = s.environment_id"
            " WHERE e.registration = 'registered' AND s.due_at > clock_timestamp()"
            " ORDER BY s.environment_id FOR NO KEY UPDATE OF s SKIP LOCKED)"
            " UPDATE environments_syncstate s SET due_at = clock_timestamp()"
            " FROM now_due WHERE now_due.environment_id = s.environment_id"
        )


def refuse_above_own(
    by: Author,
    given: Iterable[Role],
    *,
    field: str | None = None,
    team_id: int | None = None,
    application_id: int | None = None,
) -> None:
    """Refuse to give a role that allows more than one's own does, anywhere.

    For a team or an application, one's own role is the one there, where that is what makes one a manager of it.
    """
    if by.who is None:
        return
    own = _own_role(by.who, team_id, application_id)
    environments = list(Environment.objects.registered().in_order())
    roles = list(given)
    ladder = Ladder([own, *roles], environments)
    for role in roles:
        if excess := _excess(own, role, environments, ladder):
            raise Refused(f"The role {role} allows more than yours ({own}): {excess}.", field=field)


def _own_role(who: User | ServiceAccount, team_id: int | None, application_id: int | None) -> Role:
    """The role by which somebody gives rights: the default role, else the one there."""
    if isinstance(who, ServiceAccount) or who.manages_teams or (team_id is None and application_id is None):
        return who.role
    held = Permissions.of(who, [])
    if application_id is not None:
        return held.role_for(application_id)
    return held.in_teams.get(team_id or 0, who.role)


def _excess(own: Role, given: Role, environments: Iterable[Environment], ladder: Ladder) -> str:
    if own.is_administrator or own.pk == given.pk:
        return ""
    for flag in ("manage_infrastructure_and_users", "manage_teams_and_application_roles"):
        if getattr(given, flag) and not getattr(own, flag):
            return str(Role._meta.get_field(flag).verbose_name)  # type: ignore[union-attr]
    for environment in environments:
        has, gives = ladder.of(own, environment), ladder.of(given, environment)
        if not has.covers(gives):
            return f"{gives} in {environment}, where yours has {has}"
    return ""


def refuse_levels_above_own(by: Author, levels: Iterable[tuple[Environment, Rights]]) -> None:
    """Refuse to put a role above one's own in any of these environments."""
    if by.who is None or by.who.role.is_administrator:
        return
    levels = list(levels)
    ladder = Ladder([by.who.role], [environment for environment, _ in levels])
    for environment, rights in levels:
        has = ladder.of(by.who.role, environment)
        if not has.covers(rights):
            raise Refused(f"{rights} in {environment} is more than your own role ({by.who.role}) has there: {has}.")
