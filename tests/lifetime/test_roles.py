"""Roles, the ladder of levels, and which of somebody's roles counts."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit.models import AuditEvent
from environments import deliveries
from environments.environment_api import canonical
from environments.models import Application, SyncState
from lifetime import people, permissions, roles, service_accounts, teams
from lifetime.changes import Author, Refused
from lifetime.models import ApplicationRole, Level, Role, RoleLevel, Team, TeamApplication, TeamMembership, User
from lifetime.permissions import Ladder, Permissions, Rights
from tests.factories import create_environment, create_user
from tests.lifetime.factories import (
    administrator,
    create_application,
    create_manager,
    create_role,
    messages,
    untouched,
)

pytestmark = pytest.mark.django_db


# The ladder


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        ("Development", "Change and Deploy Applications + Create Applications"),
        ("Test", "Open and Debug Applications"),
        ("Production", "List Applications"),
    ],
)
def test_an_environment_that_nobody_set_has_the_initial_levels(purpose, expected):
    environment = create_environment(purpose=purpose)
    administrator, developer = Role.objects.administrator(), Role.objects.developer()
    other = Role.objects.create(name="Other")
    ladder = Ladder([administrator, developer, other])

    assert str(ladder.of(administrator, environment)) == "Full Control + Create Applications + Add System Dependencies"
    assert str(ladder.of(developer, environment)) == expected
    assert str(ladder.of(other, environment)) == "List Applications"


@pytest.mark.parametrize(
    ("level", "create", "dependencies", "constraint"),
    [
        (4, True, False, "role_level_create_needs_change"),
        (0, False, True, "role_level_dependencies_need_access"),
        (7, False, False, "role_level_known"),
    ],
)
def test_the_database_knows_the_ladder(level, create, dependencies, constraint):
    environment = create_environment()

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        create_role(level=level, environment=environment, create=create, dependencies=dependencies)


# Resolution


@pytest.mark.parametrize(
    ("default", "team", "application", "effective"),
    [
        (2, None, None, 2),
        (6, None, None, 6),
        (2, 5, None, 5),  # upward
        (5, 2, None, 2),  # downward: it is no maximum
        (5, 2, 4, 4),  # the application's stands instead of the team's
        (2, 5, 1, 1),
        (2, 6, None, 5),  # Full Control in a team counts as Change and Deploy
        (2, None, 6, 5),
        (2, 0, None, 1),  # No Access on applications hides them, no more
        (4, None, 0, 1),
        (0, 5, 5, 0),  # without access to the environment nothing is lifted
        (1, 3, None, 3),
    ],
)
def test_the_most_specific_role_counts(default, team, application, effective):
    environment = create_environment()
    user = create_user(role=create_role(level=default))
    app, other = create_application(), create_application()
    if team is not None:
        its_team = Team.objects.create(name="Claims")
        TeamApplication.objects.create(team=its_team, application=app)
        TeamMembership.objects.create(team=its_team, user=user, role=create_role(level=team))
    if application is not None:
        ApplicationRole.objects.create(user=user, application=app, role=create_role(level=application))

    assert permissions.effective_level(user, app, environment) == effective
    assert permissions.effective_level(user, other, environment) == default
    held = Permissions.of(user)
    for level in (2, 3, 5):
        listed = Application.objects.filter(held.reaching(Level(level), [environment]))
        expected = {one.pk for one, has in ((app, effective), (other, default)) if has >= level}
        assert set(listed.values_list("pk", flat=True)) == expected
    assert held.best_level(environment) >= max(effective, default if default else 0)


def test_inactive_people_have_no_access():
    environment = create_environment()

    assert permissions.effective_level(create_user(is_active=False), create_application(), environment) == 0


def test_levels_differ_by_environment():
    development, production = create_environment(), create_environment(purpose="Production")
    role = create_role(level=5, environment=development)
    RoleLevel.objects.create(role=role, environment=production, level=1)
    held = Permissions.of(create_user(role=role))
    app = create_application()

    assert (held.level(app.pk, development), held.level(app.pk, production)) == (5, 1)


def test_creating_applications_holds_for_any_team_by_default_and_for_one_by_the_role_in_it():
    environment = create_environment()
    mine, other = Team.objects.create(name="Mine"), Team.objects.create(name="Other")
    user = create_user(role=create_role(level=2))
    TeamMembership.objects.create(team=mine, user=user, role=create_role(level=5, create=True))
    held = Permissions.of(user)

    assert held.may_create_applications(environment, mine.pk)
    assert held.may_create_applications(environment)
    assert not held.may_create_applications(environment, other.pk)
    everybody = Permissions.of(create_user(role=create_role(level=5, create=True)))
    assert everybody.may_create_applications(environment, other.pk)


def test_managing_teams_holds_by_default_in_a_team_or_on_an_application():
    mine, other = Team.objects.create(name="Mine"), Team.objects.create(name="Other")
    apps = [create_application() for _ in range(3)]
    TeamApplication.objects.create(team=mine, application=apps[0])
    lead = create_role(manage_teams_and_application_roles=True)
    user = create_user(role=create_role())
    TeamMembership.objects.create(team=mine, user=user, role=lead)
    ApplicationRole.objects.create(user=user, application=apps[1], role=lead)
    held = Permissions.of(user)

    assert [held.manages_team(team.pk) for team in (mine, other)] == [True, False]
    assert [held.manages_application(app.pk) for app in apps] == [True, True, False]
    assert held.managed_teams == {mine.pk}
    assert not held.manages_infrastructure


def test_permissions_of_any_number_of_people_cost_four_queries(django_assert_num_queries):
    environment = create_environment()
    app = create_application()
    team = Team.objects.create(name="Claims")
    TeamApplication.objects.create(team=team, application=app)
    users = [create_user(role=create_role(level=2)) for _ in range(5)]
    for user in users:
        TeamMembership.objects.create(team=team, user=user, role=create_role(level=5))
        ApplicationRole.objects.create(user=user, application=app, role=create_role(level=4))
    users = list(User.objects.select_related("role"))

    with django_assert_num_queries(4):
        held = Permissions.of_all(users, [environment])
        assert {one.level(app.pk, environment) for one in held.values()} == {4}


# Changing roles


def test_a_role_is_created_with_its_levels():
    development, production = create_environment(name="Development"), create_environment(name="Production")
    by = administrator()
    SyncState.objects.update(due_at=timezone.now() + timedelta(hours=1))

    role = roles.create(
        {"name": " Tester ", "description": "Tests", "manage_infrastructure_and_users": False},
        {development: Rights(Level.OPEN)},
        by=by,
    )

    assert (role.name, role.description) == ("Tester", "Tests")
    assert Ladder([role]).of(role, development).level == 4
    assert Ladder([role]).of(role, production).level == 2
    assert messages() == ["Created role 'Tester'"]
    assert not SyncState.objects.filter(due_at__gt=timezone.now()).exists()


def test_managing_the_infrastructure_sets_managing_teams_on():
    role = roles.create({"name": "Operator", "manage_infrastructure_and_users": True}, {}, by=administrator())

    assert role.manage_teams_and_application_roles


def test_each_changed_level_is_an_entry_with_old_and_new():
    development, production = create_environment(name="Development"), create_environment(name="Production")
    role = create_role("Developer of claims", level=2)
    by = administrator()

    roles.edit(
        role,
        {"description": "Works on claims"},
        {development: Rights(Level.CHANGE, create_applications=True), production: Rights(Level.LIST)},
        by=by,
    )

    assert messages() == [
        "Changed description of role 'Developer of claims' from '' to 'Works on claims'",
        "Role 'Developer of claims' permissions have changed from 'List Applications' to "
        "'Change and Deploy Applications + Create Applications' in environment 'Development'",
    ]


def test_an_edit_that_changes_nothing_records_nothing():
    environment = create_environment()
    role = create_role(level=2)

    roles.edit(role, {"name": role.name}, {environment: Rights(Level.LIST)}, by=administrator())

    assert messages() == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "  "}, "The name is missing"),
        ({"name": "developer"}, "There is a role called developer already"),
        ({"name": "x" * 101}, "101 characters; 100 at most"),
        ({"name": "a\nb"}, "in one line"),
    ],
)
def test_names_of_roles_are_checked(values, said):
    Role.objects.developer()
    by = administrator()

    untouched(roles.create, values, {}, by=by, match=said)


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        (Rights(Level.OPEN, create_applications=True), "Create Applications needs Change and Deploy"),
        (Rights(Level.NO_ACCESS, add_system_dependencies=True), "Add System Dependencies needs Access"),
    ],
)
def test_contradictions_are_refused(rights, said):
    environment = create_environment()
    by = administrator()

    untouched(roles.create, {"name": "Odd"}, {environment: rights}, by=by, match=said)


def test_administrator_is_never_edited_and_built_in_roles_are_never_deleted_or_renamed():
    by = administrator()
    developer = Role.objects.developer()

    untouched(roles.edit, Role.objects.administrator(), {"description": "x"}, {}, by=by, match="built in")
    untouched(roles.edit, developer, {"name": "Coder"}, {}, by=by, match="keeps its name")
    for role in (developer, Role.objects.administrator()):
        untouched(roles.delete, role, replacement=None, by=by, match="built in and cannot be deleted")


def test_nobody_lifts_the_own_role_or_gives_more_than_it_has():
    environment = create_environment(name="Development")
    own = create_role(
        "Operator", level=3, manage_infrastructure_and_users=True, manage_teams_and_application_roles=True
    )
    by = Author(who=create_user(role=own))
    other = create_role("Other", level=2)
    lead = create_role("Lead", level=2)
    limited = Author(who=create_user(role=lead))

    untouched(
        roles.edit, own, {}, {environment: Rights(Level.CHANGE)}, by=by, match="your own role: you cannot lift it"
    )
    untouched(
        roles.edit, other, {}, {environment: Rights(Level.OPEN)}, by=by, match="more than your own role .* Monitor and"
    )
    untouched(
        roles.create, {"name": "New"}, {environment: Rights(Level.FULL_CONTROL)}, by=by, match="more than your own"
    )
    untouched(
        roles.create,
        {"name": "New", "manage_infrastructure_and_users": True},
        {},
        by=limited,
        match="lacks Manage Infrastructure and Users",
    )
    roles.edit(own, {}, {environment: Rights(Level.LIST)}, by=by)
    assert Ladder([own]).of(own, environment).level == 2


def test_a_used_role_is_deleted_only_with_a_replacement():
    create_environment()
    by = administrator()
    role, replacement = create_role("Old"), create_role("New")
    user = create_user(role=role)
    team = Team.objects.create(name="Claims")
    TeamMembership.objects.create(team=team, user=user, role=role)

    untouched(roles.delete, role, replacement=None, by=by, match="Old is used by 1 user, 1 role in a team. Choose")
    untouched(roles.delete, role, replacement=role, by=by, match="Choose the role they get")
    roles.delete(role, replacement=replacement, by=by)

    user.refresh_from_db()
    assert user.role == replacement
    assert TeamMembership.objects.get().role == replacement
    assert not Role.objects.filter(name="Old").exists()
    assert messages() == [
        "Deleted role 'Old'",
        "Users with default role 'Old', now have default role 'New'",
    ]
    events = AuditEvent.objects.order_by("number")
    assert events[1].actor_name == "System"
    assert events[1].cause == events[0].key


def test_an_unused_role_is_deleted_without_one():
    role = create_role("Old", level=2)

    roles.delete(role, replacement=None, by=administrator())

    assert not Role.objects.filter(pk=role.pk).exists()


def test_the_last_administrator_stays():
    operators = create_manager("Operators")
    last = create_user(role=operators)
    replacement = create_role("Reader")
    console = Author()

    untouched(
        roles.edit, operators, {"manage_infrastructure_and_users": False}, {}, by=console, match="Nobody would be left"
    )
    untouched(roles.delete, operators, replacement=replacement, by=console, match="Nobody would be left")
    untouched(people.edit, last, {"is_active": False}, by=console, match="Nobody would be left")
    untouched(people.edit, last, {"role": replacement}, by=console, match="Nobody would be left")


@pytest.mark.django_db(transaction=True)
def test_two_administrators_who_deactivate_each_other_at_once_do_not_both_succeed():
    first, second = create_user(name="First"), create_user(name="Second")

    def deactivate(pair):
        try:
            people.edit(pair[1], {"is_active": False}, by=Author(who=pair[0]))
        except Refused as refusal:
            return str(refusal)
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(deactivate, [(first, second), (second, first)]))

    assert sorted(result == "done" for result in results) == [False, True]
    assert User.objects.filter(is_active=True).count() == 1


# Delivery


def permissions_of(environment):
    [body] = [one.body for one in deliveries.due([environment])[environment.pk] if one.part == "permissions"]
    return json.loads(body)


def test_each_environment_gets_its_own_levels():
    development, production = create_environment(), create_environment(purpose="Production")
    role = create_role("Tester", level=5, environment=development, create=True)
    roles_there = {
        environment: next(one for one in permissions_of(environment)["roles"] if one["name"] == "Tester")
        for environment in (development, production)
    }

    assert roles_there[development] == {
        "key": str(role.key),
        "name": "Tester",
        "level": 5,
        "create_applications": True,
        "add_system_dependencies": False,
    }
    assert roles_there[production]["level"] == 2


def test_teams_and_application_roles_are_delivered_and_service_accounts_are_not():
    environment = create_environment()
    by = administrator()
    role = create_role("Tester", level=4)
    user = create_user(username="grace", role=create_role("Reader", level=1))
    team = teams.create(name="Claims", by=by)
    app = create_application()
    before = permissions_of(environment)
    teams.set_member(team, user, role, by=by)
    teams.add_applications(team, [app], by=by)
    teams.set_application_role(user, app, role, by=by)
    service_accounts.create(username="pipeline", role=role, by=by)

    after = permissions_of(environment)

    assert before["teams"] == [{"key": str(team.key), "name": "Claims", "members": [], "applications": []}]
    assert after["teams"] == [
        {
            "key": str(team.key),
            "name": "Claims",
            "members": [{"user_key": str(user.key), "role_key": str(role.key)}],
            "applications": [str(app.key)],
        }
    ]
    assert after["application_roles"] == [
        {"user_key": str(user.key), "application_key": str(app.key), "role_key": str(role.key)}
    ]
    assert "pipeline" not in str(after)


def test_the_same_model_has_the_same_digest(django_assert_max_num_queries):
    environments = [create_environment(purpose=purpose) for purpose in ("Development", "Test", "Production", "Test")]
    create_user()
    first = deliveries.due(environments)

    with django_assert_max_num_queries(9):
        second = deliveries.due(environments)

    for each in first.values():
        [body] = [one.body for one in each if one.part == "permissions"]
        assert body == canonical(json.loads(body))
    digests = [
        [one.digest for one in each[environment.pk] if one.part == "permissions"]
        for each in (first, second)
        for environment in environments
    ]
    assert digests[:4] == digests[4:]
    assert digests[1] == digests[3]
