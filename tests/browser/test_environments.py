"""The pages about environments in a browser: both themes, narrow and wide, by keyboard alone."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from environments import maintenance, sync
from environments.models import Contact, Environment, SyncState
from tests.browser.conftest import assert_accessible, assert_no_sideways_scrolling, screenshot
from tests.factories import actor, create_environment, create_user
from tests.platforms import Platform

THEMES = ["light", "dark"]
NARROW = {"width": 320, "height": 640}
WIDE = {"width": 1920, "height": 1080}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Platform.start(tmp_path_factory.mktemp("platform"), name="Development") as started:
        yield started


@pytest.fixture
def environments(server):
    """One of each kind: in sync, in force, draining, unreachable, in the cloud."""
    development = create_environment(platform=server, name="Development", sync_interval=3600)
    run = sync.request(development, by=actor())
    work(sync.run, [run.pk])
    acceptance = create_environment(name="Acceptance", purpose="Test", version="11.28.1.4402", number_of_front_ends=2)
    maintenance.enable(
        acceptance,
        by=actor("Grace Hopper"),
        reason="Upgrade of the platform to 11.29, ticket OPS-1742",
        expected_end=timezone.now() + timedelta(hours=2),
    )
    load = create_environment(name="Load Test", purpose="Test")
    hold_contact(load)
    maintenance.enable(load, by=actor(), reason="Replace the disks")
    production = create_environment(name="Production", purpose="Production")
    SyncState.objects.filter(environment=production).update(
        failures=3,
        unreachable_since=timezone.now() - timedelta(minutes=12),
        message="http://127.0.0.1:9/3 does not answer: connection refused.",
    )
    create_environment(name="Cloud", purpose="Production", hosting="cloud")
    return {one.name: one for one in Environment.objects.select_related("maintenance_window")}


def work(task, *arguments):
    """Do what a worker does, in a thread of its own: Playwright keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_work, task, arguments).result()


def _work(task, arguments):
    try:
        task(*arguments)
    finally:
        connections.close_all()


def hold_contact(environment, *, seconds=30):
    """A contact of a worker that hangs."""
    now = timezone.now()
    return Contact.objects.create(
        environment=environment,
        epoch=environment.epoch,
        purpose="sync",
        worker="worker-2.example.org",
        pid=4711,
        opened_at=now,
        expires_at=now + timedelta(seconds=seconds),
        step="GET /applications",
    )


def check(page, name, *, narrow=True, whole=True):
    """Axe is content, nothing is too wide; pictures of it, narrow and wide."""
    assert_accessible(page)
    assert_no_sideways_scrolling(page)
    screenshot(page, name, whole=whole)
    if narrow:
        before = page.viewport_size
        page.set_viewport_size(NARROW)
        assert_no_sideways_scrolling(page)
        screenshot(page, f"{name}-320", whole=whole)
        page.set_viewport_size(before)


@pytest.mark.parametrize("theme", THEMES)
def test_pages_are_accessible_in_every_state(signed_in_page, visit, environments, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    visit("/infrastructure/")
    expect(page.get_by_role("heading", name="Development")).to_be_visible()
    check(page, f"infrastructure-states-{theme}")
    page.set_viewport_size(WIDE)
    assert_no_sideways_scrolling(page)
    screenshot(page, f"infrastructure-states-{theme}-wide")
    page.set_viewport_size({"width": 1280, "height": 800})

    for name in ["Development", "Load Test", "Acceptance", "Production", "Cloud"]:
        visit(environments[name].get_absolute_url())
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Edit {name}")
        check(page, f"edit-{name.lower().replace(' ', '-')}-{theme}")
    for url_name in ["contacts", "syncs", "windows"]:
        visit(reverse(f"environments:{url_name}", args=[environments["Development"].key]))
        check(page, f"{url_name}-{theme}")
    window = environments["Acceptance"].maintenance_window
    visit(reverse("environments:window", args=[environments["Acceptance"].key, window.key]))
    check(page, f"window-{theme}")
    visit("/infrastructure/register/")
    check(page, f"register-{theme}")


@pytest.mark.parametrize("theme", THEMES)
def test_dialogs_are_accessible(signed_in_page, visit, environments, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    development = environments["Development"]
    hold_contact(development)
    sync.request(development, by=actor("Grace Hopper"))
    visit(development.get_absolute_url())
    for button, name in [("Enable maintenance mode", "enable"), ("Unregister environment", "unregister")]:
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        expect(page.get_by_role("dialog").get_by_role("textbox").first).to_be_focused()
        check(page, f"dialog-{name}-{theme}", whole=False)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").locator(".errorlist").first).to_be_visible()
        check(page, f"dialog-{name}-refused-{theme}", narrow=False, whole=False)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
    visit(environments["Acceptance"].get_absolute_url())
    page.get_by_role("button", name="Disable maintenance mode").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page, f"dialog-disable-{theme}", whole=False)
