"""Deployment plans by the API: made, validated, started, continued, aborted; and deployments of uploaded packages."""

import hashlib
import io
import json
import zipfile
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from deployments import packages, plans
from deployments.models import DeploymentPlan, ModuleReferences, PlanPackage, PlanPackagePart
from environments import blocking, maintenance
from environments.models import Application, ApplicationStatus, Environment
from environments.operations import Operation
from lifetime import policy
from lifetime.api import deployment_commands
from lifetime.models import ApplicationRole, Level, RoleLevel
from tests.deployments import scenes
from tests.deployments.factories import create_application, create_plan, create_route, publish, tag, validated
from tests.factories import actor, create_environment, create_user
from tests.lifetime.api.conftest import create_caller, refused, working
from tests.lifetime.factories import create_role
from tests.platforms import package

pytestmark = pytest.mark.django_db(transaction=True)

NEVER = "1900-01-01T00:00:00"
FIELDS = {
    *("Key", "SourceEnvironmentKey", "TargetEnvironmentKey", "DetailsURL", "Notes", "CreatedOn", "CreatedBy"),
    *("CreatedByUsername", "SavedOn", "SavedBy", "SavedByUsername", "StartedOn", "StartedBy", "StartedByUsername"),
    *("AbortedOn", "AbortedBy", "AbortedByUsername", "ApplicationOperations"),
}
DETAILS = {
    *("Deployment", "ApplicationsToDeploy", "ApplicationsToRedeploy", "ApplicationConflicts", "ModulesToDelete"),
}


@pytest.fixture
def caller(transactional_db):
    return create_caller()


@pytest.fixture
def route(transactional_db):
    """Two environments that nobody can reach, and an application with a version in the first."""
    source, target = create_route()
    application = create_application("Order Portal")
    return source, target, publish(application, source, number="1.0")


def wanted(source, target, *versions, **more):
    operations = [{"ApplicationVersionKey": str(one.key), "DeploymentZoneKey": ""} for one in versions]
    return {
        "ApplicationOperations": operations,
        "Notes": "By a pipeline",
        "SourceEnvironmentKey": str(source.key),
        "TargetEnvironmentKey": str(target.key),
        **more,
    }


def create(caller, *route, **more):
    response = caller.call("POST", "deployments", wanted(*route, **more))
    assert (response.status_code, response.headers["Content-Type"]) == (201, "text/plain; charset=utf-8"), (
        response.content
    )
    return response.content.decode()


def version_of(scene):
    return Application.objects.get(name="Hotel").versions.get(key=scene.first["key"])


def status(caller, key):
    return caller.get(f"deployments/{key}/status").json()


def ended(caller, key):
    scenes.wait_for(lambda: status(caller, key)["DeploymentStatus"] not in ("running", "aborting"))
    return status(caller, key)


def test_a_version_is_deployed_as_pipelines_do_it(scene, caller):
    version = version_of(scene)
    with working():
        key = create(caller, scene.source, scene.target, version)
        details = caller.get(f"deployments/{key}").json()
        assert set(details) >= DETAILS
        assert details["IsValidated"]
        assert details["ApplicationConflicts"] == []
        [application] = details["ApplicationsToDeploy"]
        assert (application["ApplicationName"], application["IsNew"]) == ("Hotel", True)
        assert [one["ModuleName"] for one in application["ModulesInBinary"]] == ["Hotel"]
        told = details["Deployment"]
        assert set(told) == FIELDS
        assert (told["Key"], told["Notes"], told["CreatedByUsername"]) == (key, "By a pipeline", "pipeline")
        assert told["SavedOn"] != NEVER
        assert (told["StartedOn"], told["StartedBy"], told["AbortedOn"]) == (NEVER, "", NEVER)
        assert told["ApplicationOperations"] == [
            {
                "ApplicationKey": str(version.application.key),
                "ApplicationVersionKey": str(version.key),
                "DeploymentOperation": "Deploy 1.0",
                "DeploymentZoneKey": "",
            }
        ]
        started = caller.post(f"deployments/{key}/start?RedeployOutdated=True")
        assert (started.status_code, started.content) == (202, b"")
        assert status(caller, key)["DeploymentStatus"] == "running"
        told = ended(caller, key)
    assert (told["DeploymentStatus"], told["Info"]) == ("finished_successful", "")
    assert set(told["DeploymentLog"][0]) == {"Instant", "Message", "Type"}
    assert {one["Type"] for one in told["DeploymentLog"]} == {"Info"}
    assert scene.production.page() == "<h1>Hotel 1</h1>"
    there = caller.get(f"environments/{scene.target.key}/applications/{version.application.key}?IncludeEnvStatus=True")
    assert there.json()["AppStatusInEnvs"][0]["BaseApplicationVersionKey"] == str(version.key)
    refused(caller.delete(f"deployments/{key}"), 400, "not been started")
    refused(caller.post(f"deployments/{key}/start"), 400, "cannot be started")
    refused(caller.post(f"deployments/{key}/abort"), 400, "cannot be aborted")
    refused(caller.post(f"deployments/{key}/continue"), 400, "does not wait")


@pytest.mark.parametrize("scene", [{"two_stage_deployments": True}], indirect=True)
def test_a_prepared_deployment_is_continued_and_the_next_one_aborted(scene, caller):
    with working():
        key = create(caller, scene.source, scene.target, version_of(scene))
        caller.get(f"deployments/{key}")
        caller.post(f"deployments/{key}/start")
        told = ended(caller, key)
        assert (told["DeploymentStatus"], told["Info"]) == ("needs_user_intervention", "deployment_prepared")
        assert [caller.post(f"deployments/{key}/continue").status_code for _ in range(2)] == [202, 202]
        assert ended(caller, key)["DeploymentStatus"] == "finished_successful"
        scene.publish()
        version = Application.objects.get(name="Hotel").versions.get(version="2.0")
        key = create(caller, scene.source, scene.target, version)
        assert caller.post(f"deployments/{key}/start").status_code == 202  # it waits for the validation by itself
        ended(caller, key)
        assert caller.post(f"deployments/{key}/abort").status_code == 202
        assert ended(caller, key)["DeploymentStatus"] == "aborted"
    assert scene.production.page() == "<h1>Hotel 1</h1>"


def test_the_list_tells_every_plan_but_drafts_newest_first(
    caller, route, django_assert_num_queries, django_assert_max_num_queries
):
    assert caller.get("deployments?MinDate=2026-01-01").status_code == 204
    source, target, version = route
    keys = [create(caller, source, target, version) for _ in range(3)]
    DeploymentPlan.objects.create(number=99_999, source=source, target=target, created_by="Ada")

    listed = caller.get("deployments").json()

    assert [one["Key"] for one in listed] == keys[::-1]
    assert all(set(one) == FIELDS and one["ApplicationOperations"] for one in listed)
    old = timezone.now() - timedelta(days=8)
    DeploymentPlan.objects.filter(key=keys[0]).update(created_at=old)
    assert len(caller.get("deployments").json()) == 2
    assert len(caller.get(f"deployments?MinDate={old:%Y-%m-%d}").json()) == 3
    until = old + timedelta(days=1)
    assert len(caller.get(f"deployments?mindate={old:%Y-%m-%d}&MaxDate={until:%Y-%m-%dT%H:%M:%SZ}").json()) == 1
    assert len(caller.get(f"deployments/?TargetEnvironmentKey={target.key}").json()) == 2
    assert caller.get(f"deployments?TargetEnvironmentKey={source.key}").status_code == 204
    DeploymentPlan.objects.filter(key=keys[0]).update(started_at=timezone.now())
    assert len(caller.get("deployments").json()) == 3
    refused(caller.get("deployments?MinDate=yesterday"), 400, "MinDate")
    with django_assert_max_num_queries(20) as few:
        caller.get("deployments")
        count = len(few)
    for _ in range(5):
        create(caller, source, target, version)
    with django_assert_num_queries(count):
        assert len(caller.get("deployments").json()) == 8


def test_a_plan_is_changed_and_discarded_until_it_is_started(caller, route):
    source, target, version = route
    other = publish(create_application("Field"), source, number="2.0")
    key = create(caller, source, target, version, other)

    response = caller.put(f"deployments/{key}", wanted(source, target, other, Notes="Less"))

    assert response.status_code == 200
    assert response.json()["Notes"] == "Less"
    assert [one["DeploymentOperation"] for one in response.json()["ApplicationOperations"]] == ["Deploy 2.0"]
    refused(caller.put(f"deployments/{key}", wanted(target, source, other)), 400, "source")
    refused(caller.put(f"deployments/{key}", wanted(source, target)), 400, "does nothing")
    assert DeploymentPlan.objects.get().operations.count() == 1
    assert caller.delete(f"deployments/{key}").status_code == 204
    assert not DeploymentPlan.objects.exists()
    refused(caller.get(f"deployments/{key}"), 404)
    refused(caller.delete(f"deployments/{key}"), 404)
    assert AuditEvent.objects.filter(message__startswith="Discarded deployment plan").exists()


def test_other_clients_write_small_letters_and_name_versions_only(caller, route):
    source, target, version = route
    body = {
        "applicationOperations": [{"applicationVersionKey": str(version.key)}],
        "notes": None,
        "sourceEnvironmentKey": str(source.key),
        "targetEnvironmentKey": str(target.key),
    }
    assert caller.post("deployments/", body).status_code == 201
    former = {
        "ApplicationVersionKeys": [str(version.key)],
        "Notes": "",
        "SourceEnvironmentKey": str(source.key),
        "TargetEnvironmentKey": str(target.key),
    }
    assert caller.call("POST", "/lifetimeapi/rest/v1/deployments", former).status_code == 201


def test_what_cannot_be_planned_is_refused_and_leaves_nothing(caller, route):
    source, target, version = route
    elsewhere = tag(create_application("Elsewhere"), "1.0")
    blocked = publish(create_application("Blocked"), source, number="1.0")
    blocking.block(target, blocked.application, by=actor(), reason="Not yet")
    for body, words in (
        (wanted(source, target), "name the versions to deploy"),
        (wanted(source, source, version), "same environment"),
        (wanted(source, target, elsewhere), "not in Development"),
        (wanted(source, target, version, version), "twice"),
        (wanted(source, target, version, blocked), "Blocked from deployment"),
        ({}, "Field required"),
    ):
        refused(caller.post("deployments", body), 400, words)
    gone = wanted(source, target, version) | {"SourceEnvironmentKey": str(uuid4())}
    refused(caller.post("deployments", gone), 404)
    assert not DeploymentPlan.objects.exists()


def test_maintenance_mode_refuses_from_the_first_call_on(caller, route):
    source, target, version = route
    saved = create(caller, source, target, version)
    window = maintenance.enable(target, by=actor(), reason="Disks", expected_end=timezone.now() + timedelta(hours=1))

    for response in (
        caller.post("deployments", wanted(source, target, version)),
        caller.put(f"deployments/{saved}", wanted(source, target, version)),
        caller.post(f"deployments/{saved}/start"),
        caller.post(f"deployments/{saved}/continue"),
        caller.post(f"deployments/{saved}/abort"),
        caller.delete(f"deployments/{saved}"),
        caller.post(f"environments/{target.key}/deployment", package()),
    ):
        told = refused(response, 400, "Disks", "Ada Lovelace", target.name)
        assert told["Code"] == "in_maintenance"
        assert [one["EnvironmentKey"] for one in told["Maintenance"]] == [str(target.key)]
        assert 3500 < int(response.headers["Retry-After"]) <= 3600
    assert [str(one.key) for one in DeploymentPlan.objects.all()] == [saved]
    assert caller.get("deployments").status_code == 200
    assert status(caller, saved)["DeploymentStatus"] == "saved"
    assert window.reason == "Disks"


def test_who_may_not_is_told_so_and_who_does_not_see_finds_nothing(caller, route):
    source, target, version = route
    key = create(caller, source, target, version)
    stranger = create_caller(create_role(level=Level.NO_ACCESS), username="stranger")
    refused(stranger.get(f"deployments/{key}"), 404)
    refused(stranger.post("deployments", wanted(source, target, version)), 404)
    assert stranger.get("deployments").status_code == 204
    reader = create_caller(create_role(level=Level.LIST), username="reader")
    assert reader.get(f"deployments/{key}/status").status_code == 200
    for command in ("start", "continue", "abort"):
        refused(reader.post(f"deployments/{key}/{command}"), 403, "Change and Deploy Applications")
    refused(reader.post(f"environments/{target.key}/deployment", package()), 403, "Change and Deploy Applications")
    draft = DeploymentPlan.objects.create(number=99_999, source=source, target=target, created_by="Ada")
    refused(caller.get(f"deployments/{draft.key}"), 404)


def test_nothing_is_started_but_what_the_account_was_found_to_be_allowed(route, monkeypatch):
    source, target, version = route
    production = create_environment(name="Production")
    role = create_role(level=Level.CHANGE)
    RoleLevel.objects.filter(role=role, environment=production).update(level=Level.ACCESS)
    plan = validated(create_plan(source, target, applications=[version.application]))

    def change_meanwhile(found):
        """What another call of the account does between this one's look at the plan and its start."""
        changed = plans.change_target(found, production, by=actor(), revision=found.revision)
        validated(changed)

    monkeypatch.setattr(deployment_commands, "_refuse_not_validated", change_meanwhile)
    refused(create_caller(role, "pipeline").post(f"deployments/{plan.key}/start"), 400, "was changed")

    plan.refresh_from_db()
    assert (plan.target, plan.status) == (production, "saved")


def test_a_plan_that_could_not_be_validated_has_that_as_a_conflict(caller, route):
    with working():
        key = create(caller, *route[:2], route[2])
        details = caller.get(f"deployments/{key}").json()
        assert not details["IsValidated"]
        [conflict] = details["ApplicationConflicts"]
        assert "could not be validated" in conflict["Message"]
        refused(caller.post(f"deployments/{key}/start"), 400, "could not be validated")


def test_only_errors_are_conflicts_and_who_knows_them_may_go_on(scene, caller):
    consumes = [
        {
            "module_key": str(uuid4()),
            "module_name": "Rates",
            "application_key": str(uuid4()),
            "application_name": "Rates",
            "elements": [{"name": "GetRate", "kind": "Action", "signature": "a1"}],
        }
    ]
    made = scene.development.publish_web(
        "Golf", page="golf", tag="1.0", modules=[{"name": "Golf", "consumes": consumes}]
    )
    scenes.synchronize(scene.source)
    version = Application.objects.get(name="Golf").versions.get(key=made["key"])
    with working():
        key = create(caller, scene.source, scene.target, version)
        [conflict] = caller.get(f"deployments/{key}").json()["ApplicationConflicts"]
        assert conflict["ModuleConflict"]["ConflictType"] == "Producer Module Missing"
        assert conflict["ModuleConflict"]["TotalRequiredElements"] == 1
        assert conflict["ConsumerApplicationOperation"]["DeploymentOperation"] == "Deploy 1.0"
        assert conflict["ProducerApplicationOperation"] is None
        refused(caller.post(f"deployments/{key}/start?RedeployOutdated=False"), 400, "Validation found errors")
        started = caller.post(f"deployments/{key}/start?RedeployOutdated=False&ContinueWithErrors=True")
        assert started.status_code == 202
        assert ended(caller, key)["DeploymentStatus"] == "finished_with_errors"


def test_site_properties_are_given_with_the_plan(scene, caller):
    properties = [{"name": "Address", "data_type": "Text"}]
    made = scene.development.publish_web(
        "Golf", page="golf", tag="1.0", modules=[{"name": "Golf", "site_properties": properties}]
    )
    scenes.synchronize(scene.source)
    version = Application.objects.get(name="Golf").versions.get(key=made["key"])
    with working():
        key = create(caller, scene.source, scene.target, version)
        assert caller.get(f"deployments/{key}/getmissingdbmappings").status_code == 204
        [module] = caller.get(f"deployments/{key}").json()["ApplicationsToDeploy"][0]["ModulesInBinary"]
        given = {"ModuleKey": module["ModuleKey"], "Name": "Address", "Value": "x@example.org"}
        body = [{"ApplicationKey": str(version.application.key), "SiteProperties": [given]}]
        assert caller.post(f"deployments/{key}/start").status_code == 202
        told = ended(caller, key)
        assert told["Info"] == "needs_configuration_or_confirmation"
        refused(caller.post(f"deployments/{key}/configuration", []), 400, "Nothing was given")
        mapping = [{"ExtensionKey": str(uuid4()), "DBMapping": [{"DatabaseName": "a", "LogicalDatabaseName": "b"}]}]
        refused(caller.post(f"deployments/{key}/configuration", mapping), 400, "no logical databases")
        assert caller.post(f"deployments/{key}/configuration", body).status_code == 200
        assert ended(caller, key)["DeploymentStatus"] == "finished_successful"


# Uploaded packages


def upload(caller, environment, content):
    return caller.post(f"environments/{environment.key}/deployment", content)


def solution(*contents):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("solution.json", json.dumps({"name": "Both"}))
        for number, content in enumerate(contents):
            archive.writestr(f"packages/{number}.oap", content)
    return stream.getvalue()


def test_an_uploaded_package_is_deployed_and_forgotten(scene, caller):
    content = package("Golf", "2.0", web={"index.html": b"golf", "big.bin": hashlib.shake_128(b"x").digest(2_500_000)})
    with working():
        response = upload(caller, scene.target, content)
        assert response.status_code == 201, response.content
        key = response.content.decode()
        assert PlanPackagePart.objects.count() == 3
        details = caller.get(f"deployments/{key}").json()
        assert details["IsValidated"], details
        assert details["ApplicationConflicts"] == []
        assert details["Warnings"] == []
        assert details["Deployment"]["SourceEnvironmentKey"] == ""
        [application] = details["ApplicationsToDeploy"]
        assert [one["ModuleName"] for one in application["ModulesInBinary"]] == ["Golf"]
        refused(
            caller.put(f"deployments/{key}", wanted(scene.source, scene.target, version_of(scene))), 400, "uploaded"
        )
        assert caller.post(f"deployments/{key}/start").status_code == 202
        told = ended(caller, key)
    assert told["DeploymentStatus"] == "finished_successful", told
    assert scene.production.page("Golf") == "golf"
    assert ApplicationStatus.objects.get(environment=scene.target, application__name="Golf").version == "2.0"
    assert AuditEvent.objects.filter(message__startswith="Uploaded packages of Golf 2.0").exists()
    packages.tidy()
    assert PlanPackage.objects.exists()
    assert not PlanPackagePart.objects.exists()


def test_a_solution_is_deployed_as_one_plan_and_bytes_that_are_gone_abort_it(scene, caller):
    content = solution(package("Golf", "1.0"), package("Tennis", "1.0"))
    with working():
        key = upload(caller, scene.target, content).content.decode()
        assert caller.post(f"deployments/{key}/start").status_code == 202
        assert ended(caller, key)["DeploymentStatus"] == "finished_successful"
        key = upload(caller, scene.target, package("Golf", "1.1")).content.decode()
        PlanPackage.objects.filter(plan__key=key).update(kept_at=timezone.now() - timedelta(hours=97))
        packages.tidy()
        assert caller.post(f"deployments/{key}/start").status_code == 202
        told = ended(caller, key)
    assert told["DeploymentStatus"] == "aborted"
    assert "Upload it again" in " ".join(one["Message"] for one in told["DeploymentLog"])
    assert {scene.production.version("Golf"), scene.production.version("Tennis")} == {"1.0"}


def test_people_see_the_plan_of_an_uploaded_package_and_run_it(scene, caller, client):
    client.force_login(create_user())
    with working():
        key = upload(caller, scene.target, package("Golf")).content.decode()
        caller.get(f"deployments/{key}")  # it is validated by now
        review = client.get(f"/plans/{key}/review/")
        assert review.status_code == 200
        assert "Golf" in review.content.decode()
        for path in ("/plans/", f"/plans/{key}/settings/", f"/plans/{key}/edit/", f"/plans/{key}/"):
            assert client.get(path).status_code in (200, 302), path
        plan = DeploymentPlan.objects.get(key=key)
        values = {"revision": plan.revision, "label": "By hand", "notes": ""}
        assert client.post(f"/plans/{key}/start/", values).status_code == 302
        assert ended(caller, key)["DeploymentStatus"] == "finished_successful"
        progress = client.get(f"/plans/{key}/progress/")
        assert progress.status_code == 200
    assert scene.production.page("Golf") == "<h1>Hotel</h1>"


def test_an_uploaded_package_is_validated_by_what_it_says(scene, caller):
    use = {"module_key": str(uuid4()), "module_name": "Rates", "application_key": str(uuid4())}
    use |= {"application_name": "Rates", "elements": [{"name": "GetRate", "kind": "Action", "signature": "a1"}]}
    with working():
        key = upload(caller, scene.target, package("Golf", modules=[{"name": "Golf", "consumes": [use]}]))
        details = caller.get(f"deployments/{key.content.decode()}").json()
        assert [one["ModuleConflict"]["ConflictType"] for one in details["ApplicationConflicts"]] == [
            "Producer Module Missing"
        ]
        assert not ModuleReferences.objects.filter(module_name="Golf").exists()  # it is taken for nothing else
        assert caller.delete(f"deployments/{key.content.decode()}").status_code == 204
    assert not PlanPackagePart.objects.exists()


def test_what_nobody_knows_yet_is_deployed_by_default_roles_only(route, caller):
    _, target, version = route
    plan = DeploymentPlan.objects.get(key=upload(caller, target, package("Golf")).content.decode())
    person = create_user(role=create_role(level=Level.LIST))
    ApplicationRole.objects.create(user=person, application=version.application, role=create_role(level=Level.CHANGE))
    assert policy.may(person, Operation.DEPLOY, target)
    decision = policy.may_on_plan(person, Operation.DEPLOY, plan)
    assert not decision
    assert "for Golf" in decision.reason
    assert policy.may_on_plan(create_user(), Operation.DEPLOY, plan)


def test_what_came_without_a_plan_is_forgotten(route):
    PlanPackage.objects.create(application_key=uuid4(), digest="sha256:0", size=1)
    packages.tidy()
    assert PlanPackage.objects.exists()
    PlanPackage.objects.update(kept_at=timezone.now() - timedelta(hours=2))
    packages.tidy()
    assert not PlanPackage.objects.exists()


def zipped(**entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


BAD = {
    "nothing": (b"", "did not arrive"),
    "no zip": (b"x" * 100, "no package"),
    "cut off": (package()[:-10], "no package"),
    "empty zip": (zipped(), "neither a package"),
    "no manifest": (zipped(readme="x"), "neither a package"),
    "no json": (zipped(**{"manifest.json": "{"}), "no JSON"),
    "deep json": (zipped(**{"manifest.json": "[" * 200_000}), "no JSON"),
    "half a pair": (package(files={"web/\ud800": {"digest": f"sha256:{'0' * 64}", "bytes": 1}}), "no JSON"),
    "no version": (package(version=None), "version"),
    "format": (package(format=2), "format"),
    "outside": (package(raw={"../evil": b"x"}), "leads out"),
    "elsewhere": (package(raw={"other/file": b"x"}), "neither"),
    "unlisted": (package(raw={"web/more.html": b"x"}), "differ"),
    "bomb": (package(raw={"web/bomb": bytes(3_000_000)}), "times its size"),
    "twice": (solution(package("Golf", "1.0"), package("Golf", "1.1")), "twice"),
    "number": (package("Golf", "1.0.0.0.1"), "numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_package_leaves_nothing(caller, route, name):
    content, words = BAD[name]
    refused(upload(caller, route[1], content), 400, words)
    assert not DeploymentPlan.objects.exists()
    assert not PlanPackage.objects.exists()


def test_a_package_that_is_too_large_is_not_read(caller, route, settings):
    settings.API_LARGEST_UPLOAD = 1000
    refused(upload(caller, route[1], bytes(1001)), 400, "too large")
    assert Environment.objects.count() == 2
