"""The pages about environments in a browser: both themes, narrow and wide, by keyboard alone."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from environments import maintenance, registry, sync
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


@pytest.mark.parametrize("theme", THEMES)
def test_an_environment_is_registered(signed_in_page, visit, server, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    visit("/infrastructure/")
    check(page, f"empty-{theme}")
    page.get_by_role("link", name="Register an Existing Environment").first.click()
    page.get_by_label("Environment name").fill("Development")
    page.get_by_label("Environment address").fill("development")
    page.get_by_label("Token").fill("wrong")
    page.get_by_label("Purpose").select_option("Development")
    page.get_by_role("button", name="Check the connection").click()
    expect(page.get_by_text("An address begins with https://")).to_be_visible()
    check(page, f"register-refused-{theme}")

    page.get_by_label("Environment address").fill(server.address)
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Check the connection").click()
    expect(page.get_by_role("heading", name="Checking the connection")).to_be_visible()
    check(page, f"register-checking-{theme}")
    work(registry.check_connection, Environment.objects.get().pk)
    expect(page.get_by_text("does not accept the token")).to_be_visible()
    check(page, f"register-failed-{theme}")

    page.get_by_label("Token").fill(server.token)
    page.get_by_role("button", name="Check the connection").click()
    expect(page.get_by_role("heading", name="Checking the connection")).to_be_visible()
    visit("/infrastructure/")
    check(page, f"proposals-{theme}")
    work(registry.check_connection, Environment.objects.get().pk)
    page.get_by_role("link", name="Resume").click()
    expect(page.get_by_role("heading", name="The connection works")).to_be_visible()
    check(page, f"register-checked-{theme}")
    page.get_by_role("button", name="Register Development").click()
    expect(page.get_by_role("article", name="Development")).to_be_visible()
    expect(page.get_by_text("Synchronization queued")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_a_thousand_environments_fit_on_the_page(signed_in_page, visit, theme):
    now = timezone.now()
    purposes = ["Development", "Test", "Production"]
    Environment.objects.bulk_create(
        Environment(
            name=f"{purpose} {number:03}",
            address=f"https://{purpose.lower()}-{number:03}.example.com",
            purpose=purpose,
            position=number,
            version="11.28.1.4402",
            registration="registered",
            registered_at=now,
        )
        for number in range(333)
        for purpose in purposes
    )
    everything = list(Environment.objects.order_by("pk"))
    SyncState.objects.bulk_create(
        SyncState(environment=one, synchronized_at=now, failures=int(one.pk % 50 == 0)) for one in everything
    )
    maintenance.enable_all(everything[10:25], by=actor(), reason="Upgrade")
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    visit("/infrastructure/")

    expect(page.get_by_text("15 in maintenance")).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_count(999)
    assert_no_sideways_scrolling(page)
    screenshot(page, f"infrastructure-999-{theme}", whole=False)
    page.get_by_role("link", name="15 in maintenance").click()
    expect(page.get_by_role("article")).to_have_count(15)
    page.get_by_label("Name").fill("Production 00")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("article")).to_have_count(5)
    check(page, f"infrastructure-found-{theme}", narrow=False)


def test_polling_leaves_the_focus_where_it_is(signed_in_page, visit, environments):
    page = signed_in_page()
    visit("/infrastructure/")
    button = page.get_by_role("button", name="Synchronize now Production")
    button.focus()
    SyncState.objects.update(synchronized_at=timezone.now() - timedelta(hours=3))

    expect(page.get_by_text("3 h ago").first).to_be_visible()  # the fragment was swapped

    expect(button).to_be_focused()
    visit(environments["Load Test"].get_absolute_url())
    button = page.get_by_role("button", name="Disable maintenance mode")
    button.focus()
    expect(page.get_by_text("lease lasts 2")).to_be_visible()
    page.wait_for_timeout(2500)
    expect(button).to_be_focused()


def test_polling_leaves_what_is_typed_alone(signed_in_page, visit, environments):
    page = signed_in_page()
    visit(environments["Development"].get_absolute_url())
    page.get_by_label("Environment name").fill("Renamed")
    page.get_by_role("button", name="Enable maintenance mode").click()
    page.get_by_label("Reason").fill("Upgrade")
    hold_contact(environments["Development"])
    expect(page.get_by_role("dialog").get_by_text("worker-2.example.org:4711")).to_be_visible()  # the preview moves
    expect(page.get_by_label("Reason")).to_have_value("Upgrade")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_text("You have typed something")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Enable maintenance mode")).to_be_focused()
    maintenance.enable(environments["Development"], by=actor("Grace Hopper"), reason="Replace the disks")

    expect(page.get_by_text("was switched after you opened this page")).to_be_visible()
    expect(page.get_by_label("Environment name")).to_have_value("Renamed")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Environment name")).to_have_value("Renamed")
    expect(page.locator(".errorlist.nonfield")).to_contain_text("Grace Hopper enabled it")
    check(page, "edit-refused")


def test_a_refusal_of_what_was_possible_a_moment_ago_opens_in_the_dialog(signed_in_page, visit, environments):
    page = signed_in_page()
    visit("/infrastructure/")
    page.route("**/cards/", lambda route: route.abort())  # the page does not learn of it
    maintenance.enable(environments["Development"], by=actor("Grace Hopper"), reason="Replace the disks")
    page.get_by_role("button", name="Synchronize now Development").click()

    dialog = page.get_by_role("dialog", name="Not while it is in maintenance mode")
    expect(dialog.get_by_text("Grace Hopper enabled it: “Replace the disks”")).to_be_visible()
    check(page, "dialog-409", narrow=False, whole=False)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()


def test_the_order_is_changed_by_keyboard(signed_in_page, visit, environments):
    page = signed_in_page()
    visit("/infrastructure/")
    swap = page.get_by_role("button", name="Switch the order of Development and Acceptance")
    swap.focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("article").first).to_contain_text("Acceptance")
    expect(page.get_by_role("button", name="Switch the order of Acceptance and Development")).to_be_focused()


def test_an_environment_is_unregistered_by_keyboard(signed_in_page, visit, environments):
    page = signed_in_page()
    visit(environments["Acceptance"].get_absolute_url())
    page.get_by_role("button", name="Unregister environment").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Unregister Acceptance?")).to_be_visible()
    expect(page.get_by_label("Name of the environment")).to_be_focused()
    page.keyboard.type("Acceptance")
    page.keyboard.press("Enter")

    expect(page.get_by_role("status").get_by_text("Acceptance is unregistered")).to_be_visible()
    expect(page.get_by_role("article", name="Acceptance")).to_be_hidden()
