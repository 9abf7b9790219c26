"""The other half of the job, end to end: what maintenance mode disables works before it and is refused during it.

Everything is real, as in the story of maintenance mode itself. A developer publishes an application, a person tags it,
changes a setting of it, looks at it where it is deployed, and reads its log. Then all of that is refused, on the pages
and by direct request, while a change of a role waits for the environment's return.
"""

import re
import time
from datetime import datetime

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from environments import tasks
from environments.models import Application, ApplicationTask, Environment, MaintenanceWindow, SyncRun
from lifetime.models import RoleLevel
from tests.browser.conftest import screenshot
from tests.browser.stories import PATIENCE, heard_after, open_dialog, picture
from tests.browser.test_environments import work
from tests.factories import create_environment, create_user
from tests.lifetime.factories import create_role
from tests.platforms import Platform, package

REASON = "Upgrade of the platform to 11.29, OPS-1742"
NAME = "Hotel Booking"
WEB = b"<!doctype html><html lang=en><title>Hotel Booking</title><h1>Hotel Booking</h1><p>You see version %s.</p>"
MODULE = {
    "name": "HotelBooking",
    "site_properties": [{"name": "Rooms", "data_type": "Integer", "default_value": "20"}],
}
FORM = "[...new FormData(document.querySelector('form.form'))].map(([name, value]) => ({name, value}))"
CONTROLS = [
    "Tag Version",
    "Open in Browser",
    "Settings",
    "View Application Logs",
    "Configure Application",
    "Open in Service Studio",
    "Synchronize App Definition",
    "Read Versions",
]


@pytest.fixture
def platforms(tmp_path):
    with (
        Platform.start(tmp_path / "development") as development,
        Platform.start(tmp_path / "test", name="Test", purpose="Test") as test,
    ):
        yield {"Development": development, "Test": test}


def published(version):
    """What a developer makes: an application whose page says of which version it is."""
    return package(NAME, version, web={"index.html": WEB % version.encode()}, modules=[MODULE])


def see(page, link, platform, words):
    """Leave the console by a link, see the application as the platform serves it, and come back."""
    here = page.url
    link.click()
    page.wait_for_url(f"{platform.root}/HotelBooking/")
    expect(page.get_by_text(words)).to_be_visible()
    screenshot(page, f"story-open-in-{platform.name.lower()}")
    page.goto(here)


def wait_until_synchronized(environment, *, times=1):
    """Pages look again every few seconds; the story does not wait for that."""
    until = time.monotonic() + PATIENCE / 1000
    while SyncRun.objects.filter(environment=environment, status="finished").count() < times:
        assert time.monotonic() < until
        time.sleep(0.02)


def greyed(page, control):
    """The control is there, does nothing, and says who, why and since when."""
    expect(control).to_have_attribute("aria-disabled", "true")
    why = page.locator(f"#{control.get_attribute('aria-describedby')}")
    expect(why).to_have_text(
        re.compile(
            rf"disabled: Development is in maintenance mode since \d.+ UTC\. Ada Lovelace enabled it: “{REASON}”"
        )
    )


def orders(application, environment, form):
    """Every request by which one could do what is disabled, as a page from before would send it."""
    keys = [application.key, environment.key]
    reading = ["settings", "logs", "log-lines", "open-in-browser", "configure", "service-center-logs"]
    reading += ["open-in-service-studio", "tag-dialog", "test-dialog", "qr-code"]
    writing = ["read-settings", "read-logs", "read-versions", "synchronize-definition", "solve-hotfix"]
    return [
        *(("GET", reverse(f"applications:{name}", args=keys), {}) for name in reading),
        *(("POST", reverse(f"applications:{name}", args=keys), {}) for name in writing),
        ("POST", reverse("applications:tag", args=keys), {"version": "5.0"}),
        ("POST", reverse("applications:change-settings", args=keys), {**form, "value-0": "60"}),
        ("POST", reverse("applications:read-templates", args=keys[1:]), {}),
        ("POST", reverse("applications:create-in", args=keys[1:]), {"name": "New", "template": "reactive-web"}),
        ("POST", reverse("settings:previews"), {"on": f"{environment.key}/structured-logs"}),
        ("POST", reverse("settings:create-plugin", args=keys[1:]), {"name": "Health"}),
        ("POST", reverse("environments:synchronize", args=keys[1:]), {}),
        ("POST", reverse("environments:security", args=keys[1:]), {"hsts": "on", "same_site": "Lax"}),
        ("POST", environment.get_absolute_url(), {"name": "Dev", "address": environment.address}),
    ]


def test_what_maintenance_mode_disables_works_is_refused_and_a_change_of_a_role_waits(
    signed_in_page, visit, live_server, platforms, workers
):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada"))
    tester = create_role("Tester", level=4)
    create_user(name="Grace Hopper", username="grace", role=tester)
    platforms["Development"].publish_package(published("4.2"))
    for place, (name, platform) in enumerate(platforms.items()):
        create_environment(platform=platform, name=name, purpose=name, position=place, sync_interval=3600)
    development, test = Environment.objects.in_order()

    # The first synchronization brings what a developer published.
    work(tasks.tick)
    for environment in development, test:
        wait_until_synchronized(environment)
    application = Application.objects.get(name=NAME)
    visit("/applications/")
    page.get_by_role("link", name=NAME).click()

    # Tag it.
    page.get_by_role("button", name="Tag Version Development").click()
    page.get_by_label("Version", exact=True).fill("4.2")
    page.get_by_role("dialog").get_by_role("button", name="Tag Version").click()
    expect(page.get_by_text("Tagging a version 4.2: done")).to_be_visible(timeout=PATIENCE)
    [tagged] = platforms["Development"].versions(str(application.key))
    assert tagged["version"] == "4.2"

    # Change a setting.
    page.get_by_role("link", name="Settings Development", exact=True).click()
    page.get_by_role("button", name="Read the settings").click()
    rooms = page.get_by_label("Rooms of HotelBooking", exact=True)
    expect(rooms).to_be_visible(timeout=PATIENCE)
    form = {one["name"]: one["value"] for one in page.evaluate(FORM)}
    rooms.fill("40")
    page.get_by_label("Use the default for Rooms of HotelBooking").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Changing the settings: done")).to_be_visible(timeout=PATIENCE)
    settings = platforms["Development"].call("GET", f"/applications/{application.key}/settings").json
    assert [one["effective_value"] for one in settings["site_properties"]] == ["40"]

    # It is deployed to Test as tagged, and the developer goes on. Each environment serves what it has.
    content = platforms["Development"].package_of(str(application.key), tagged["key"])
    deployment = platforms["Test"].deploy(content).json
    assert platforms["Test"].wait_for_deployment(deployment["id"])["status"] == "finished_successful"
    platforms["Development"].publish_package(published("4.3"))
    visit("/applications/")
    page.get_by_role("button", name="Synchronize now Test").click()
    wait_until_synchronized(test, times=2)
    visit("/applications/")
    expect(page.get_by_role("row", name=NAME).get_by_role("cell").nth(1)).to_contain_text("4.2")
    picture(page, "story-matrix")
    page.get_by_role("link", name=NAME).click()
    see(page, page.get_by_role("link", name="Open in Browser Test"), platforms["Test"], "You see version 4.2.")
    see(
        page,
        page.get_by_role("link", name="Open in Browser Development"),
        platforms["Development"],
        "You see version 4.3.",
    )

    # Its log.
    page.get_by_role("link", name="View Application Logs Development").click()
    page.get_by_role("button", name="Read the log").click()
    expect(page.get_by_role("row").filter(has_text="Published from a package.")).to_have_count(2, timeout=PATIENCE)

    # Maintenance mode of Development.
    visit(development.get_absolute_url())
    open_dialog(page, "Enable maintenance mode")
    page.keyboard.type(REASON)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The environment is quiet")).to_be_visible(timeout=PATIENCE)
    window = MaintenanceWindow.objects.get()

    # Each of the controls is grey and says why; those of Test are as before.
    greyed(page, page.get_by_role("button", name="Save", exact=True))
    greyed(page, page.get_by_role("button", name="Synchronize now Development"))
    visit(application.get_absolute_url())
    for name in CONTROLS:
        greyed(page, page.get_by_role("button", name=f"{name} Development", exact=True))
    actions = page.get_by_role("row", name="Actions").get_by_role("cell")
    for control in actions.nth(0).locator(".button").filter(has_not_text="Block from").all():
        greyed(page, control)
    expect(actions.nth(1).locator(".button").nth(len(CONTROLS) - 1)).to_be_visible()
    expect(actions.nth(1).locator("[aria-disabled]")).to_have_count(0)
    page.get_by_role("button", name="Tag Version Development").focus()
    picture(page, "story-refused", whole=False)
    visit("/applications/")
    greyed(page, page.get_by_role("button", name="Synchronize now Development"))
    visit(reverse("applications:create"))
    greyed(page, page.get_by_role("button", name="Development"))
    visit(reverse("environments:security", args=[development.key]))
    greyed(page, page.get_by_role("button", name="Save"))
    visit(reverse("settings:plugins"))
    greyed(page, page.get_by_role("button", name="Create in Development"))
    visit(reverse("settings:previews"))
    toggle = page.get_by_label("Structured logs in Development")
    expect(toggle).to_be_disabled()
    expect(page.locator(f"#{toggle.get_attribute('aria-describedby')}")).to_contain_text(REASON)
    picture(page, "story-previews-refused")

    # And refused to whoever asks directly, with the cookies and the token of this very session.
    known = ApplicationTask.objects.count(), SyncRun.objects.count()
    token = next(one["value"] for one in page.context.cookies() if one["name"] == "csrftoken")
    asked = orders(application, development, form)
    for method, path, data in asked:
        answer = page.request.fetch(
            f"{live_server.url}{path}",
            method=method,
            form=data if method == "POST" else None,
            headers={"X-CSRFToken": token},
            max_redirects=0,
        )
        assert (path, answer.status) == (path, 409)
        assert "Ada Lovelace enabled it" in answer.text()
        assert REASON in answer.text()
    assert (ApplicationTask.objects.count(), SyncRun.objects.count()) == known
    assert sum(one.count for one in window.refused_operations.all()) == len(asked)
    development.refresh_from_db()
    assert (development.name, development.security) == ("Development", {})

    # Meanwhile a role gets another level there, and only there.
    visit(tester.get_absolute_url())
    page.get_by_role("radio", name="Change and Deploy Applications in Development").check()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Save for all of them").first.click()
    expect(page.get_by_text("The role Tester is saved.")).to_be_visible()
    assert RoleLevel.objects.get(role=tester, environment=development).level == 5
    work(tasks.tick)
    visit("/infrastructure/")
    expect(page.get_by_role("article", name="Development").get_by_text("Pending: permissions")).to_be_visible()
    expect(page.get_by_role("article", name="Test").get_by_text("Pending")).to_have_count(0)
    visit(development.get_absolute_url())
    pending = page.locator("#pending")
    expect(pending).to_contain_text("Changed in the console, not delivered yet")
    expect(pending.get_by_role("listitem")).to_have_count(1)
    expect(pending.get_by_role("listitem")).to_contain_text("Permissions, since")
    picture(page, "story-pending")
    assert heard_after(platforms["Development"], window.quiet_at) == []

    # Disabled: the environment gets the role, and nothing else.
    open_dialog(page, "Disable maintenance mode")
    page.keyboard.type("Upgraded and checked")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^Fully synchronized"))).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("listitem").filter(has_text="IT users and the permission model").first).to_be_visible()
    page.reload()
    expect(pending).to_have_count(0)
    picture(page, "story-delivered")
    window.refresh_from_db()
    heard = heard_after(platforms["Development"], window.quiet_at)
    assert heard
    assert all(datetime.fromisoformat(line["began_at"]) > window.disabled_at for line in heard)
    written = [(one["method"], one["path"], one["status"]) for one in heard if one["method"] not in ("GET", "HEAD")]
    assert written == [("PUT", "/permissions", 200)]
    development.refresh_from_db()
    stored = platforms["Development"].call("GET", "/permissions", epoch=development.epoch).json
    assert {one["name"]: one["level"] for one in stored["roles"]}["Tester"] == 5
    assert [one["method"] for one in heard_after(platforms["Test"], window.quiet_at) if one["method"] != "GET"] == []

    # What was refused works again.
    visit(application.get_absolute_url())
    see(
        page,
        page.get_by_role("link", name="Open in Browser Development"),
        platforms["Development"],
        "You see version 4.3.",
    )
    assert "Traceback" not in workers.output()
