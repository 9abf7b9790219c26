"""Applications and their versions, and tagging."""

from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from environments import maintenance
from environments.models import (
    Application,
    ApplicationIcon,
    ApplicationStatus,
    ApplicationVersion,
    Module,
    ModuleStatus,
    ModuleVersion,
)
from lifetime.api import versions, waiting
from lifetime.models import Level, RoleLevel, Team, TeamApplication
from tests.factories import actor, create_environment
from tests.lifetime.api.conftest import create_caller, refused, working
from tests.lifetime.factories import create_application, create_role

BOTH = "IncludeModules=True&IncludeEnvStatus=True"
NEITHER = "IncludeModules=False&IncludeEnvStatus=False"
FIELDS = {
    *("Key", "Name", "Kind", "Team", "Description", "URLPath", "IconHash", "IconURL", "DetailsURL", "IsSystem"),
    "AppStatusInEnvs",
}
STATUS = {
    *("EnvironmentKey", "BaseApplicationVersionKey", "BaseApplicationVersionLabel", "IsModified", "IsModifiedReason"),
    *("IsModifiedMessage", "ConsistencyStatus", "ConsistencyStatusMessages", "MobileAppsStatus", "ModuleStatusInEnvs"),
    "DeploymentZoneKey",
}
VERSION = {
    *("Key", "ApplicationKey", "Version", "ChangeLog", "CreatedOn", "InUse", "MobileVersions", "PrimaryColor"),
    *("NativeHash", "ModuleVersions", "EnvironmentKey"),
}


def publish(application, environment, version="1.0", *, is_modified=False, **more):
    """The application is in the environment, based on a version; a new one unless it has it."""
    known = application.versions.filter(version=version).first()
    known = known or ApplicationVersion.objects.create(
        key=uuid4(), application=application, version=version, created_at=timezone.now(), created_by="Ada"
    )
    return ApplicationStatus.objects.create(
        environment=environment,
        application=application,
        version=version,
        version_key=known.key,
        is_modified=is_modified,
        changed_at=timezone.now(),
        **more,
    )


def give_module(application, environment, name="Core"):
    module, _ = Module.objects.get_or_create(
        name=name, application=application, defaults={"key": uuid4(), "kind": "eSpace", "changed_at": timezone.now()}
    )
    ModuleStatus.objects.create(environment=environment, module=module, version_key=uuid4(), changed_at=timezone.now())
    return module


@pytest.fixture
def pair(db):
    return create_environment(name="Development"), create_environment(name="Quality")


@pytest.fixture
def application(pair):
    application = create_application("Back Office")
    publish(application, pair[0], "1.1", is_modified=True)
    publish(application, pair[1], "1.0", consistency="Warning", consistency_message="Outdated")
    give_module(application, pair[0])
    return application


def test_applications_have_every_field_and_no_status_unless_asked_for(caller, application):
    team = Team.objects.create(name="Claims")
    TeamApplication.objects.create(application=application, team=team)

    [record] = caller.get(f"applications?{NEITHER}").json()

    assert set(record) >= FIELDS
    assert record | {"Name": "Back Office", "Kind": "WebResponsive", "Team": "Claims", "AppStatusInEnvs": []} == record
    assert record["DetailsURL"] == f"http://testserver/applications/{application.key}/"


def test_an_icon_is_named_by_its_digest(caller, application):
    ApplicationIcon.objects.create(application_key=application.key, digest="ab", media_type="image/png", content=b"x")

    record = caller.get(f"applications/{application.key}").json()
    assert (record["IconHash"], record["IconURL"]) == (
        "ab",
        f"http://testserver/applications/{application.key}/icon/ab/",
    )


def test_the_status_of_each_environment_is_complete(caller, application, pair):
    [record] = caller.get(f"applications/?{BOTH}").json()

    first, second = record["AppStatusInEnvs"]
    assert set(first) == STATUS
    base = application.versions.get(version="1.1")
    assert (
        first
        | {
            "EnvironmentKey": str(pair[0].key),
            "BaseApplicationVersionKey": str(base.key),
            "IsModified": True,
            "BaseApplicationVersionLabel": "1.1",
            "IsModifiedReason": "Module_Modified",
            "MobileAppsStatus": [],
        }
        == first
    )
    [module] = first["ModuleStatusInEnvs"]
    assert set(module) >= {
        "ApplicationKey",
        "EnvironmentKey",
        "ModuleVersionKey",
        "ConsistencyStatus",
        "ConsistencyStatusMessages",
    }
    assert (second["ConsistencyStatus"], second["ConsistencyStatusMessages"]) == ("Warning", "Outdated")
    assert (second["IsModified"], second["IsModifiedReason"], second["ModuleStatusInEnvs"]) == (False, "", [])
    zones = caller.get(f"environments/{pair[1].key}/deploymentzones").json()
    assert second["DeploymentZoneKey"] == zones[0]["Key"]
    assert caller.get(f"applications/{application.key}?{BOTH}").json() == record


def test_flags_are_taken_in_any_case_and_modules_need_the_status(caller, application):
    assert caller.get("applications?includeenvstatus=true").json()[0]["AppStatusInEnvs"]
    refused(caller.get("applications?IncludeModules=True"), 400, "IncludeEnvStatus")
    refused(caller.get("applications?IncludeEnvStatus=perhaps"), 400, "IncludeEnvStatus")


def test_an_application_in_an_environment_is_shown_with_that_one_only(caller, application, pair):
    path = f"environments/{pair[1].key}/applications"

    [only] = caller.get(f"{path}/{application.key}?{BOTH}").json()["AppStatusInEnvs"]
    assert only["EnvironmentKey"] == str(pair[1].key)
    [listed] = caller.get(f"{path}/?{BOTH}").json()
    assert listed["AppStatusInEnvs"] == [only]


def test_an_application_that_is_not_in_an_environment_is_not_found_there(caller, application):
    elsewhere = create_environment()

    refused(caller.get(f"environments/{elsewhere.key}/applications/{application.key}?{BOTH}"), 404, "not published")
    refused(caller.get(f"applications/{uuid4()}"), 404)
    assert caller.get(f"environments/{elsewhere.key}/applications").status_code == 204


def test_an_application_that_was_never_tagged_has_a_version_key_all_the_same(caller, pair):
    application = create_application()
    ApplicationStatus.objects.create(environment=pair[0], application=application, changed_at=timezone.now())

    [status] = caller.get(f"applications/{application.key}?{BOTH}").json()["AppStatusInEnvs"]
    key = status["BaseApplicationVersionKey"]
    version = caller.get(f"applications/{application.key}/versions/{key}?{NEITHER}").json()

    assert UUID(key)
    assert set(version) >= VERSION
    assert (version["Version"], version["CreatedOn"]) == ("0.0", "1900-01-01T00:00:00")
    assert caller.get(f"applications/{application.key}/versions").json() == []


def test_an_account_sees_what_its_role_lists():
    seen, unseen = create_environment(), create_environment()
    application = create_application()
    publish(application, seen)
    publish(application, unseen)
    publish(create_application("Hidden"), unseen)
    role = create_role(level=Level.LIST, environment=seen)
    RoleLevel.objects.create(role=role, environment=unseen, level=Level.ACCESS)
    caller = create_caller(role)

    [record] = caller.get("applications?IncludeEnvStatus=True").json()
    assert [one["EnvironmentKey"] for one in record["AppStatusInEnvs"]] == [str(seen.key)]
    refused(caller.get(f"environments/{unseen.key}/applications/{application.key}"), 404)


test_an_account_sees_what_its_role_lists = pytest.mark.django_db(test_an_account_sees_what_its_role_lists)


def test_applications_take_a_constant_number_of_queries(caller, application, pair, django_assert_num_queries):
    path = f"applications?{BOTH}"
    caller.get(path)
    with django_assert_num_queries(8) as few:
        caller.get(path)
    for environment in [create_environment() for _ in range(3)]:
        for name in ("B", "C"):
            one = Application.objects.filter(name=name).first() or create_application(name)
            publish(one, environment)
            give_module(one, environment, name)
    with django_assert_num_queries(len(few)):
        assert len(caller.get(path).json()) == 3


def test_a_mobile_application_tells_its_native_builds(caller, pair):
    application = create_application()
    Application.objects.update(kind="Mobile")
    publish(application, pair[0], is_modified=True)
    ApplicationVersion.objects.update(mobile_versions=[{"platform": "iOS", "version": "2.1", "description": "x"}])

    [status] = caller.get(f"applications/{application.key}?{BOTH}").json()["AppStatusInEnvs"]
    assert status["MobileAppsStatus"] == [
        {
            "EnvironmentKey": str(pair[0].key),
            "NativePlatform": "iOS",
            "VersionNumber": "2.1",
            "IsModified": True,
            "HasBinaryAvailable": False,
            "IsConfigured": False,
            "IsConfigurationChanged": False,
        }
    ]
    [version] = caller.get(f"applications/{application.key}/versions").json()
    assert version["MobileVersions"] == [{"NativePlatform": "iOS", "VersionNumber": "2.1", "VersionDescription": "x"}]


def test_versions_come_newest_first_five_unless_told_otherwise(caller, pair):
    application = create_application()
    for number in range(7):
        ApplicationVersion.objects.create(
            key=uuid4(),
            application=application,
            version=f"1.{number}",
            created_at=timezone.now(),
            change_log="Fix" if number == 3 else "",
        )
    path = f"applications/{application.key}/versions"

    assert [one["Version"] for one in caller.get(path).json()] == ["1.6", "1.5", "1.4", "1.3", "1.2"]
    assert len(caller.get(f"{path}/?MaximumVersionsToReturn=10").json()) == 7
    assert [one["Version"] for one in caller.get(f"{path}?ChangeLogFilter=fix").json()] == ["1.3"]
    refused(caller.get(f"{path}?MaximumVersionsToReturn=-1"), 400, "MaximumVersionsToReturn")


def test_one_version_has_every_field(caller, application, pair):
    version = application.versions.get(version="1.0")
    version.created_in = pair[0]
    version.save()
    ModuleVersion.objects.create(
        application_version=version,
        module_key=uuid4(),
        name="Core",
        version_key=uuid4(),
        hash="ab",
        created_at=timezone.now(),
    )
    path = f"applications/{application.key}/versions/{version.key}"

    record = caller.get(f"{path}?{BOTH}").json()

    assert set(record) >= VERSION
    assert (record["Version"], record["InUse"], record["EnvironmentKey"]) == ("1.0", True, str(pair[0].key))
    assert record["CreatedOn"].endswith("Z")
    [module] = record["ModuleVersions"]
    assert set(module) >= {
        "Key",
        "ModuleKey",
        "CreatedOn",
        "CreatedBy",
        "CreatedByUsername",
        "GeneralHash",
        "DirectUpgradeFromHash",
    }
    assert caller.get(f"{path}/?{NEITHER}").json()["ModuleVersions"] == []
    refused(caller.get(f"applications/{application.key}/versions/{uuid4()}"), 404, "no such version")
    refused(caller.get(f"applications/{create_application().key}/versions/{version.key}"), 404)


# Tagging, on a real platform


def tag(caller, environment, application, **body):
    return caller.post(f"environments/{environment.key}/applications/{application.key}/versions", body)


@pytest.mark.django_db(transaction=True)
def test_a_tag_is_answered_when_the_environment_has_made_it(development):
    caller = create_caller()
    application = Application.objects.get(name="Back Office")

    with working():
        response = tag(caller, development, application, Version="3.0.1", ChangeLog="Faster.", MobileVersions=None)

    assert response.status_code == 201
    key = response.json()["ApplicationVersionKey"]
    record = caller.get(f"applications/{application.key}/versions/{key}").json()
    assert (record["Version"], record["ChangeLog"], record["CreatedBy"]) == ("3.0.1", "Faster.", "pipeline")
    [status] = caller.get(f"applications/{application.key}?IncludeEnvStatus=True").json()["AppStatusInEnvs"]
    assert (status["BaseApplicationVersionKey"], status["IsModified"]) == (key, False)
    refused(tag(caller, development, application, Version="3.0.1"), 400, "has used 3.0.1 already")


@pytest.mark.django_db(transaction=True)
def test_a_tag_of_modules_that_are_there_no_more_is_refused(development):
    caller = create_caller()
    application = Application.objects.get(name="Back Office")
    path = f"applications/{application.key}?IncludeModules=True&IncludeEnvStatus=True"
    [status] = caller.get(path).json()["AppStatusInEnvs"]
    found = [one["ModuleVersionKey"] for one in status["ModuleStatusInEnvs"]]

    wanted = {"Version": "3.0", "ModuleVersionKeys": [*map(str.upper, found), ""]}
    other = {**wanted, "ModuleVersionKeys": [*found, str(uuid4())]}
    refused(tag(caller, development, application, **other), 400, "changed there meanwhile")
    with working():
        assert tag(caller, development, application, **wanted).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_a_version_that_was_made_elsewhere_is_read_when_somebody_asks_for_it(development, platform):
    caller = create_caller()
    application = Application.objects.get(name="Back Office")
    version = application.versions.get()
    assert not version.is_known

    with working():
        record = caller.get(f"applications/{application.key}/versions/{version.key}?{BOTH}").json()
    assert record["CreatedOn"] > "2020"
    assert record["ModuleVersions"]
    asked = len(platform.log())
    assert caller.get(f"applications/{application.key}/versions").json()[0]["CreatedOn"] == record["CreatedOn"]
    assert len(platform.log()) == asked


@pytest.mark.django_db(transaction=True)
def test_a_version_that_cannot_be_read_is_told_as_far_as_it_is_known(development, monkeypatch):
    monkeypatch.setattr(versions, "PATIENCE", 0.1)
    caller = create_caller()
    application = Application.objects.get(name="Back Office")
    for _ in range(2):  # nobody works; the second call does not ask again
        [record] = caller.get(f"applications/{application.key}/versions").json()
        assert record["CreatedOn"] == "1900-01-01T00:00:00"
    assert application.tasks.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_tag_goes_back_to_an_older_version(development):
    caller = create_caller()
    application = Application.objects.get(name="Back Office")
    with working():
        first = tag(caller, development, application, Version="3.0").json()["ApplicationVersionKey"]
        tag(caller, development, application, Version="3.1")
        back = tag(caller, development, application, Version="3.2", BaseVersionKey=first)
    assert back.status_code == 201, back.json()


@pytest.mark.django_db(transaction=True)
def test_a_tag_that_is_not_made_in_time_is_told(development, settings):
    settings.API_WAIT_SECONDS = 0.1
    application = Application.objects.get(name="Back Office")
    caller = create_caller()

    refused(tag(caller, development, application, version="3.0"), 500, "still going on", "do not repeat it")
    refused(tag(caller, development, application, version="3.1"), 400, "right now")


@pytest.mark.django_db(transaction=True)
def test_a_tag_that_fails_there_is_told_in_the_words_of_the_failure(development, platform):
    application = Application.objects.get(name="Back Office")
    platform.behave(fail="status:503", paths=[f"/applications/{application.key}/versions"])

    with working():
        refused(tag(create_caller(), development, application, version="3.0"), 500, "503")


@pytest.mark.django_db(transaction=True)
def test_maintenance_mode_that_comes_between_is_told(development, settings):
    application = Application.objects.get(name="Back Office")
    caller = create_caller()
    seen = []

    def enable(look, **_):
        seen.append(maintenance.enable(development, by=actor(), reason="Upgrade"))
        return look()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "until", enable)
        told = refused(tag(caller, development, application, version="3.0"), 400, "Upgrade", "Ada Lovelace")
    assert told["Code"] == "in_maintenance"
    assert told["Maintenance"][0]["EnvironmentName"] == "Development"


@pytest.mark.django_db(transaction=True)
def test_only_so_many_calls_wait_and_others_are_refused_before_anything_is_queued(development):
    from environments.models import ApplicationTask

    application = Application.objects.get(name="Back Office")
    with waiting.place(), waiting.place():
        response = tag(create_caller(), development, application, version="3.0")

    refused(response, 500, "Nothing was done")
    assert response.headers["Retry-After"] == "5"
    assert not ApplicationTask.objects.exists()


def test_tagging_needs_the_level_and_an_application_that_is_there(caller, application, pair):
    reader = create_caller(create_role(level=Level.OPEN), "reader")

    refused(tag(reader, pair[0], application, version="2.0"), 403, "Change and Deploy")
    refused(tag(caller, create_environment(), application, version="2.0"), 404)
    refused(tag(caller, pair[0], application), 400, "Version")
    refused(tag(caller, pair[0], application, version="1.2.3.4"), 400, "three numbers")
    with transaction.atomic():
        refused(tag(caller, pair[1], application, version="2.0"), 400, "no modules")
