"""The user permissions report: who may do what in each environment, as XLSX, row by row."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import xlsxwriter
from django.utils import timezone

from environments.models import Application, Environment
from lifetime.models import ApplicationRole, Role, ServiceAccount, Team, TeamApplication, TeamMembership, User
from lifetime.permissions import Ladder, Permissions, Rights

AT_ONCE = 500
WIDTH = 24


def write(path: Path, *, progress: Callable[[int], object] = lambda count: None) -> int:
    """Write the report to a file; returns how many people it covers. Memory does not grow with their number."""
    environments = list(Environment.objects.registered().in_order())
    names = [environment.name for environment in environments]
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "remove_timezone": True}
    with xlsxwriter.Workbook(str(path), options) as book:
        head = book.add_format({"bold": True, "bottom": 1})
        book.set_properties({"title": "User permissions", "created": timezone.now().replace(tzinfo=None)})
        count = _sheet(book, head, "Users", [*USER_COLUMNS, *names], _users(environments), progress)
        _sheet(book, head, "Teams", [*TEAM_COLUMNS, *names], _memberships(environments))
        _sheet(book, head, "Application roles", [*APPLICATION_COLUMNS, *names], _application_roles(environments))
        _sheet(book, head, "Applications", ["Application", "Team"], _applications())
        _sheet(book, head, "Service accounts", [*ACCOUNT_COLUMNS, *names], _accounts(environments))
        _sheet(book, head, "Roles", [*ROLE_COLUMNS, *names], _roles(environments))
    return count


RIGHTS = ["Manage infrastructure", "Manage teams"]
USER_COLUMNS = ["Name", "Username", "E-mail", "Active", "Default role", *RIGHTS, "Teams"]
TEAM_COLUMNS = ["Team", "Name", "Username", "Role in the team"]
APPLICATION_COLUMNS = ["Application", "Name", "Username", "Role on the application"]
ACCOUNT_COLUMNS = ["Service account", "Description", "Active", "Role"]
ROLE_COLUMNS = ["Role", "Description", *RIGHTS]


def _sheet(
    book: Any,
    head: Any,
    name: str,
    columns: list[str],
    rows: Iterable[list[str]],
    progress: Callable[[int], object] = lambda count: None,
) -> int:
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 2)
    sheet.set_column(0, len(columns) - 1, WIDTH)
    for column, text in enumerate(columns):
        sheet.write_string(0, column, text, head)
    number = 0
    for number, row in enumerate(rows, start=1):
        for column, text in enumerate(row):
            sheet.write_string(number, column, text)
        progress(1)
    sheet.autofilter(0, 0, number, len(columns) - 1)
    return number


def _users(environments: list[Environment]) -> Iterator[list[str]]:
    last = 0
    teams = dict(Team.objects.values_list("pk", "name"))
    while chunk := _next_users(last):
        held = Permissions.of_all(chunk, environments)
        for user in chunk:
            its = held[user.pk]
            yield [
                user.name,
                user.username,
                user.email,
                _yes(user.is_active),
                user.role.name,
                _yes(its.manages_infrastructure),
                _yes(user.manages_teams),
                ", ".join(sorted(teams[team] for team in its.in_teams)),
                *(str(its.rights(environment)) for environment in environments),
            ]
        last = chunk[-1].pk


def _next_users(after: int) -> list[User]:
    """The next people, in the order in which they came: each chunk is a query of its own, and no more is held."""
    return list(User.objects.select_related("role").filter(pk__gt=after).order_by("pk")[:AT_ONCE])


def _memberships(environments: list[Environment]) -> Iterator[list[str]]:
    rows = TeamMembership.objects.select_related("team", "user__role", "role").order_by(
        "team__name", "user__name", "pk"
    )
    roles = {one.role for one in rows} | {one.user.role for one in rows}
    ladder = Ladder(roles, environments)
    for one in rows:
        yield [
            one.team.name,
            one.user.name,
            one.user.username,
            one.role.name,
            *(_granted(ladder.of(one.user.role, where), ladder.of(one.role, where)) for where in environments),
        ]


def _application_roles(environments: list[Environment]) -> Iterator[list[str]]:
    rows = ApplicationRole.objects.select_related("application", "user__role", "role")
    rows = rows.order_by("application__name", "user__name", "pk")
    ladder = Ladder({one.role for one in rows} | {one.user.role for one in rows}, environments)
    for one in rows:
        yield [
            one.application.name,
            one.user.name,
            one.user.username,
            one.role.name,
            *(_granted(ladder.of(one.user.role, where), ladder.of(one.role, where)) for where in environments),
        ]


def _granted(default: Rights, given: Rights) -> str:
    """What a role in a team or on an application comes to; without access to the environment, to nothing."""
    return default.level.label if not default.level else given.on_applications.label


def _applications() -> Iterator[list[str]]:
    teams = dict(TeamApplication.objects.values_list("application", "team__name"))
    for pk, name in Application.objects.order_by("name", "pk").values_list("pk", "name"):
        yield [name, teams.get(pk, "")]


def _accounts(environments: list[Environment]) -> Iterator[list[str]]:
    accounts = list(ServiceAccount.objects.select_related("role").order_by("username", "pk"))
    ladder = Ladder({account.role for account in accounts}, environments)
    for account in accounts:
        rights = (str(ladder.of(account.role, where)) for where in environments)
        yield [account.username, account.description, _yes(account.is_active), account.role.name, *rights]


def _roles(environments: list[Environment]) -> Iterator[list[str]]:
    roles = list(Role.objects.order_by("name", "pk"))
    ladder = Ladder(roles, environments)
    for role in roles:
        flags = [_yes(role.manage_infrastructure_and_users), _yes(role.manage_teams_and_application_roles)]
        yield [role.name, role.description, *flags, *(str(ladder.of(role, where)) for where in environments)]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
