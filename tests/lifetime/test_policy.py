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
from lifetime.models import Role
from lifetime.policy import Action
from tests.factories import actor, create_environment, create_support_staff, create_user

pytestmark = pytest.mark.django_db

PEOPLE = ["administrator", "own role", "developer", "teams only", "inactive", "support", "stranger"]
MANAGERS = {"administrator", "own role"}
HOSTINGS = ["self_managed", "cloud"]
BY_SUPPORT = {Action.TOGGLE_MAINTENANCE, Action.UNREGISTER_ENVIRONMENT, Operation.EDIT_ENVIRONMENT}


def person(kind):
    match kind:
        case "administrator":
            return create_user()
        case "own role":
            flags = {"manage_infrastructure_and_users": True, "manage_teams_and_application_roles": True}
            return create_user(role=Role.objects.create(name="Operator", **flags))
        case "developer":
            return create_user(manages_infrastructure=False)
        case "teams only":
            return create_user(role=Role.objects.create(name="Lead", manage_teams_and_application_roles=True))
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


@pytest.mark.parametrize("kind", PEOPLE)
@pytest.mark.parametrize("hosting", HOSTINGS)
@pytest.mark.parametrize("is_in_maintenance", [False, True])
def test_the_table(kind, hosting, is_in_maintenance):
    user, environment = person(kind), place(hosting, is_in_maintenance=is_in_maintenance)

    for action in (*Action, *Operation):
        decision = policy.may(user, action, environment)
        lacks = kind not in MANAGERS or (hosting == "cloud" and action in BY_SUPPORT)
        paused = is_in_maintenance and isinstance(action, Operation)
        assert bool(decision) == (not lacks and not paused), action
        assert decision.is_temporary == (paused and not lacks), action
        assert bool(decision.reason) == (not decision), action


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
