"""The pages about applications in a browser: both themes, narrow and wide, by keyboard alone."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from environments import maintenance, sync, tasks
from environments.models import Application, ApplicationStatus, ApplicationTask, Environment, SyncState
from lifetime.models import Team
from tests.browser.conftest import assert_accessible, assert_no_sideways_scrolling, screenshot
from tests.browser.test_environments import NARROW, THEMES, WIDE, work
from tests.factories import actor, create_environment, create_user
from tests.platforms import Platform


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Platform.start(tmp_path_factory.mktemp("platform"), name="Development") as started:
        yield started


@pytest.fixture
def environments(server):
    """In sync; in maintenance, with a hotfix and broken references; unreachable, with nothing."""
    development = create_environment(platform=server, name="Development", sync_interval=3600)
    run = sync.request(development, by=actor())
    work(sync.run, [run.pk])
    test = create_environment(name="Acceptance", purpose="Test")
    for number, application in enumerate(Application.objects.order_by("name")):
        ApplicationStatus.objects.create(
            environment=test,
            application=application,
            version=["1.0", "9.9"][number % 2],
            is_modified=number % 4 == 2,
            consistency="Error" if number == 0 else "",
            consistency_message="Uses GetOrder of Order Service, which is not there." if number == 0 else "",
            changed_at=timezone.now() - timedelta(days=number),
            changed_by="Ana Ferreira",
        )
    maintenance.enable(test, by=actor("Grace Hopper"), reason="Upgrade of the platform to 11.29, ticket OPS-1742")
    production = create_environment(name="Production", purpose="Production")
    SyncState.objects.filter(environment=production).update(
        failures=3, unreachable_since=timezone.now() - timedelta(minutes=12), message="It does not answer."
    )
    return {one.name: one for one in Environment.objects.select_related("maintenance_window")}


def check(page, name):
    page.set_viewport_size(WIDE)
    assert_accessible(page)
    assert_no_sideways_scrolling(page)
    screenshot(page, name)
    page.set_viewport_size(NARROW)
    assert_no_sideways_scrolling(page)
    assert_accessible(page)
    screenshot(page, f"{name}-narrow")
    page.set_viewport_size({"width": 1280, "height": 800})


@pytest.mark.parametrize("theme", THEMES)
def test_pages_are_accessible(signed_in_page, visit, environments, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    visit("/applications/")
    expect(page.get_by_role("link", name="Back Office")).to_be_visible()
    check(page, f"applications-{theme}")
    visit("/applications/?name=nothing")
    check(page, f"applications-nothing-{theme}")
    visit("/applications/filters/create/")
    check(page, f"filter-{theme}")
    application = Application.objects.get(name="Back Office")
    visit(application.get_absolute_url())
    check(page, f"application-{theme}")
    visit(reverse("applications:versions", args=[application.key]))
    check(page, f"versions-{theme}")
    development = environments["Development"]
    Team.objects.create(name="Claims")
    visit(reverse("applications:settings", args=[application.key, development.key]))
    page.get_by_role("button", name="Read the settings").click()
    work(tasks.work_on_application, ApplicationTask.objects.get(kind="read_settings").pk)
    expect(page.get_by_role("textbox").first).to_be_visible()
    check(page, f"application-settings-{theme}")
    visit(reverse("applications:logs", args=[application.key, development.key]))
    page.get_by_role("button", name="Read the log").click()
    work(tasks.work_on_application, ApplicationTask.objects.get(kind="read_logs").pk)
    expect(page.get_by_text("Reading the logs: done")).to_be_visible()
    check(page, f"application-log-{theme}")
    visit(reverse("applications:create"))
    check(page, f"application-create-{theme}")
    page.get_by_role("link", name="Development", exact=False).last.click()
    page.get_by_role("button", name="Read templates").click()
    work(tasks.work_on_application, ApplicationTask.objects.get(kind="read_templates").pk)
    expect(page.get_by_label("Name")).to_be_visible()
    check(page, f"application-create-in-{theme}")


@pytest.mark.parametrize("theme", THEMES)
def test_dialogs_are_accessible(signed_in_page, visit, environments, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    visit(Application.objects.get(name="Field Service").get_absolute_url())
    for button in ["Tag Version Development", "Test Development", "Block from Deployment Production"]:
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        check(page, f"dialog-{button.split()[0].lower()}-{theme}")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()


def test_an_application_is_tagged_then_nothing_is_possible_in_maintenance(signed_in_page, visit, environments):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada"))
    application = Application.objects.get(name="Back Office")
    visit("/applications/")
    page.get_by_role("link", name="Back Office").click()
    tag = page.get_by_role("button", name="Tag Version Development")
    tag.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Version", exact=True)).to_have_value("2.11.1")
    page.get_by_label("Version", exact=True).fill("2.0")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").locator(".errorlist")).to_contain_text("do not go backwards")
    page.get_by_label("Version", exact=True).fill("3.0")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Tagging a version 3.0: queued")).to_be_visible()
    work(tasks.work_on_application, ApplicationTask.objects.get().pk)
    expect(page.get_by_text("Tagging a version 3.0: done")).to_be_visible()
    assert application.versions.filter(version="3.0").exists()

    maintenance.enable(environments["Development"], by=actor("Grace Hopper"), reason="Replace the disks")
    expect(tag).to_have_attribute("aria-disabled", "true", timeout=10_000)
    tag.focus()
    expect(page.get_by_role("tooltip").filter(visible=True)).to_contain_text("Replace the disks")
    screenshot(page, "application-refused", whole=False)
    visit("/applications/")
    synchronize = page.get_by_role("button", name="Synchronize now Development")
    synchronize.focus()
    expect(page.get_by_role("tooltip").filter(visible=True)).to_contain_text("Grace Hopper enabled it")
    screenshot(page, "applications-refused", whole=False)


def test_the_matrix_shows_what_a_synchronization_brings(signed_in_page, visit, environments, server):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada"))
    visit("/applications/")
    expect(page.get_by_role("link", name="Brand New")).to_have_count(0)
    server.publish(name="Brand New")
    page.get_by_role("button", name="Synchronize now Development").click()
    expect(page.get_by_text("Queued")).to_be_visible()
    work(sync.run, [environments["Development"].sync_runs.active().get().pk])
    expect(page.get_by_role("link", name="Brand New")).to_be_visible(timeout=10_000)
