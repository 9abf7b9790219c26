"""Blocking, modules, security, properties, new applications and registration."""

from uuid import uuid4

import pytest

from audit.models import AuditEvent
from environments import maintenance
from environments.models import Application, ApplicationBlock, Environment, Module, ModuleVersion
from environments.security import REQUIRED
from lifetime.models import Level, Role, RoleLevel, Team, User
from tests.factories import actor, create_environment, create_user
from tests.lifetime.api.conftest import create_caller, refused, working
from tests.lifetime.api.test_applications import give_module, publish
from tests.lifetime.factories import create_application, create_role

pytestmark = pytest.mark.django_db
PROPERTIES = "/PropertiesAPI/rest/v1/Modules"


def block(caller, application, *wanted):
    body = {"configurations": [{"environmentKey": str(one.key), **what} for one, what in wanted]}
    return caller.put(f"applications/{application.key}/configurations/", body)


BLOCKED = {"isBlocked": True, "isBlockedChangeReason": "Not before the audit"}


def test_an_application_is_blocked_and_unblocked_all_or_nothing(caller):
    first, second, there = create_environment(), create_environment(), create_environment()
    application = create_application()
    publish(application, there)

    assert block(caller, application, (first, BLOCKED)).status_code == 204
    assert block(caller, application, (first, BLOCKED)).status_code == 204  # it is so already
    refused(block(caller, application, (second, BLOCKED), (there, BLOCKED)), 400, "published")
    refused(block(caller, application, (first, {"isBlocked": False})), 400, "Say why")

    assert [one.environment for one in ApplicationBlock.objects.in_force()] == [first]
    told = caller.get(f"applications/{application.key}/configurations").json()["configurations"]
    assert [(one["isBlocked"], one["isBlockedChangeReason"]) for one in told] == [
        (True, "Not before the audit"),
        (False, ""),
        (False, ""),
    ]
    done = {"isBlocked": False, "isBlockedChangeReason": "Audited"}
    assert block(caller, application, (first, done)).status_code == 204
    assert not ApplicationBlock.objects.in_force().exists()


def test_blocking_needs_the_level(db):
    environment = create_environment()
    application = create_application()
    publish(application, create_environment())
    reader = create_caller(create_role(level=Level.OPEN), "reader")

    refused(block(reader, application, (environment, BLOCKED)), 403, "Change and Deploy")


def test_modules_are_listed_with_their_versions(caller):
    environment = create_environment()
    application = create_application()
    publish(application, environment)
    module = give_module(application, environment)
    version = ModuleVersion.objects.create(
        application_version=application.versions.get(), module_key=module.key, name="Core", version_key=uuid4()
    )

    [record] = caller.get("modules/?IncludeEnvStatus=True").json()
    assert set(record) >= {"Key", "Name", "Description", "Kind", "ModuleStatusInEnv"}
    assert [one["EnvironmentKey"] for one in record["ModuleStatusInEnv"]] == [str(environment.key)]
    assert caller.get(f"modules/{module.key}?IncludeEnvStatus=True").json() == record
    assert caller.get("modules").json()[0]["ModuleStatusInEnv"] == []
    [listed] = caller.get(f"modules/{module.key}/versions").json()
    assert caller.get(f"modules/{module.key}/versions/{version.version_key}").json() == listed
    refused(caller.get(f"modules/{uuid4()}"), 404)
    refused(caller.get(f"modules/{module.key}/versions/{uuid4()}"), 404)


def test_the_content_security_policy_is_read_and_changed(caller):
    environment = create_environment()
    path = f"environments/{environment.key}/content_security_policies"
    directives = [{"name": name, "values": [*values]} for name, values in REQUIRED.items() if values]
    directives.append({"name": "img-src", "values": ["'self'", "data:", "https://img.example.com"]})

    assert caller.get(path).json()["IsEnabled"] is False
    told = caller.put(f"{path}/", {"isEnabled": True, "directives": directives}).json()

    assert told["IsEnabled"] is True
    images = next(one for one in told["Directives"] if one["Name"] == "img-src")
    assert images["Values"] == ["'self'", "data:", "https://img.example.com"]
    assert caller.get(path).json() == told
    refused(caller.put(path, {"directives": [{"name": "img-src", "values": ["a;b"]}]}), 400, "another directive")
    refused(caller.put(path, {"directives": [{"name": "a b", "values": []}]}), 400)
    refused(caller.put(path, {"directives": [{"name": "img-src", "values": []}]}), 400, "img-src keeps")
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    refused(caller.put(path, {"isEnabled": False}), 400, "is in maintenance mode")
    reader = create_caller(create_role(level=Level.FULL_CONTROL), "reader")
    refused(reader.put(path, {"isEnabled": False}), 403)


def test_who_may_not_is_refused_before_an_environment_is_asked(db):
    environment = create_environment()
    reader = create_caller(create_role(level=Level.OPEN), "reader")
    path = f"environments/{environment.key}"

    refused(reader.get(f"{path}/blockedipaddresses"), 403, "Manage")
    refused(reader.delete(f"{path}/blockedipaddresses?IPAddress=1.2.3.4"), 403)
    refused(reader.get(f"{path}/templates"), 403, "Create Applications")
    new = {"TemplateKey": "a", "TeamKey": str(uuid4()), "Name": "X"}
    refused(reader.post(f"{path}/applications", new), 403, "Create Applications")
    refused(reader.post("environments", {"EnvironmentName": "X", "EnvironmentAddress": "x.example.com"}), 403)


@pytest.mark.parametrize("name", ["%00", "Nothing%0ASecond line", "%ff"])
def test_a_module_that_cannot_be_is_not_found(caller, name):
    environment = create_environment()

    told = refused(caller.get(f"{PROPERTIES}/{name}/Environments/{environment.key}"), 404, "no such module")

    again = put(caller, name, environment, "SiteProperties/%00/Value", b"1")
    assert refused(again, 404)["Errors"] == told["Errors"]


# On a real platform


@pytest.fixture
def back_office(development):
    return Module.objects.filter(application__name="Back Office").order_by("name").first()


def put(caller, module, environment, path, value):
    return caller.put(f"{PROPERTIES}/{module}/Environments/{environment.key}/{path}/", value)


@pytest.mark.django_db(transaction=True)
def test_a_property_takes_the_raw_body_and_says_whether_it_worked(development, platform):
    caller = create_caller()
    module = Module.objects.get(name="BackOffice")
    with working():
        items = caller.get(f"{PROPERTIES}/{module.key}/Environments/{development.key}").json()
        by_name = {one["ConfigurationItemName"]: one for one in items}
        item = by_name["PageSize"]
        assert item["ConfigurationItemType"] == "SiteProperty"

        response = put(caller, module.key, development, f"SiteProperties/{item['ConfigurationItemKey']}/Value", b"75")
        assert (response.status_code, response.json()) == (201, {"Success": True, "Message": ""})
        response = put(caller, "BackOffice", development, "SiteProperties/PageSize/Value", b"76")
        assert response.json()["Success"]
        response = put(caller, module.key, development, "SiteProperties/PageSize/Value", b"many")
        assert (response.status_code, response.json()["Success"]) == (201, False)
        assert "422" in response.json()["Message"]
        response = put(caller, module.key, development, "SiteProperties/Nothing/Value", b"1")
        assert (response.status_code, response.json()["Success"]) == (201, False)
        assert "no such setting" in response.json()["Message"]
        items = caller.get(f"{PROPERTIES}/{module.key}/Environments/{development.key}").json()
    assert {one["ConfigurationItemName"]: one["TargetValue"] for one in items}["PageSize"] == "76"
    assert AuditEvent.objects.filter(message__startswith="Changed site property 'PageSize'").count() == 2
    refused(put(caller, uuid4(), development, "SiteProperties/PageSize/Value", b"1"), 404, "no such module")
    refused(put(caller, module.key, development, "SiteProperties/PageSize/Value", b"\xff"), 400, "UTF-8")
    maintenance.enable(development, by=actor(), reason="Upgrade")
    refused(put(caller, module.key, development, "SiteProperties/PageSize/Value", b"1"), 400, "maintenance mode")


def test_a_module_that_the_account_does_not_see_is_none(db):
    environment = create_environment()
    application = create_application()
    give_module(application, environment, "Hidden")
    caller = create_caller(create_role(level=Level.ACCESS, environment=environment), "blind")

    for module in ("Hidden", "Nothing", Module.objects.get().key):
        told = refused(put(caller, module, environment, "SiteProperties/PageSize/Value", b"1"), 404)
        assert told["Errors"] == [f"{environment} has no such module."]


@pytest.mark.django_db(transaction=True)
def test_an_application_is_created_from_a_template_for_a_team(development):
    caller = create_caller()
    team = Team.objects.create(name="Claims")
    path = f"environments/{development.key}"
    with working():
        template = caller.get(f"{path}/templates/").json()[0]
        assert set(template) == {"Key", "Name", "Description", "ApplicationKind"}
        new = {"TemplateKey": template["Key"], "TeamKey": str(team.key), "Name": "Claims Portal", "Color": "#1a73e8"}
        response = caller.post(f"{path}/applications/", new)
        refused(caller.post(f"{path}/applications", new), 400, "of this name")
        refused(caller.post(f"{path}/applications", {**new, "TemplateKey": "x", "Name": "Y"}), 400, "no such template")
    assert response.status_code == 201
    application = Application.objects.get(key=response.json()["ApplicationKey"])
    assert (application.name, application.in_team.team) == ("Claims Portal", team)
    maintenance.enable(development, by=actor(), reason="Upgrade")
    refused(caller.post(f"{path}/applications", new), 400, "maintenance mode")


@pytest.mark.django_db(transaction=True)
def test_an_environment_is_registered_when_its_connection_is_good(platform):
    caller = create_caller()
    create_user()
    role = create_role("Tester")
    last = create_environment(name="Quality", position=0)
    body = {
        "EnvironmentName": "Development",
        "EnvironmentAddress": platform.address,
        "EnvironmentPosition": 1,
        "ServiceCenterUsername": "admin",
        "ServiceCenterPassword": platform.token,
        "EnvironmentRolePermissions": [{"RoleKey": str(role.key), "PermissionLevel": 4}],
    }
    with working():
        refused(
            caller.post("environments", {**body, "ServiceCenterPassword": "wrong"}), 400, "does not accept the token"
        )
        assert Environment.objects.count() == 1
        response = caller.post("environments/", body)

    assert response.status_code == 201
    environment = Environment.objects.get(key=response.json()["EnvironmentKey"])
    assert list(Environment.objects.registered().in_order()) == [environment, last]
    assert RoleLevel.objects.get(role=role).level == Level.OPEN
    refused(caller.post("environments", body), 400, "Another registered environment")
    refused(caller.post("environments", {**body, "EnvironmentAddress": "http://169.254.169.254"}), 400)
    unknown = [{"RoleKey": str(uuid4()), "PermissionLevel": 4}]
    refused(caller.post("environments", {**body, "EnvironmentRolePermissions": unknown}), 400, "no role")


@pytest.mark.django_db(transaction=True)
def test_a_refused_registration_leaves_nothing(platform):
    caller = create_caller()
    create_user()
    role = create_role("Tester")
    body = {
        "EnvironmentName": "Development",
        "EnvironmentAddress": platform.address,
        "ServiceCenterPassword": platform.token,
    }
    contradiction = {"RoleKey": str(role.key), "PermissionLevel": 2, "CanCreateApplications": True}
    built_in = {"RoleKey": str(Role.objects.administrator().key), "PermissionLevel": 2}
    with working():
        for wanted, words in ((contradiction, "Create Applications needs"), (built_in, "built in")):
            refused(caller.post("environments", {**body, "EnvironmentRolePermissions": [wanted]}), 400, words)
            assert not Environment.objects.exists()
    assert not AuditEvent.objects.filter(message__startswith="Registered").exists()


@pytest.mark.django_db(transaction=True)
def test_a_program_registers_and_imports_nobody(platform):
    caller = create_caller()
    create_user()
    role = create_role("Tester")
    people = [{"key": "1", "username": "eve", "name": "Eve", "email": "eve@example.org", "role_key": "1"}]
    known = {"roles": [{"key": "1", "name": "Developer", "level": 5}], "users": people, "teams": []}
    platform.call("PUT", "/permissions", known)
    body = {
        "EnvironmentName": "Development",
        "EnvironmentAddress": platform.address,
        "ServiceCenterPassword": platform.token,
        "EnvironmentRolePermissions": [{"RoleKey": str(role.key), "PermissionLevel": 4}],
    }
    with working():
        assert caller.post("environments", body).json()["ImportedUsers"] == []
    assert not User.objects.filter(username="eve").exists()
    event = AuditEvent.objects.get(message__startswith="Role 'Tester' permissions")
    assert event.actor_name == caller.account.actor().name


@pytest.mark.django_db(transaction=True)
def test_blocked_addresses_are_asked_for(development):
    caller = create_caller()
    path = f"environments/{development.key}/blockedipaddresses"
    with working():
        assert caller.get(path).status_code == 204
        refused(caller.delete(f"{path}?IPAddress=203.0.113.5"), 404, "does not block")
        refused(caller.delete(f"{path}/{uuid4()}"), 400, "does not block")
        refused(caller.delete(path), 400, "IPAddress")
