"""The pages of the tab User Management: they work, are audited, and refuse whoever may not."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit.models import AuditEvent
from environments import maintenance
from lifetime import service_accounts
from lifetime.changes import Author
from lifetime.models import (
    ApplicationRole,
    Role,
    RoleLevel,
    ServiceAccount,
    ServiceToken,
    Team,
    TeamApplication,
    TeamMembership,
    User,
)
from lifetime.permissions import Ladder
from tests.factories import PASSWORD, actor, create_environment, create_user
from tests.lifetime.factories import create_application, create_role, everything, messages

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(client):
    """An administrator who is logged in, and one of everything."""

    class World:
        environment = create_environment(name="Development")
        ada = create_user(name="Ada Lovelace", username="ada")
        role = create_role("Tester", level=4)
        grace = create_user(name="Grace Hopper", username="grace", role=role)
        team = Team.objects.create(name="Claims")
        application = create_application("Invoices")
        account = ServiceAccount.objects.create(username="pipeline", role=Role.objects.developer())
        token = service_accounts.issue_token(account, by=Author()).token

    TeamMembership.objects.create(team=World.team, user=World.grace, role=World.role)
    TeamApplication.objects.create(team=World.team, application=World.application)
    ApplicationRole.objects.create(user=World.grace, application=World.application, role=World.role)
    client.force_login(World.ada)
    return World


def address(world, name):
    arguments = {
        "user": [world.grace.key],
        "unblock-user": [world.grace.key],
        "role": [world.role.key],
        "delete-role": [world.role.key],
        "delete-role-dialog": [world.role.key],
        "team": [world.team.key],
        "delete-team": [world.team.key],
        "delete-team-dialog": [world.team.key],
        "set-team-member": [world.team.key],
        "remove-team-member": [world.team.key, world.grace.key],
        "add-team-applications": [world.team.key],
        "remove-team-application": [world.team.key, world.application.key],
        "service-account": [world.account.key],
        "issue-token": [world.account.key],
        "revoke-token": [world.account.key, world.token.pk],
        "application-roles": [world.application.key],
        "set-application-role": [world.application.key],
        "remove-application-role": [world.application.key, world.grace.key],
    }
    return reverse(f"lifetime:{name}", args=arguments.get(name, []))


# A row: the route, its methods, and who besides managers of the infrastructure may use it.
TEAMS, NOBODY = {"teams only", "team manager"}, set()
PAGES = [
    ("users", "GET", NOBODY),
    ("create-user", "GET POST", NOBODY),
    ("user", "GET POST", NOBODY),
    ("unblock-user", "POST", NOBODY),
    ("roles", "GET", NOBODY),
    ("create-role", "GET POST", NOBODY),
    ("role", "GET POST", NOBODY),
    ("delete-role-dialog", "GET", NOBODY),
    ("delete-role", "POST", NOBODY),
    ("service-accounts", "GET", NOBODY),
    ("create-service-account", "GET POST", NOBODY),
    ("service-account", "GET POST", NOBODY),
    ("issue-token", "POST", NOBODY),
    ("revoke-token", "POST", NOBODY),
    ("teams", "GET", TEAMS),
    ("people", "GET", TEAMS),
    ("create-team", "GET POST", {"teams only"}),
    ("team", "GET POST", TEAMS),
    ("delete-team-dialog", "GET", {"teams only"}),
    ("delete-team", "POST", {"teams only"}),
    ("set-team-member", "POST", TEAMS),
    ("remove-team-member", "POST", TEAMS),
    ("add-team-applications", "POST", TEAMS),
    ("remove-team-application", "POST", TEAMS),
    ("application-roles", "GET", TEAMS),
    ("set-application-role", "POST", TEAMS),
    ("remove-application-role", "POST", TEAMS),
]
WRITES = [name for name, methods, _ in PAGES if "POST" in methods]


def person(world, kind):
    match kind:
        case "administrator":
            return world.ada
        case "teams only":
            return create_user(role=create_role("Lead", level=4, manage_teams_and_application_roles=True))
        case "team manager":
            user = create_user(manages_infrastructure=False)
            lead = create_role("Lead here", level=4, manage_teams_and_application_roles=True)
            TeamMembership.objects.create(team=world.team, user=user, role=lead)
            return user
        case "developer":
            return create_user(manages_infrastructure=False)
        case "nobody here":
            return create_user(role=create_role("Nobody", level=0))


@pytest.mark.parametrize("kind", ["administrator", "teams only", "team manager", "developer", "nobody here"])
@pytest.mark.parametrize("is_in_maintenance", [False, True])
def test_pages_are_for_whom_the_table_says_in_maintenance_mode_too(client, world, kind, is_in_maintenance):
    if is_in_maintenance:
        maintenance.enable(world.environment, by=actor(), reason="Upgrade")
    client.force_login(person(world, kind))

    for name, methods, others in PAGES:
        for method in methods.split():
            before = everything()
            headers = {"HTTP_HX_REQUEST": "true"} if "dialog" in name else {}
            if kind == "administrator" or kind in others:
                if method == "GET":
                    assert client.get(address(world, name), **headers).status_code == 200, name
            else:
                response = client.generic(method, address(world, name), **headers)
                assert response.status_code in (403, 404), (name, method)
                assert everything() == before, (name, method)


def test_strangers_are_sent_to_log_in(client, world):
    client.logout()

    for name, methods, _ in PAGES:
        for method in methods.split():
            response = client.generic(method, address(world, name))
            assert response.status_code == 302
            assert response.headers["Location"].startswith("/login/"), name


@pytest.mark.parametrize("name", [name for name, methods, _ in PAGES if methods == "POST"])
def test_what_writes_is_not_done_by_looking(client, world, name):
    assert client.get(address(world, name)).status_code == 405


@pytest.mark.parametrize(
    "name",
    ["user", "unblock-user", "role", "delete-role", "team", "set-team-member", "service-account", "issue-token"],
)
def test_what_does_not_exist_is_not_found(client, world, name):
    assert client.generic("POST", reverse(f"lifetime:{name}", args=[uuid4()])).status_code == 404


@pytest.mark.parametrize("name", ["create-user", "user", "create-role", "create-team", "create-service-account"])
def test_an_empty_form_is_refused_and_changes_nothing(client, world, name):
    before = everything()

    assert client.post(address(world, name)).status_code == 422
    assert everything() == before


# Users


def user_fields(**typed):
    role = typed.pop("role", Role.objects.developer())
    fields = {"name": "Alan Turing", "username": "alan", "email": "alan@example.org", "is_active": "on"}
    return {**fields, "password": PASSWORD, "repeat_password": PASSWORD, "role": role.pk, **typed}


def test_a_user_is_created_from_the_page(client, world):
    response = client.post(address(world, "create-user"), user_fields())

    user = User.objects.get(username="alan")
    assert response.headers["Location"] == user.get_absolute_url()
    assert user.check_password(PASSWORD)
    assert messages()[-1] == "Created user 'Alan Turing' (alan)"
    assert AuditEvent.objects.order_by("-number")[0].actor_username == "ada"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"username": "GRACE"}, "The username GRACE is taken by a person."),
        ({"repeat_password": "Something else 1"}, "This differs from the password."),
        ({"password": "short", "repeat_password": "short"}, "too short"),
        ({"email": "nonsense"}, "valid email"),
    ],
)
def test_a_wrong_user_is_refused_in_the_form(client, world, typed, said):
    before = everything()
    response = client.post(address(world, "create-user"), user_fields(**typed))

    assert response.status_code == 422
    assert said in response.content.decode()
    assert everything() == before


def hidden(**initial):
    return {f"initial-{name}": value for name, value in initial.items()}


def test_two_who_edit_at_once_do_not_undo_each_other(client, world):
    was = hidden(name="Grace Hopper", username="grace", email=world.grace.email, role=world.role.pk, is_active="True")
    User.objects.filter(pk=world.grace.pk).update(email="new@example.org")  # the other one, meanwhile
    typed = user_fields(
        name="Grace", username="grace", email=world.grace.email, role=world.role, password="", repeat_password=""
    )

    response = client.post(address(world, "user"), {**typed, **was})

    assert response.status_code == 302
    user = User.objects.get(pk=world.grace.pk)
    assert (user.name, user.email) == ("Grace", "new@example.org")


def test_the_own_role_is_not_changed(client, world):
    typed = user_fields(name=world.ada.name, username="ada", email=world.ada.email, password="", repeat_password="")
    was = hidden(name=world.ada.name, username="ada", email=world.ada.email, role=world.ada.role.pk, is_active="True")

    response = client.post(world.ada.get_absolute_url(), {**typed, **was})

    assert response.status_code == 422
    assert "You cannot change your own role." in response.content.decode()


def test_the_page_of_a_user_shows_effective_permissions(client, world):
    html = client.get(address(world, "user")).content.decode()

    assert "Open and Debug Applications" in html
    assert "Claims" in html
    assert "Invoices" in html


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("name=hopp", ["Grace Hopper"]),
        ("name=GRACE@", ["Grace Hopper"]),
        ("state=inactive", ["Gone"]),
        ("name=zzz", []),
        ("", ["Ada Lovelace", "Gone", "Grace Hopper"]),
    ],
)
def test_users_are_found(client, world, query, shown):
    User.objects.filter(pk=world.grace.pk).update(email="grace@example.org")
    create_user(name="Gone", is_active=False)
    page = client.get(f"{address(world, 'users')}?{query}").context["page"]

    assert [user.name for user in page.object_list] == shown


def test_the_list_of_users_is_paged(client, world):
    for _ in range(60):
        create_user(password=None)

    assert len(client.get(address(world, "users") + "?page=2").context["page"].object_list) == 12


# Roles


def role_fields(world, *, level=4, was=4, name="Tester", **typed):
    prefix = f"environment-{world.environment.pk}"
    fields = {"name": name, "description": "", f"{prefix}-level": level, f"initial-{prefix}-level": was}
    initial = hidden(name="Tester", description="", manage_infrastructure_and_users="False")
    return {**fields, **initial, "initial-manage_teams_and_application_roles": "False", **typed}


def test_a_role_is_created_with_its_ladder(client, world):
    fields = role_fields(world, level=5, name="Releaser")
    fields[f"environment-{world.environment.pk}-create_applications"] = "on"
    client.post(address(world, "create-role"), fields)

    rights = Ladder([role := Role.objects.get(name="Releaser")]).of(role, world.environment)
    assert str(rights) == "Change and Deploy Applications + Create Applications"


def test_who_is_concerned_is_shown_before_a_role_is_saved(client, world):
    before = everything()
    response = client.post(address(world, "role"), role_fields(world, level=5))

    html = response.content.decode()
    assert response.status_code == 200
    assert "it concerns 1 user, 1 role in a team, 1 role on an application" in html
    assert "Grace Hopper" in html
    assert "Open and Debug Applications" in html
    assert everything() == before

    stamp = response.context["stamp"]
    changed_since = client.post(address(world, "role"), role_fields(world, level=3, confirmed=stamp))
    assert changed_since.status_code == 200
    assert everything() == before
    response = client.post(address(world, "role"), role_fields(world, level=5, confirmed=stamp))
    assert response.status_code == 302
    assert RoleLevel.objects.get(role=world.role).level == 5
    assert messages()[-1] == (
        "Role 'Tester' permissions have changed from 'Open and Debug Applications' to "
        "'Change and Deploy Applications' in environment 'Development'"
    )


def test_a_level_that_somebody_else_changed_meanwhile_stays(client, world):
    RoleLevel.objects.filter(role=world.role).update(level=2)
    fields = role_fields(world, level=4, was=4, name="Testers")
    stamp = client.post(address(world, "role"), fields).context["stamp"]
    client.post(address(world, "role"), {**fields, "confirmed": stamp})

    assert Role.objects.get(pk=world.role.pk).name == "Testers"
    assert RoleLevel.objects.get(role=world.role).level == 2


@pytest.mark.parametrize("level", ["7", "-1", "x", ""])
def test_a_level_that_does_not_exist_is_refused(client, world, level):
    before = everything()

    assert client.post(address(world, "role"), role_fields(world, level=level)).status_code == 422
    assert everything() == before


def test_administrator_is_shown_and_not_changed(client, world):
    role = Role.objects.administrator()
    assert "nobody changes it" in client.get(role.get_absolute_url()).content.decode()
    before = everything()
    client.post(role.get_absolute_url(), role_fields(world, level=1, name="Root"))
    assert everything() == before


def test_a_used_role_needs_a_replacement(client, world):
    url = address(world, "delete-role")
    before = everything()
    assert "Choose the role they get instead" in client.post(url).content.decode()
    assert everything() == before
    response = client.post(url, {"replacement": Role.objects.developer().key}, HTTP_HX_REQUEST="true")

    assert response.headers["HX-Redirect"] == address(world, "roles")
    assert User.objects.get(username="grace").role == Role.objects.developer()


# Teams and applications


def test_members_come_and_go(client, world):
    url = address(world, "set-team-member")
    response = client.post(url, {"user": "nobody", "role": world.role.key})
    assert response.status_code == 422
    assert "Nobody has the username nobody." in response.content.decode()
    assert client.post(url, {"user": "ADA", "role": world.role.key}).status_code == 302
    assert world.team.memberships.count() == 2
    assert client.post(address(world, "remove-team-member")).status_code == 302
    assert client.post(address(world, "remove-team-member")).status_code == 409
    assert [one.user.username for one in world.team.memberships.all()] == ["ada"]


def test_applications_come_and_go(client, world):
    free = create_application("Free")
    other = Team.objects.create(name="Other")
    url = reverse("lifetime:add-team-applications", args=[other.key])
    response = client.post(url, {"applications": [world.application.key]})
    assert "Invoices belongs to the team Claims already" in response.content.decode()
    assert client.post(url).status_code == 422
    assert client.post(url, {"applications": [free.key]}).status_code == 302
    assert client.post(address(world, "remove-team-application")).status_code == 302
    assert list(TeamApplication.objects.values_list("team__name", "application__name")) == [("Other", "Free")]


def test_a_team_manager_takes_no_applications_that_others_manage(client, world):
    free, own = create_application("Free"), create_application("Own")
    manager = person(world, "team manager")
    lead = Role.objects.get(name="Lead here")
    ApplicationRole.objects.create(user=manager, application=own, role=lead)
    client.force_login(manager)
    url = address(world, "add-team-applications")

    html = client.get(address(world, "team")).content.decode()
    assert "Own" in html
    assert "Free" not in html
    assert client.post(url, {"applications": [free.key]}).status_code == 422
    assert not TeamApplication.objects.filter(application=free).exists()
    assert client.post(url, {"applications": [own.key]}).status_code == 302
    assert TeamApplication.objects.get(application=own).team == world.team


def test_a_team_manager_sees_the_own_teams_only(client, world):
    Team.objects.create(name="Other")
    client.force_login(person(world, "team manager"))

    response = client.get(address(world, "teams"))
    assert [team.name for team in response.context["teams"]] == ["Claims"]
    assert "aria-disabled" in response.content.decode()


def test_roles_on_an_application_are_set_and_removed(client, world):
    url = address(world, "set-application-role")
    assert client.post(url, {"user": "ada", "role": world.role.key}).status_code == 302
    assert ApplicationRole.objects.count() == 2
    assert "Open and Debug" in client.get(address(world, "application-roles")).content.decode()
    assert client.post(address(world, "remove-application-role")).status_code == 302
    assert ApplicationRole.objects.get().user == world.ada


def test_people_are_suggested_while_somebody_types(client, world):
    create_user(name="Grace Gone", is_active=False)
    html = client.get(address(world, "people") + "?user=grac").content.decode()

    assert html.strip() == '<option value="grace">Grace Hopper</option>'


# Service accounts


def test_a_token_is_shown_once(client, world):
    typed = {"expires_at": "2027-06-01", "newest": world.token.pk}
    response = client.post(address(world, "issue-token"), typed)
    secret = response.context["issued"].secret

    assert secret in response.content.decode()
    assert "no-store" in response.headers["Cache-Control"]
    assert secret not in client.get(address(world, "service-account")).content.decode()
    assert service_accounts.authenticate(secret) == world.account
    again = client.post(address(world, "issue-token"), typed)
    assert "A token was issued since you opened this page" in again.content.decode()
    assert ServiceToken.objects.count() == 2


@pytest.mark.parametrize("typed", ["yesterday", "2020-01-01", "9999-12-31"])
def test_a_token_with_a_wrong_end_is_not_issued(client, world, typed):
    assert client.post(address(world, "issue-token"), {"expires_at": typed}).status_code == 422
    assert ServiceToken.objects.count() == 1


def test_a_token_is_revoked_once(client, world):
    assert client.post(address(world, "revoke-token")).status_code == 302
    assert client.post(address(world, "revoke-token")).status_code == 409
    assert ServiceToken.objects.get().revoked_by == "Ada Lovelace"


LISTS = ("users", "roles", "teams", "service-accounts", "role", "team", "service-account", "user", "application-roles")


def costs(client, world):
    counted = {}
    for name in LISTS:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address(world, name)).status_code == 200, name
        counted[name] = len(queries)
    return counted


def test_pages_cost_the_same_for_many(client, world):
    before = costs(client, world)
    for number in range(12):
        role = create_role(level=3)
        ServiceAccount.objects.create(username=f"account{number}", role=role)
        team = Team.objects.create(name=f"Team {number}")
        TeamMembership.objects.create(team=team, user=create_user(role=role), role=role)
        ApplicationRole.objects.create(user=world.grace, application=create_application(), role=role)
        create_environment(name=f"Environment {number}")

    assert costs(client, world) == before
    assert max(before.values()) <= 20
