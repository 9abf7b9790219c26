"""Going back to an older version, icons, security of an application, and the timeline, in a browser."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from deployments.models import DeploymentPlan
from environments import sync, tagging, tasks
from environments.models import Application, ApplicationTask, Environment, MaintenanceWindow, SyncRun
from lifetime.models import Team, TeamApplication
from tests.browser.test_applications import check
from tests.browser.test_environments import work
from tests.environments.test_icons import png
from tests.factories import actor, create_environment, create_user
from tests.platforms import Platform


@pytest.fixture
def server(tmp_path):
    with Platform.start(tmp_path / "platform", name="Development") as started:
        for number in ("0.1", "0.2", ""):
            modules = [{"name": name, "description": number} for name in ("TwoLogic", "TwoUi")]
            application = started.publish(name="Two Modules", kind="WebResponsive", modules=modules)
            if number:
                started.tag(application["key"], number)
        yield started


@pytest.fixture
def development(server):
    environment = create_environment(platform=server, name="Development", sync_interval=3600)
    work(sync.run, [sync.request(environment, by=actor()).pk])
    return environment


def carry_out(kind):
    work(tasks.work_on_application, ApplicationTask.objects.filter(kind=kind).latest("pk").pk)


def history(environment):
    now = timezone.now()
    other = create_environment(name="Test")
    statuses = ["finished_successful", "finished_with_warnings", "finished_with_errors", "aborted", "running"]
    for number, status in enumerate(statuses, start=1):
        began = now - timedelta(hours=25 * number)
        ended = None if status == "running" else began + timedelta(hours=number * 4)
        over = {"aborted_at": ended, "aborted_by": "Ana"} if status == "aborted" else {}
        DeploymentPlan.objects.create(
            number=900 + number, source=other, target=environment, status=status, started_at=began, started_by="Ana",
            ended_at=ended, created_by="Ana", **over,
        )  # fmt: skip
    for days in (1, 4):
        MaintenanceWindow.objects.create(
            environment=environment, status="ended", epoch=1, enabled_at=now - timedelta(days=days, hours=7),
            enabled_by="Grace Hopper", reason="Upgrade of the platform to 11.29, ticket OPS-1742",
            quiet_at=now - timedelta(days=days, hours=6), disabled_at=now - timedelta(days=days), disabled_by="Grace",
            disable_reason="Done", recovered_at=now - timedelta(days=days, hours=-1),
        )  # fmt: skip
    SyncRun.objects.create(
        environment=environment, trigger="schedule", status="failed", requested_at=now - timedelta(days=2, hours=9),
        ended_at=now - timedelta(days=2), message="It does not answer.", requested_by="System",
    )  # fmt: skip


def test_going_back_to_an_older_version_and_creating_with_an_icon(signed_in_page, visit, development, tmp_path):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme="light"))
    two = Application.objects.get(name="Two Modules")
    team = Team.objects.create(name="Claims")
    TeamApplication.objects.create(team=team, application=two)
    work(tasks.work_on_application, tagging.request_versions(development, two, by=actor()).pk)

    visit(two.get_absolute_url())
    page.get_by_role("button", name="Tag Version Development").click()
    page.get_by_label("Description").fill("Typed before the base was chosen.")
    expect(page.get_by_label("Version", exact=True)).to_have_value("0.3")
    page.get_by_label("Based on").select_option("0.1")
    expect(page.get_by_label("Version", exact=True)).to_have_value("0.1.1")
    expect(page.get_by_label("Description")).to_have_value("Typed before the base was chosen.")
    page.get_by_text("Pick single modules").click()
    page.get_by_label("TwoLogic").select_option("as in 0.2")
    check(page, "dialog-tag-base")
    page.get_by_role("button", name="Tag Version", exact=True).click()
    expect(page.get_by_text("is being tagged in Development as 0.1.1")).to_be_visible()
    carry_out("tag")
    assert two.versions.get(version="0.1.1").change_log == "Typed before the base was chosen."

    visit(reverse("applications:create-in", args=[development.key]))
    page.get_by_role("button", name="Read templates").click()
    carry_out("read_templates")
    expect(page.get_by_label("Name")).to_be_visible()
    page.get_by_label("Reactive Web App").check()
    page.get_by_label("Name").fill("Claims Portal")
    page.get_by_label("Violet").check()
    picture = tmp_path / "icon.png"
    picture.write_bytes(png(64, 64))
    page.get_by_label("Icon").set_input_files(picture)
    check(page, "application-create-icon")
    page.get_by_role("button", name="Create Application").click()
    carry_out("create")

    visit("/applications/")
    expect(page.locator("img.application-icon")).to_have_count(1)
    check(page, "applications-icons")
    page.get_by_label("Team", exact=True).select_option("Claims")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("link", name="Two Modules")).to_be_visible()
    expect(page.get_by_role("link", name="Back Office")).to_have_count(0)


def test_security_of_an_application_and_the_timeline(signed_in_page, visit, development):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme="dark"))
    two = Application.objects.get(name="Two Modules")
    visit(reverse("applications:security", args=[two.key, development.key]))
    expect(page.get_by_text("were not read yet")).to_be_visible()
    page.get_by_role("button", name="Read the settings").click()
    carry_out("read_security")
    expect(page.get_by_label("img-src")).to_be_visible()
    page.get_by_label("A policy of its own").check()
    page.get_by_label("img-src").fill("'self'\ndata:\nhttps://cdn.example.com; script-src *")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("which would begin another directive")).to_be_visible()
    check(page, "application-security-own")
    page.get_by_label("img-src").fill("'self'\ndata:\nhttps://cdn.example.com")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("is being changed in Development")).to_be_visible()
    carry_out("change_security")
    expect(page.get_by_text("Changing the security settings: done")).to_be_visible()

    history(Environment.objects.get(pk=development.pk))
    visit(reverse("environments:timeline", args=[development.key]))
    expect(page.get_by_role("img", name="Timeline of Development")).to_be_visible()
    check(page, "timeline")
    page.get_by_role("link", name="Earlier").click()
    expect(page.get_by_role("link", name="Later")).to_be_visible()
    visit("/audit/")
    expect(page.get_by_role("link", name="Download XLSX")).to_be_visible()
