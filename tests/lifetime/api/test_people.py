"""Roles, teams, users and tokens."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from lifetime import service_accounts
from lifetime.models import Level, LoginCounter, Role, RoleLevel, Team, User
from tests.factories import create_environment, create_user
from tests.lifetime.api.conftest import create_caller, refused
from tests.lifetime.factories import create_application, create_manager, create_role

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _administrator(db):
    """Somebody who may undo what the tests do, or changes are refused."""
    create_user(name="Zoe", is_active=True)


@pytest.mark.parametrize(
    ("methods", "path"),
    [
        ("GET POST", "roles"),
        ("GET PUT DELETE", "roles/{role}"),
        ("GET POST", "teams"),
        ("GET PUT DELETE", "teams/{team}"),
        ("GET POST", "users"),
        ("GET PUT", "users/{user}"),
        ("POST", "users/{user}/setpassword"),
        ("GET DELETE", "users/{user}/blockedlogins"),
    ],
)
def test_people_are_managed_by_accounts_with_the_right_only(methods, path):
    keys = {"role": create_role().key, "team": Team.objects.create(name="Claims").key, "user": create_user().key}
    reader = create_caller(create_role(level=Level.FULL_CONTROL), "reader")
    before = AuditEvent.objects.count()

    for method in methods.split():
        refused(reader.call(method, path.format(**keys), {"Name": "X", "Password": "y"}), 403, "Manage")
    assert AuditEvent.objects.count() == before


def test_the_seven_levels_are_listed(caller):
    levels = caller.get("roles/permissionlevels/").json()

    assert [(one["level"], one["levelLabel"]) for one in levels] == [(one.value, one.label) for one in Level]
    assert all(one["description"] for one in levels)


def test_a_role_is_created_changed_and_deleted(caller):
    environment = create_environment(name="Quality")
    permission = {"environmentKey": str(environment.key), "level": 5, "createApplications": True}

    response = caller.post("roles", {"name": "Tester", "manageTeams": True, "environmentPermissions": [permission]})
    role = response.json()
    path = f"roles/{role['key']}"

    assert response.status_code == 201
    assert (role["name"], role["manageInfrastructure"], role["manageTeams"]) == ("Tester", False, True)
    assert role["environmentPermissions"] == [
        {
            **permission,
            "environmentName": "Quality",
            "levelLabel": Level.CHANGE.label,
            "addDependenciesToSystem": False,
        }
    ]
    assert caller.get(path).json() == role
    changed = caller.put(f"{path}/", {"description": "Tests.", "manageTeams": False}).json()
    assert (changed["name"], changed["description"], changed["manageTeams"]) == ("Tester", "Tests.", False)
    assert changed["environmentPermissions"] == role["environmentPermissions"]
    assert caller.delete(path).status_code == 204
    refused(caller.get(path), 404, "no such role")
    assert AuditEvent.objects.filter(message__contains="role 'Tester'", actor_username="pipeline").count() == 4


def test_roles_are_listed_with_their_permissions_when_asked_for(caller):
    create_environment()

    plain, full = caller.get("roles").json(), caller.get("roles?IncludeEnvPermissions=True").json()
    assert [one["environmentPermissions"] for one in plain] == [[]] * len(plain)
    assert all(len(one["environmentPermissions"]) == 1 for one in full)


def test_a_role_that_is_used_is_deleted_with_a_replacement_only(caller):
    role, other = create_role("Old"), create_role("New")
    user = create_user(role=role)

    refused(caller.delete(f"roles/{role.key}"), 400, "Choose the role")
    refused(caller.delete(f"roles/{role.key}?UsersNewRoleKey={uuid4()}"), 400, "no role")
    assert caller.delete(f"roles/{role.key}?usersnewrolekey={other.key}").status_code == 204
    user.refresh_from_db()
    assert user.role == other


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "name is missing"),
        ({"name": "Administrator"}, "already"),
        ({"name": "X", "environmentPermissions": [{"environmentKey": str(uuid4()), "level": 3}]}, "no environment"),
        ({"name": "X", "environmentPermissions": [{"environmentKey": "x", "level": 9}]}, "environmentPermissions.0"),
    ],
)
def test_a_role_that_cannot_be_is_refused(caller, body, words):
    assert words.lower() in " ".join(refused(caller.post("roles", body), 400)["Errors"]).lower()


def test_an_account_gives_no_more_than_its_own_role(caller):
    environment = create_environment()
    manager = create_caller(create_manager(), "manager")
    permission = {"environmentKey": str(environment.key), "level": 6}

    refused(
        manager.post("roles", {"name": "X", "environmentPermissions": [permission]}), 400, "more than your own role"
    )
    assert not RoleLevel.objects.filter(level=6).exists()


def test_a_team_has_people_with_roles_and_applications(caller):
    application, user, role = create_application("Back Office"), create_user(name="Ana"), create_role("Tester")
    assert caller.get("teams").status_code == 204
    response = caller.post("teams", {"NAME": "Claims", "description": "Handles claims."})
    team = response.json()
    path = f"teams/{team['key']}"

    assert (response.status_code, team["name"], team["users"], team["applications"]) == (201, "Claims", [], [])
    caller.post(f"{path}/users", {"userKey": str(user.key), "roleKey": str(role.key)})
    full = caller.post(f"{path}/applications/", {"applicationKeys": [str(application.key)]}).json()
    assert full["users"] == [
        {
            "userKey": str(user.key),
            "username": user.username,
            "name": "Ana",
            "roleKey": str(role.key),
            "roleName": "Tester",
        }
    ]
    assert full["applications"] == [{"key": str(application.key), "name": "Back Office"}]
    assert caller.get("teams").json() == [full] == [caller.get(path).json()]
    assert caller.delete(f"{path}/users/{user.key}").json()["users"] == []
    assert caller.delete(f"{path}/applications/{application.key}").json()["applications"] == []
    refused(caller.delete(f"{path}/applications/{application.key}"), 404)
    refused(caller.post(f"{path}/users", {"userKey": str(uuid4()), "roleKey": str(role.key)}), 400, "no user")
    assert caller.put(path, {"Name": "Claims 2"}).json()["name"] == "Claims 2"
    assert caller.delete(path).status_code == 204


def test_teams_and_users_take_a_constant_number_of_queries(caller, django_assert_max_num_queries):
    role = create_role()
    for number in range(4):
        team = Team.objects.create(name=f"Team {number}")
        team.memberships.create(user=create_user(), role=role)
    with django_assert_max_num_queries(10):
        assert len(caller.get("teams").json()) == 4
    with django_assert_max_num_queries(7):
        assert len(caller.get("users?IncludeTeams=True&IncludeApplicationRoles=True").json()) == 5


def test_a_person_is_created_changed_and_made_inactive(caller):
    role = create_role("Tester")
    body = {
        "Username": "ana",
        "Name": "Ana",
        "Email": "ana@example.org",
        "RoleKey": str(role.key),
        "Password": "Correct horse 99",
    }

    response = caller.post("users", body)
    user = response.json()

    assert response.status_code == 201
    assert "Password" not in user
    assert User.objects.get(username="ana").check_password("Correct horse 99")
    assert {"Key", "Username", "Name", "Email", "IsActive", "RoleKey", "RoleName", "ApplicationRoles", "Teams"} == set(
        user
    )
    assert (user["IsActive"], user["RoleName"]) == (True, "Tester")
    changed = caller.put(f"users/{user['Key']}", {"name": "Ana F.", "isActive": False}).json()
    assert (changed["Name"], changed["Email"], changed["IsActive"]) == ("Ana F.", "ana@example.org", False)
    assert [one["Name"] for one in caller.get("users").json()] == ["Zoe"]
    assert [one["Name"] for one in caller.get("users?IncludeInactive=True").json()] == ["Ana F.", "Zoe"]
    refused(caller.post("users", body), 400, "taken")
    refused(caller.get(f"users/{uuid4()}"), 404)


def test_a_password_is_set_unless_somebody_else_keeps_them(caller, settings):
    user = create_user()

    refused(caller.post(f"users/{user.key}/setpassword", {"Password": "short"}), 400, "password")
    assert caller.post(f"users/{user.key}/setpassword/", {"Password": "Correct horse 99"}).status_code == 204
    user.refresh_from_db()
    assert user.check_password("Correct horse 99")
    settings.OIDC_ISSUER = "https://provider.example.com"
    refused(caller.post(f"users/{user.key}/setpassword", {"Password": "Correct horse 98"}), 405, "does the log-in")


def test_a_role_on_an_application_is_given_and_taken(caller):
    user, application, role = create_user(), create_application(), create_role("Tester")
    from tests.lifetime.api.test_applications import publish

    publish(application, create_environment())
    path = f"users/{user.key}/applications"

    response = caller.post(path, {"ApplicationKey": str(application.key), "RoleKey": str(role.key)})
    assert response.status_code == 201
    assert [one["roleName"] for one in response.json()["ApplicationRoles"]] == ["Tester"]
    assert caller.delete(f"{path}/{application.key}").status_code == 204
    refused(caller.delete(f"{path}/{application.key}"), 404, "no role")


def test_failed_log_ins_are_shown_and_forgotten(caller):
    user, now = create_user(), timezone.now()
    LoginCounter.objects.create(
        address="203.0.113.5",
        username=user.username,
        failures=3,
        counting_since=now,
        last_failed_at=now,
        blocked_until=now + timedelta(minutes=5),
    )

    [login] = caller.get(f"users/{user.key}/blockedlogins").json()
    assert (login["IPAddress"], login["Failures"]) == ("203.0.113.5", 3)
    assert caller.delete(f"users/{user.key}/blockedlogins").status_code == 204
    assert caller.get(f"users/{user.key}/blockedlogins").status_code == 204


def test_an_account_renews_its_own_token(caller):
    response = caller.post("auth/tokens/", {"timePeriod": 3, "unit": "M"})

    told = response.json()
    assert response.status_code == 200
    assert service_accounts.authenticate(told["token"]) == caller.account
    assert caller.get("environments", token=f"Bearer {told['token']}").status_code == 204
    assert caller.get("environments").status_code == 204  # the old one goes on for a day
    refused(caller.post("auth/tokens", {"timePeriod": 6, "unit": "Y"}), 400, "five years")
    refused(caller.post("auth/tokens", {"timePeriod": 0}), 400)
    refused(caller.post("auth/tokens", {"unit": "minutes"}), 400)


def test_the_administrator_cannot_be_taken_away(caller):
    administrator = Role.objects.administrator()

    refused(caller.delete(f"roles/{administrator.key}"), 400, "built in")
