"""Environments, their zones, and maintenance mode."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from environments import maintenance
from environments.models import Contact, Environment, MaintenanceWindow
from lifetime.api import waiting
from lifetime.models import Level
from tests.environments.test_tagging import in_threads
from tests.factories import actor, create_environment
from tests.lifetime.api.conftest import Caller, create_caller, refused
from tests.lifetime.factories import create_application, create_manager, create_role

pytestmark = pytest.mark.django_db

FIELDS = {
    *(
        "Key",
        "Name",
        "OSVersion",
        "Order",
        "DetailsURL",
        "HostName",
        "UseHTTPS",
        "EnvironmentType",
        "NumberOfFrontEnds",
    ),
    *("ApplicationServerType", "ApplicationServer", "DatabaseProvider", "IsCloudEnvironment", "IsOffline"),
}


def test_environments_are_listed_in_pipeline_order_with_every_field(caller):
    create_environment(
        name="Production",
        position=2,
        purpose="Production",
        address="https://prod.example.com",
        version="11.23.1.0",
        application_server="IIS",
        application_server_type=".NET",
        database_provider="SqlServer",
        number_of_front_ends=2,
    )
    create_environment(name="Development", position=1)
    create_environment(name="Gone", registration="refused")

    first, second = caller.get("environments").json()

    assert [first["Name"], second["Name"]] == ["Development", "Production"]
    assert set(second) >= FIELDS
    assert (
        second
        | {
            "OSVersion": "11.23.1.0",
            "Order": 3,
            "HostName": "prod.example.com",
            "UseHTTPS": True,
            "NumberOfFrontEnds": 2,
            "EnvironmentType": "Production",
            "ApplicationServerType": ".NET",
            "ApplicationServer": "IIS",
            "DatabaseProvider": "SqlServer",
            "IsCloudEnvironment": False,
            "IsOffline": False,
            "IsInMaintenanceMode": False,
        }
        == second
    )
    assert second["DetailsURL"] == f"http://testserver/infrastructure/{second['Key']}/"


def test_no_environment_is_an_empty_answer(caller):
    response = caller.get("environments")

    assert (response.status_code, response.content) == (204, b"")


def test_one_environment_is_like_in_the_list_and_keys_are_taken_in_capitals(caller):
    key = create_environment().key

    assert caller.get(f"environments/{str(key).upper()}/").json() == caller.get("environments").json()[0]


def test_an_unknown_environment_is_not_found(caller):
    unregistered = create_environment(registration="checked")

    for key in (uuid4(), unregistered.key):
        refused(caller.get(f"environments/{key}"), 404, "no such environment")


def test_an_account_sees_the_environments_that_its_role_opens():
    open_one, closed = create_environment(), create_environment()
    role = create_role(level=Level.ACCESS, environment=open_one)
    create_role_level(role, closed, Level.NO_ACCESS)
    caller = create_caller(role)

    assert [one["Name"] for one in caller.get("environments").json()] == [open_one.name]
    refused(caller.get(f"environments/{closed.key}"), 404)
    refused(caller.get(f"environments/{closed.key}/maintenancemode"), 404)


def create_role_level(role, environment, level):
    from lifetime.models import RoleLevel

    RoleLevel.objects.create(role=role, environment=environment, level=level)


def test_the_list_of_environments_takes_a_constant_number_of_queries(caller, django_assert_num_queries):
    create_environment()
    caller.get("environments")
    with django_assert_num_queries(5) as few:  # the token, the quota, its role's levels, environments, the call
        caller.get("environments")
    for _ in range(9):
        create_environment()
    with django_assert_num_queries(len(few)):
        assert len(caller.get("environments").json()) == 10


def test_there_is_always_a_deployment_zone(caller):
    plain = create_environment()
    zones = [{"key": "a", "name": "Intranet", "is_default": False}, {"key": "b", "name": "Public", "is_default": True}]
    zoned = create_environment(deployment_zones=zones)

    [only] = caller.get(f"environments/{plain.key}/deploymentzones").json()
    assert (only["Name"], only["IsDefault"]) == ("Global", True)
    assert caller.get(f"environments/{plain.key}/deploymentzones").json() == [only]
    assert [
        (one["Key"], one["Name"], one["IsDefault"])
        for one in caller.get(f"environments/{zoned.key}/deploymentzones/").json()
    ] == [
        ("a", "Intranet", False),
        ("b", "Public", True),
    ]
    assert only["DeploymentTechnology"]["Key"]


def test_unregistering_needs_the_right_and_works_in_maintenance(caller):
    environment = create_environment(name="Quality")
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    reader = create_caller(create_role(level=Level.FULL_CONTROL), "reader")

    refused(reader.delete(f"environments/{environment.key}"), 403, "Manage Infrastructure")
    assert caller.delete(f"environments/{environment.key}/").status_code == 204
    assert not Environment.objects.registered().exists()
    refused(caller.delete(f"environments/{environment.key}"), 404)


def test_a_cloud_environment_cannot_be_unregistered_here(caller):
    environment = create_environment(hosting="cloud")

    refused(caller.delete(f"environments/{environment.key}"), 405, "cloud")
    assert Environment.objects.registered().exists()


# Maintenance mode


def put(caller, environment, **body):
    return caller.put(f"environments/{environment.key}/maintenancemode", body)


def test_maintenance_mode_is_enabled_and_disabled_with_a_reason(caller):
    environment = create_environment(name="Quality")

    response = put(caller, environment, IsMaintenanceModeEnabled=True, Reason="Platform upgrade")

    told = response.json()
    assert response.status_code == 200
    assert (told["IsMaintenanceModeEnabled"], told["Reason"], told["EnabledBy"]) == (
        True,
        "Platform upgrade",
        "pipeline",
    )
    assert told["Phase"] == "in_force"
    assert told["Certificate"]["IsQuiet"]
    assert told["Certificate"]["ContactsInsideTheQuiet"] == 0
    assert caller.get("environments").json()[0]["IsOffline"]
    event = AuditEvent.objects.get(message="Enabled maintenance mode of environment 'Quality': Platform upgrade")
    assert (event.actor_username, event.actor_address) == ("pipeline", "127.0.0.1")

    told = put(caller, environment, ismaintenancemodeenabled=False, REASON="Done").json()
    assert (told["IsMaintenanceModeEnabled"], told["Phase"], told["DisableReason"]) == (False, "recovering", "Done")
    assert told == caller.get(f"environments/{environment.key}/maintenancemode/").json()


def test_an_environment_that_was_never_in_maintenance_says_so(caller):
    told = caller.get(f"environments/{create_environment().key}/maintenancemode").json()

    assert (told["IsMaintenanceModeEnabled"], told["Phase"], told["Certificate"]) == (False, "", None)


def test_the_expected_end_is_kept_and_tells_clients_when_to_come_back(caller):
    environment = create_environment(name="Quality")
    application = create_application()
    end = timezone.now() + timedelta(hours=2)
    put(caller, environment, IsMaintenanceModeEnabled=True, Reason="Upgrade", ExpectedEnd=end.isoformat())
    give(application, environment)

    response = caller.post(
        f"environments/{environment.key}/applications/{application.key}/versions", {"Version": "1.1"}
    )

    told = refused(
        response, 400, "Quality is in maintenance mode since", "pipeline enabled it: “Upgrade”", "Wait until"
    )
    assert told["Code"] == "in_maintenance"
    [named] = told["Maintenance"]
    assert (named["EnvironmentName"], named["EnabledBy"], named["Reason"]) == ("Quality", "pipeline", "Upgrade")
    assert 7100 < int(response.headers["Retry-After"]) <= 7200
    assert MaintenanceWindow.objects.get().refused_operations.get().operation == "tag_applications"


def give(application, environment):
    from environments.models import ApplicationStatus

    ApplicationStatus.objects.create(environment=environment, application=application, changed_at=timezone.now())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "IsMaintenanceModeEnabled"),
        ({"IsMaintenanceModeEnabled": True}, "Say why"),
        ({"IsMaintenanceModeEnabled": True, "Reason": "a\nb"}, "one line"),
        ({"IsMaintenanceModeEnabled": True, "Reason": "x", "ExpectedEnd": "2020-01-01T00:00:00Z"}, "in the past"),
        ({"IsMaintenanceModeEnabled": True, "Reason": "x", "ExpectedEnd": "soon"}, "ExpectedEnd"),
        ({"IsMaintenanceModeEnabled": False, "Reason": "x"}, "is not enabled"),
    ],
)
def test_what_is_missing_or_wrong_is_refused_and_changes_nothing(caller, body, words):
    environment = create_environment()

    refused(put(caller, environment, **body), 400, words)
    assert not MaintenanceWindow.objects.exists()


def test_a_second_enabling_names_the_first_unless_it_is_the_same_once_more(caller):
    environment = create_environment()
    first = put(caller, environment, IsMaintenanceModeEnabled=True, Reason="Upgrade").json()

    assert put(caller, environment, IsMaintenanceModeEnabled=True, Reason=" Upgrade").json() == first
    refused(
        put(caller, environment, IsMaintenanceModeEnabled=True, Reason="Other"), 400, "pipeline enabled it", "Upgrade"
    )
    other = create_caller(username="other")
    refused(put(other, environment, IsMaintenanceModeEnabled=True, Reason="Upgrade"), 400, "pipeline enabled it")
    assert MaintenanceWindow.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_said_at_once_is_answered_alike():
    caller, environment = create_caller(), create_environment()

    for is_enabled in (True, False):
        wanted = {"IsMaintenanceModeEnabled": is_enabled, "Reason": "Disks"}
        answers = in_threads(lambda wanted=wanted: put(Caller(caller.account, caller.secret), environment, **wanted), 4)
        assert [one.status_code for one in answers] == [200] * 4
        assert {one.json()["IsMaintenanceModeEnabled"] for one in answers} == {is_enabled}
    assert environment.windows.count() == 1


def test_toggling_needs_the_right(caller):
    environment, cloud = create_environment(), create_environment(hosting="cloud")
    reader = create_caller(create_role(level=Level.FULL_CONTROL), "reader")
    manager = create_caller(create_manager(), "manager")

    refused(put(reader, environment, IsMaintenanceModeEnabled=True, Reason="x"), 403, "Manage Infrastructure")
    refused(put(manager, cloud, IsMaintenanceModeEnabled=True, Reason="x"), 403, "support staff")
    assert not MaintenanceWindow.objects.exists()
    assert put(manager, environment, IsMaintenanceModeEnabled=True, Reason="x").status_code == 200


def test_whoever_cannot_wait_is_refused_before_anything_is_done(caller):
    environment = create_environment()
    with waiting.place(), waiting.place():
        response = put(caller, environment, IsMaintenanceModeEnabled=True, Reason="x", Wait=True)

    refused(response, 500, "Nothing was done")
    assert not MaintenanceWindow.objects.exists()


def test_a_preview_changes_nothing_and_blockers_are_named(caller, settings):
    settings.API_WAIT_SECONDS = 0.2
    environment = create_environment()
    now = timezone.now()
    Contact.objects.create(
        environment=environment,
        epoch=1,
        purpose="tag",
        worker="host",
        pid=1,
        step="POST versions",
        opened_at=now,
        expires_at=now + timedelta(seconds=15),
    )

    told = put(caller, environment, IsMaintenanceModeEnabled=True, Reason="x", Preview=True).json()
    assert told["Preview"] == {"Plans": 0, "Synchronizations": 0, "Tasks": 0, "Contacts": 1}
    assert not MaintenanceWindow.objects.exists()

    told = put(caller, environment, IsMaintenanceModeEnabled=True, Reason="x", Wait=True).json()
    assert told["Phase"] == "draining"
    assert [(one["Purpose"], one["Step"]) for one in told["Blockers"]] == [("tag", "POST versions")]
    assert told["Aborted"]["Contacts"] == 1
