"""Who may do what, where and when: the table of people, actions, hosting and maintenance mode, and its pages."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.urls import reverse

from environments import maintenance
from environments.models import Environment
from environments.operations import Operation
from lifetime import policy
from lifetime.models import Level, Role, RoleLevel, ServiceAccount, Team, TeamApplication, TeamMembership, User
from lifetime.policy import Action
from tests.factories import actor, create_environment, create_support_staff, create_user
from tests.lifetime.factories import create_application, create_manager, create_role

pytestmark = pytest.mark.django_db

PEOPLE = [
    "administrator",
    "own role",
    "developer",
    "reader",
    "no access",
    "teams only",
    "inactive",
    "support",
    "stranger",
]
MANAGERS = {"administrator", "own role"}
HOSTINGS = ["self_managed", "cloud"]
BY_SUPPORT = {Action.TOGGLE_MAINTENANCE, Action.UNREGISTER_ENVIRONMENT, Operation.EDIT_ENVIRONMENT}
# Who has which level in the environment of the table, and who may create applications there.
LEVEL = {"administrator": 6, "developer": 5, "own role": 3, "reader": 2, "teams only": 2, "support": 5, "no access": 0}
CREATORS = {"administrator", "developer", "support"}
NEEDED = {
    Action.PREPARE_PLANS: 1,
    Action.EDIT_PLANS: 1,
    Action.VIEW_APPLICATIONS: 2,
    Operation.TEST_APPLICATIONS: 2,
    Operation.OPEN_SERVICE_CENTER: 3,
    Operation.OPEN_SERVICE_STUDIO: 4,
    Action.BLOCK_APPLICATIONS: 5,
    Operation.CHANGE_APPLICATION_SETTINGS: 5,
    Operation.TAG_APPLICATIONS: 5,
    Operation.DEPLOY: 5,
    Operation.OPERATE_PLANS: 5,
    Action.MANAGE_DATABASES: 6,
}


def person(kind):
    match kind:
        case "administrator":
            return create_user()
        case "own role":
            return create_user(role=create_manager("Operator", level=3))
        case "developer":
            return create_user(manages_infrastructure=False)
        case "reader":
            return create_user(role=create_role("Reader"))
        case "no access":
            return create_user(role=create_role("Nobody", level=0))
        case "teams only":
            return create_user(role=create_role("Lead", manage_teams_and_application_roles=True))
        case "inactive":
            return create_user(is_active=False)
        case "support":
            return create_support_staff()
        case "stranger":
            return AnonymousUser()


def place(hosting, *, is_in_maintenance):
    environment = create_environment(name="Test", hosting=hosting)
    if is_in_maintenance:
        maintenance.enable(environment, by=actor(), reason="Upgrade")
    return Environment.objects.get(pk=environment.pk)


def has_right(kind, hosting, action):
    """What the table says, maintenance mode apart."""
    if action in (Action.CREATE_TEAMS, Action.MANAGE_TEAMS, Action.MANAGE_APPLICATION_ROLES):
        return kind in {*MANAGERS, "teams only"}
    if action in NEEDED:
        return LEVEL.get(kind, -1) >= NEEDED[action]
    if action == Operation.CREATE_APPLICATIONS:
        return kind in CREATORS
    return kind in MANAGERS and not (hosting == "cloud" and action in BY_SUPPORT)


@pytest.mark.parametrize("kind", PEOPLE)
@pytest.mark.parametrize("hosting", HOSTINGS)
@pytest.mark.parametrize("is_in_maintenance", [False, True])
def test_the_table(kind, hosting, is_in_maintenance):
    environment = place(hosting, is_in_maintenance=is_in_maintenance)
    user = person(kind)

    for action in (*Action, *Operation):
        decision = policy.may(user, action, environment)
        has = has_right(kind, hosting, action)
        paused = is_in_maintenance and (isinstance(action, Operation) or action == Action.EDIT_PLANS)
        assert bool(decision) == (has and not paused), action
        assert decision.is_temporary == (paused and has), action
        assert bool(decision.reason) == (not decision), action


@pytest.mark.parametrize("kind", PEOPLE)
@pytest.mark.parametrize("in_team", [None, 0, 3, 5])
def test_the_table_for_an_application_of_a_team(kind, in_team):
    environment, application = place("self_managed", is_in_maintenance=False), create_application()
    user = person(kind)
    if in_team is not None and kind != "stranger":
        team = Team.objects.create(name="Claims")
        TeamApplication.objects.create(team=team, application=application)
        TeamMembership.objects.create(team=team, user=user, role=create_role(level=in_team))
    base = LEVEL.get(kind, -1)
    level = base if in_team is None or base < 1 else max(in_team, 1)

    for action, needed in NEEDED.items():
        decision = policy.may(user, action, environment, application=application)
        assert bool(decision) == (level >= needed), action


def test_source_and_target_need_different_levels():
    source, target = create_environment(name="Source"), create_environment(name="Target")
    role = create_role("Operations")
    for environment, level in ((source, 2), (target, 5)):
        RoleLevel.objects.create(role=role, environment=environment, level=level)
    user = create_user(role=role)

    assert policy.may(user, Operation.DEPLOY, source, target)
    decision = policy.may(user, Operation.DEPLOY, target, source)
    assert decision.reason == (
        "Deploying to or from the environment needs “Change and Deploy Applications” in Source; "
        "your role Operations has “List Applications”. Ask an administrator."
    )


def test_lists_ask_the_database_once(django_assert_num_queries):
    environments = [create_environment() for _ in range(10)]
    applications = [create_application() for _ in range(10)]
    user = User.objects.select_related("role").get(pk=create_user(manages_infrastructure=False).pk)

    with django_assert_num_queries(3):  # teams, roles on applications, levels
        for environment in environments:
            for application in applications:
                assert policy.may(user, Operation.TAG_APPLICATIONS, environment, application=application)


def test_a_service_account_may_what_its_role_may():
    environment = create_environment()
    account = ServiceAccount.objects.create(username="pipeline", role=Role.objects.developer())

    assert policy.may(account, Operation.DEPLOY, environment)
    assert not policy.may(account, Action.REGISTER_ENVIRONMENT)
    account.is_active = False
    assert policy.may(account, Operation.DEPLOY, environment).reason == "Log in first."


def test_without_an_environment_a_level_counts_anywhere():
    create_environment(purpose="Production")
    developer = create_user(manages_infrastructure=False)
    assert not policy.may(developer, Operation.CREATE_APPLICATIONS)
    create_environment(purpose="Development")
    assert policy.may(create_user(manages_infrastructure=False), Operation.CREATE_APPLICATIONS)


def test_a_refusal_names_no_environment_without_access():
    closed, opened = create_environment(name="Secret"), create_environment(name="Open")
    role = create_role(level=Level.NO_ACCESS, environment=closed)
    RoleLevel.objects.create(role=role, environment=opened, level=Level.ACCESS)

    def reason():
        return policy.may(create_user(role=role), Operation.TAG_APPLICATIONS).reason

    assert "in Open; your role" in reason()
    RoleLevel.objects.filter(environment=opened).update(level=Level.NO_ACCESS)
    assert reason() == "You have access to no environment. Ask an administrator."


def test_an_application_that_one_sees_nowhere_is_not_found():
    create_environment()
    application = create_application()

    with pytest.raises(Http404):
        policy.get_application(create_user(role=create_role(level=1)), application.key, Action.VIEW_APPLICATIONS)
    reader = create_user(role=create_role(level=2))
    assert policy.get_application(reader, application.key, Action.VIEW_APPLICATIONS) == application
    with pytest.raises(PermissionDenied, match="Manage Teams and Application Roles"):
        policy.get_application(reader, application.key, Action.MANAGE_APPLICATION_ROLES)


def test_a_team_is_found_by_who_manages_it():
    mine, other = Team.objects.create(name="Mine"), Team.objects.create(name="Other")
    manager = create_user(manages_infrastructure=False)
    lead = create_role(manage_teams_and_application_roles=True)
    TeamMembership.objects.create(team=mine, user=manager, role=lead)

    assert policy.get_team(manager, mine.key, Action.MANAGE_TEAMS) == mine
    with pytest.raises(PermissionDenied, match="Manage Teams and Application Roles"):
        policy.get_team(manager, other.key, Action.MANAGE_TEAMS)
    with pytest.raises(Http404):
        policy.get_team(create_user(manages_infrastructure=False), mine.key, Action.MANAGE_TEAMS)


def test_support_staff_who_manage_the_infrastructure_edit_cloud_environments_here():
    person = create_support_staff(manages_infrastructure=True)
    cloud = create_environment(hosting="cloud")

    assert policy.may(person, Operation.EDIT_ENVIRONMENT, cloud)
    assert policy.may(person, Action.UNREGISTER_ENVIRONMENT, cloud)
    assert not policy.may(person, Action.TOGGLE_MAINTENANCE, cloud)


@pytest.mark.parametrize("kind", PEOPLE)
def test_support_staff_alone_toggle_cloud_environments(kind):
    assert bool(policy.may_toggle_as_support(person(kind))) == (kind == "support")


def test_being_staff_or_in_the_group_alone_is_not_enough():
    support = create_support_staff()
    support.is_staff = False
    assert not policy.may_toggle_as_support(support)
    assert not policy.may_toggle_as_support(create_user(is_staff=True))
    support.is_staff, support.is_active = True, False
    assert not policy.may_toggle_as_support(support)


@pytest.mark.parametrize(
    ("kind", "hosting", "said"),
    [
        ("developer", "self_managed", "needs a role with “Manage Infrastructure and Users”; yours is Developer. Ask"),
        ("inactive", "self_managed", "Log in first."),
        ("administrator", "cloud", "Test is a cloud environment: support staff do this for you. Open a support case."),
    ],
)
def test_a_refusal_says_what_is_missing_and_what_to_do(kind, hosting, said):
    decision = policy.may(person(kind), Action.TOGGLE_MAINTENANCE, place(hosting, is_in_maintenance=False))

    assert said in decision.reason


def test_what_is_not_registered_takes_part_in_nothing():
    environment = create_environment(name="New", registration="checked")
    user = create_user()

    for action in (*Action, *Operation):
        decision = policy.may(user, action, environment)
        assert bool(decision) == (action == Action.REGISTER_ENVIRONMENT), action
        assert decision or decision.reason == "New is not registered."


def test_an_environment_that_does_not_exist_is_not_found():
    with pytest.raises(Http404):
        policy.get_environment(create_user(), "00000000-0000-0000-0000-000000000000", Action.VIEW_INFRASTRUCTURE)
    with pytest.raises(PermissionDenied):
        policy.get_environment(
            create_user(manages_infrastructure=False), create_environment().key, Action.VIEW_INFRASTRUCTURE
        )


# The same table over the pages. A row: the route, its method, and what a manager gets in each of four places:
# self-managed, cloud; the same two in maintenance mode.
PAGES = [
    ("edit", "GET", [200, 200, 200, 200]),
    ("live", "GET", [200, 200, 200, 200]),
    ("windows", "GET", [200, 200, 200, 200]),
    ("contacts", "GET", [200, 200, 200, 200]),
    ("syncs", "GET", [200, 200, 200, 200]),
    ("synchronize", "POST", [302, 302, 409, 409]),
    ("move", "POST", [422, 422, 422, 422]),
    ("enable-maintenance", "POST", [422, 403, 422, 403]),
    ("disable-maintenance", "POST", [422, 403, 422, 403]),
    ("edit", "POST", [422, 403, 409, 403]),
    ("unregister", "POST", [422, 403, 422, 403]),
]


@pytest.mark.parametrize("kind", PEOPLE)
@pytest.mark.parametrize("place_number", range(4))
def test_pages_keep_to_the_table(client, kind, place_number):
    environment = place(HOSTINGS[place_number % 2], is_in_maintenance=place_number > 1)
    user = person(kind)
    if kind not in ("stranger", "inactive"):
        client.force_login(user)

    for name, method, for_managers in PAGES:
        address = reverse(f"environments:{name}", args=[environment.key])
        response = client.generic(method, address)
        expected = 302 if kind in ("stranger", "inactive") else for_managers[place_number] if kind in MANAGERS else 403
        assert response.status_code == expected, (name, method, response.status_code)
        if kind in ("stranger", "inactive"):
            assert response.headers["Location"].startswith("/login/")


@pytest.mark.parametrize("name", [name for name, method, _ in PAGES if method == "POST" and name != "edit"])
def test_what_writes_is_not_done_by_looking(client, name):
    client.force_login(create_user())
    environment = create_environment()

    assert client.get(reverse(f"environments:{name}", args=[environment.key])).status_code == 405


def test_pages_of_the_infrastructure_are_for_managers_only(client):
    for kind in PEOPLE:
        client.logout()
        user = person(kind)
        if kind not in ("stranger", "inactive"):
            client.force_login(user)
        for name in ("environments:list", "environments:register", "audit:events"):
            status = client.get(reverse(name)).status_code
            expected = 302 if kind in ("stranger", "inactive") else 200 if kind in MANAGERS else 403
            assert status == expected, (kind, name)
