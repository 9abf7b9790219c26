"""Database connections by the REST API: the vendor's paths and names, a real platform, a real database."""

import pytest

from audit.models import AuditEvent
from environments import maintenance
from lifetime.models import Level
from tests.databases import listening
from tests.environments.test_database_connections import everything
from tests.factories import actor, create_environment, create_user
from tests.lifetime.api.conftest import create_caller, refused, working
from tests.lifetime.factories import create_role

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "s3cret-word"
ORDERS = {
    "dbConnectionName": "Orders",
    "providerKey": "postgresql",
    "description": "Where orders are",
    "dbUsername": "app",
    "dbPassword": PASSWORD,
    "dbConfigParams": "host=127.0.0.1;port=1;database=orders",
}


@pytest.fixture
def path(platform):
    environment = create_environment(platform=platform, name="Development")
    return f"environments/{environment.key}"


def test_connections_are_listed_added_changed_and_deleted(path):
    caller = create_caller()
    with working():
        assert caller.get(f"{path}/dbconnections/").json() == []
        assert caller.get(f"{path}/dbconnection/dbproviders/").json() == [
            {"DisplayName": "PostgreSQL", "ProviderKey": "postgresql"},
            {"DisplayName": "SQLite", "ProviderKey": "sqlite"},
        ]
        made = caller.post(f"{path}/dbconnections/", ORDERS)
        assert made.status_code == 201
        assert made.json()["databaseConfiguration"] == "database=orders;host=127.0.0.1;port=1"
        assert (made.json()["providerName"], made.json()["isAdvancedConfiguration"]) == ("PostgreSQL", True)
        assert caller.get(f"{path}/dbconnections/ORDERS/").json() == made.json()
        assert caller.get(f"{path}/dbconnections/").json() == [made.json()]

        change = caller.put(f"{path}/dbconnections/Orders/", {"description": "Since 2026", "dbConnectionName": "Sales"})
        assert change.status_code == 200
        told = change.json()
        assert (told["dbConnectionName"], told["description"], told["dbUsername"]) == ("Sales", "Since 2026", "app")
        assert (told["hasPassword"], told["revision"]) == (True, 2)
        refused(caller.put(f"{path}/dbconnections/Sales", {"Revision": 1, "description": ""}), 400, "changed Sales")
        refused(caller.get(f"{path}/dbconnections/Orders"), 404, "no database connection named Orders")
        assert caller.delete(f"{path}/dbconnections/Sales/").status_code == 204
        refused(caller.delete(f"{path}/dbconnections/Sales/"), 404)
    assert PASSWORD not in everything()


def test_what_is_wrong_is_said(path):
    caller = create_caller()
    with working():
        refused(caller.post(f"{path}/dbconnections", {}), 400, "Give it a name")
        refused(caller.post(f"{path}/dbconnections", {**ORDERS, "providerKey": "oracle"}), 400, "postgresql, sqlite")
        refused(caller.post(f"{path}/dbconnections", {**ORDERS, "dbConfigParams": "host"}), 400, "name=value")
        assert caller.post(f"{path}/dbconnections", ORDERS).status_code == 201
        refused(caller.post(f"{path}/dbconnections", ORDERS), 400, "has this name")
        elsewhere = {"dbConfigParams": "host=203.0.113.5;database=orders"}
        refused(caller.put(f"{path}/dbconnections/Orders", elsewhere), 400, "Give it again")


def test_a_connection_is_tested(path):
    caller = create_caller()
    with working(), listening() as (parameters, username):
        there = {
            **ORDERS,
            "dbUsername": username,
            "dbConfigParams": ";".join(f"{name}={value}" for name, value in parameters.items()),
        }
        fine = caller.post(f"{path}/testdbconnection/", there)
        assert (fine.status_code, "PostgreSQL" in fine.json()["message"]) == (200, True)
        refused(caller.post(f"{path}/testdbconnection/", ORDERS), 400, "Connection refused")
        refused(caller.post(f"{path}/testdbconnection/", {"dbConnectionName": "Orders"}), 404, "named Orders")
        caller.post(f"{path}/dbconnections", there)
        assert caller.post(f"{path}/testdbconnection/", {"dbConnectionName": "Orders"}).status_code == 200
    assert PASSWORD not in everything()


def test_roles_and_people_have_levels(path):
    caller = create_caller()
    create_role("Tester")
    create_user(name="Ada Lovelace", username="ada")
    levels = caller.get("environments/dbconnection/permissionlevels/").json()
    assert [one["DbConnectionPermissionLevel"]["Label"] for one in levels] == ["No Access", "Read-Only", "Full Control"]
    one = f"{path}/dbconnections/Orders"
    with working():
        caller.post(f"{path}/dbconnections", ORDERS)
        given = caller.put(f"{one}/rolepermissionlevel/", {"role": "Tester", "permissionLevel": 1})
        assert (given.status_code, given.json()["Label"]) == (200, "Read-Only")
        assert caller.put(f"{one}/userpermissionlevel", {"username": "ada", "permissionLevel": 2}).status_code == 200
        assert caller.get(f"{one}/rolepermissionlevel/Tester/").json()["Label"] == "Read-Only"
        assert caller.get(f"{one}/userpermissionlevel/ada/").json()["Label"] == "Full Control"
        assert caller.delete(f"{one}/userpermissionlevel/", {"username": "ada"}).status_code == 200
        assert caller.get(f"{one}/userpermissionlevel/ada").json()["Label"] == "No Access"
        assert caller.get(f"{one}/rolepermissionlevel/Tester").json()["Label"] == "Read-Only"
        assert caller.get(one).json()["hasPassword"]
        refused(caller.put(f"{one}/rolepermissionlevel", {"role": "Tester", "permissionLevel": 3}), 400, "level")
        refused(caller.get(f"{one}/rolepermissionlevel/Nobody"), 404, "no role named Nobody")
        refused(caller.delete(f"{one}/userpermissionlevel", {"username": "x"}), 404, "no user x")
    on = "Changed the permissions on database connection 'Orders' in environment 'Development'"
    messages = AuditEvent.objects.filter(message__startswith=on).order_by("number").values_list("message", flat=True)
    assert [one.removeprefix(f"{on}: ") for one in messages] == [
        "role 'Tester': Read-Only",
        "user 'Ada Lovelace': Full Control",
        "user 'Ada Lovelace': revoked",
    ]


def test_it_needs_full_control_and_no_maintenance_mode(db):
    environment = create_environment(name="Development")
    path = f"environments/{environment.key}"
    developer = create_caller(create_role(level=Level.CHANGE), "developer")
    refused(developer.get(f"{path}/dbconnections"), 403, "Full Control")
    refused(developer.post(f"{path}/testdbconnection", ORDERS), 403, "Full Control")
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Upgrade")
    caller = create_caller()
    for answer in (
        caller.get(f"{path}/dbconnections"),
        caller.post(f"{path}/dbconnections", ORDERS),
        caller.put(f"{path}/dbconnections/Orders", ORDERS),
        caller.delete(f"{path}/dbconnections/Orders"),
        caller.get(f"{path}/dbconnection/dbproviders"),
        caller.post(f"{path}/testdbconnection", ORDERS),
    ):
        told = refused(answer, 400, "Grace Hopper", "Upgrade")
        assert told["Code"] == "in_maintenance"
