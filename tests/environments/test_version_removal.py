"""Removing a version: what stands in its way, who is asked, and what the console knows afterwards."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEvent
from deployments import editing, plans
from deployments.choices import Choice
from deployments.models import DeploymentPlan, OperationKind
from environments import gate, maintenance, tagging, tasks, version_removal
from environments.application_tasks import TaskRefused
from environments.models import ApplicationStatus, ApplicationTask, ApplicationVersion
from lifetime.models import Level, RoleLevel
from tests.deployments.factories import create_application, create_plan, create_route
from tests.deployments.factories import publish as publish_in
from tests.deployments.factories import tag as tag_in
from tests.environments.test_tagging import application, development, platform, tag, work  # noqa: F401
from tests.factories import actor, create_environment, create_user
from tests.lifetime.api.conftest import create_caller, refused, working
from tests.lifetime.factories import create_role

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def version(development, application):  # noqa: F811
    """Tagged, and replaced by a newer one."""
    first = work(tag(development, application, "3.0"))
    work(tag(development, application, "3.1"))
    return ApplicationVersion.objects.get(key=first.key)


def test_a_version_is_removed_there_and_here(platform, development, application, version):  # noqa: F811
    caller = create_caller()
    path = f"applications/{application.key}/versions/{version.key}"
    newest = application.versions.get(version="3.1")
    refused(caller.delete(f"applications/{application.key}/versions/{newest.key}"), 400, "runs in Development")

    with working():
        assert caller.delete(f"{path}/").status_code == 204

    assert not application.versions.filter(version="3.0").exists()
    kept = {one["key"] for one in platform.versions(str(application.key), address=platform.address)}
    assert str(version.key) not in kept
    assert str(newest.key) in kept
    refused(caller.delete(path), 404, "no such version")
    said = set(AuditEvent.objects.filter(message__contains="3.0 of application").values_list("message", flat=True))
    assert said == {
        "Requested removal of version 3.0 of application 'Back Office'",
        "Removed version 3.0 of application 'Back Office' in environment 'Development'",
        "Version 3.0 of application 'Back Office' is removed",
    }


def test_who_may_not_tag_does_not_remove(application, version):  # noqa: F811
    reader = create_caller(create_role(level=Level.OPEN), "reader")
    refused(reader.delete(f"applications/{application.key}/versions/{version.key}"), 403, "Change and Deploy")
    assert not ApplicationTask.objects.filter(kind="remove_version").exists()


def test_an_environment_that_is_not_seen_is_not_named(development, application, version):  # noqa: F811
    hidden = create_environment(name="Secret")
    status = ApplicationStatus.objects.get(application=application)
    status.pk, status.environment = None, hidden
    status.save()
    maintenance.enable(hidden, by=actor(), reason="Upgrade of Secret")
    role = create_role(level=Level.CHANGE, environment=development)
    RoleLevel.objects.create(role=role, environment=hidden, level=Level.ACCESS)
    path = f"applications/{application.key}/versions/{version.key}"

    told = refused(create_caller(role, "blind").delete(path), 403, "in an environment that you do not see")
    assert "Secret" not in str(told)


def test_maintenance_mode_refuses(platform, development, application, version):  # noqa: F811
    caller = create_caller()
    maintenance.enable(development, by=actor(), reason="Upgrade")
    asked = len(platform.log())

    refused(caller.delete(f"applications/{application.key}/versions/{version.key}"), 400, "Tagging", "Upgrade")
    with pytest.raises(gate.InMaintenance):
        version_removal.request(version, by=actor())
    assert not ApplicationTask.objects.filter(kind="remove_version").exists()
    assert len(platform.log()) == asked


def test_a_version_stays_until_every_environment_has_removed_it(platform, development, application, version):  # noqa: F811
    elsewhere = create_environment(name="Quality")
    status = ApplicationStatus.objects.get(application=application)
    status.pk, status.environment = None, elsewhere
    status.save()

    here, there = sorted(version_removal.request(version, by=actor()), key=lambda task: task.environment_id)
    tasks.work_on_application(here.pk)
    assert application.versions.filter(key=version.key).exists()
    ApplicationStatus.objects.filter(environment=elsewhere).delete()
    again = version_removal.request(version, by=actor())
    assert [task.environment for task in again] == [development]
    work(again[0])  # it has removed it already
    assert not application.versions.filter(key=version.key).exists()
    assert there.environment == elsewhere


def test_a_failure_is_told_and_audited(platform, application, version):  # noqa: F811
    platform.behave(fail="status:503", paths=[f"/applications/{application.key}/versions/{version.key}"])
    with working():
        refused(create_caller().delete(f"applications/{application.key}/versions/{version.key}"), 500, "503")
    assert application.versions.filter(key=version.key).exists()
    [event] = AuditEvent.objects.filter(message__startswith="Did not remove version 3.0")
    assert not event.succeeded


def test_what_a_plan_uses_that_has_not_ended_stays():
    source, target = create_route()
    in_plan = create_application()
    version = publish_in(in_plan, source, number="1.0")
    plan = create_plan(source, target, applications=[in_plan])
    publish_in(in_plan, source, number="2.0")

    with pytest.raises(TaskRefused, match=f"plan #{plan.number} uses it"):
        version_removal.request(version, by=actor())


def test_what_is_being_removed_is_neither_planned_nor_built_on():
    source, target = create_route()
    old, other = create_application("Old"), create_application("Other")
    version = publish_in(old, source, number="1.0")
    for one in (old, other):
        publish_in(one, source, number="2.0")
    plan = create_plan(source, target, applications=[other])
    [task] = version_removal.request(version, by=actor("Ada Lovelace"))
    choice = Choice(application_key=old.key, kind=OperationKind.DEPLOY, version_key=version.key)
    told = "Ada Lovelace is removing version 1.0 of Old since"

    with pytest.raises(plans.PlanRefused, match=told):
        plans.create(source, target, by=actor(), choices=[choice])
    with pytest.raises(plans.PlanRefused, match=told):
        plans.change(plan, [choice], by=actor(), revision=plan.revision)
    with pytest.raises(TaskRefused, match=told):
        tagging.request(source, old, tagging.Wanted(version="3.0", base_version_key=version.key), by=actor())
    assert [one.application for one in plan.operations.all()] == [other]

    ApplicationTask.objects.filter(pk=task.pk).update(status="failed", ended_at=timezone.now())
    plans.create(source, target, by=actor(), choices=[choice])
    with pytest.raises(TaskRefused, match="uses it"):
        version_removal.request(version, by=actor())


@pytest.mark.parametrize("first", ["plan", "removal"])
def test_a_plan_and_a_removal_at_once_are_one_of_them(first):
    """Whoever comes second waits for the rows of the source, then sees what the first has done."""
    source, target = create_route()
    hotel = create_application()
    version = publish_in(hotel, source, number="1.0")
    publish_in(hotel, source, number="2.0")
    choice = Choice(application_key=hotel.key, kind=OperationKind.DEPLOY, version_key=version.key)

    def plan():
        plans.create(source, target, by=actor(), choices=[choice])

    def remove():
        version_removal.request(version, by=actor())

    def second(do, began):
        began.set()
        try:
            do()
        except gate.Refused as refusal:
            return str(refusal)
        finally:
            connections.close_all()

    began = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            plan() if first == "plan" else remove()
            late = pool.submit(second, remove if first == "plan" else plan, began)
            assert began.wait(5)
            time.sleep(0.1)
            assert not late.done()
        refusal = late.result(10)

    assert ("uses it" if first == "plan" else "is removing version 1.0") in refusal
    assert (DeploymentPlan.objects.count(), ApplicationTask.objects.count()) == ((1, 0) if first == "plan" else (0, 1))


def test_a_version_that_is_gone_when_the_plan_is_made_is_a_refusal(monkeypatch):
    source, target = create_route()
    hotel = create_application("Hotel")
    version = publish_in(hotel, source, number="1.0")
    choice = Choice(application_key=hotel.key, kind=OperationKind.DEPLOY, version_key=version.key)
    prepared = editing.prepared

    def then_it_goes(*arguments):
        operations = prepared(*arguments)
        ApplicationVersion.objects.filter(pk=version.pk).delete()
        return operations

    monkeypatch.setattr(editing, "prepared", then_it_goes)

    with pytest.raises(plans.PlanRefused, match="was removed meanwhile"):
        plans.create(source, target, by=actor(), choices=[choice])
    assert not DeploymentPlan.objects.exists()


def test_people_remove_a_version_on_the_page(client, platform, development, application, version):  # noqa: F811
    page = application.get_absolute_url()
    remove, dialog = (
        reverse(f"applications:remove-version{of}", args=[application.key, version.key]) for of in ("", "-dialog")
    )
    client.force_login(create_user(name="Ada Lovelace"))

    assert dialog in client.get(page).content.decode()
    asked = client.get(dialog, headers={"HX-Request": "true"}).content.decode()
    assert "Remove version 3.0 of Back Office?" in asked
    assert "Development is asked to forget it" in asked
    assert client.post(remove).status_code == 302
    html = client.get(page).content.decode()
    assert "Being removed" in html
    assert "Removing a version 3.0: queued" in html
    rows = reverse("applications:version-rows", args=[application.key])
    assert f'hx-get="{rows}"' in html
    assert f'hx-get="{rows}?all=1"' in client.get(f"{rows}?all=1").content.decode()
    work(ApplicationTask.objects.get(kind="remove_version"))
    assert rows not in client.get(rows).content.decode()  # it asks no more
    assert "Removing a version 3.0: done" in client.get(page).content.decode()
    assert client.post(remove).status_code == 404

    newest = application.versions.get(version="3.1")
    for answer in (
        client.get(dialog.replace(str(version.key), str(newest.key)), headers={"HX-Request": "true"}),
        client.post(remove.replace(str(version.key), str(newest.key))),
    ):
        assert "3.1 is in use and cannot be removed: it runs in Development." in answer.content.decode()
        assert "Remove Version" not in answer.content.decode()
    assert ApplicationTask.objects.filter(kind="remove_version").count() == 1


def test_the_control_is_greyed_with_the_reason(client, development, application, version):  # noqa: F811
    history = reverse("applications:versions", args=[application.key])
    remove = reverse("applications:remove-version", args=[application.key, version.key])

    reader = create_user(name="Reader", role=create_role("Readers", level=Level.OPEN))
    client.force_login(reader)
    assert "needs “Change and Deploy Applications”" in client.get(history).content.decode()
    assert client.post(remove).status_code == 403
    client.force_login(create_user(name="Ada Lovelace"))
    maintenance.enable(development, by=actor("Grace Hopper"), reason="New disks")
    html = client.get(history).content.decode()
    assert "Grace Hopper enabled it: “New disks”" in html
    assert reverse("applications:remove-version-dialog", args=[application.key, version.key]) not in html
    assert client.post(remove).status_code == 409
    assert not ApplicationTask.objects.filter(kind="remove_version").exists()


def test_any_number_of_versions_costs_as_many_queries(client, django_assert_num_queries):
    hotel, environments = create_application("Hotel"), create_route()
    publish_in(hotel, environments[0], number="9.0")
    tag_in(hotel, "1.0")
    client.force_login(create_user())
    path = reverse("applications:versions", args=[hotel.key])
    client.get(path)
    with CaptureQueriesContext(connection) as few:
        client.get(path)
    for number in range(20):
        tag_in(hotel, f"2.{number}", created_in=environments[number % 2])
    with django_assert_num_queries(len(few)):
        assert client.get(path).content.decode().count("/remove/dialog/") == 22
