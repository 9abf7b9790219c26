"""The main job, end to end: a person takes an environment out of contact, sees that it is quiet, and brings it back.

Everything is real: the browser, the web server, a cluster of workers in a process of its own, three environments in
processes of theirs. Nothing but the keyboard is used in the dialogs.
"""

import re
from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from audit.models import AuditEvent
from environments import tasks
from environments.models import Contact, Environment, MaintenanceWindow, SyncState
from tests.browser.stories import PATIENCE, heard_after, open_dialog, picture, press_through
from tests.browser.test_environments import hold_contact, work
from tests.factories import PASSWORD, create_environment, create_user
from tests.platforms import Platform

PIPELINE = [("Development", "Development"), ("Test", "Test"), ("Production", "Production")]


@pytest.fixture
def platforms(tmp_path):
    started = {}
    try:
        for name, purpose in PIPELINE:
            started[name] = Platform.start(tmp_path / name.lower(), name=name, purpose=purpose)
        yield started
    finally:
        for platform in started.values():
            platform.stop()


def card(page, name):
    return page.get_by_role("article", name=name, exact=True)


def test_an_environment_goes_into_maintenance_mode_and_comes_back_in_sync(page, live_server, platforms, workers):
    ada = create_user(name="Ada Lovelace", username="ada")
    for place, (name, purpose) in enumerate(PIPELINE):
        create_environment(
            platform=platforms[name], name=name, purpose=purpose, position=place, sync_interval=3600, version=""
        )
    production = Environment.objects.get(name="Production")

    # Somebody logs in and sees three live environments being synchronized.
    page.goto(f"{live_server.url}/infrastructure/")
    page.get_by_label("Username").fill(ada.username)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Infrastructure")).to_be_visible()
    work(tasks.tick)
    for name, _ in PIPELINE:
        expect(card(page, name).get_by_text("Up to date")).to_be_visible(timeout=PATIENCE)
        expect(card(page, name).get_by_text(re.compile(r"^11\.\d+"))).to_be_visible()

    # Production answers slowly, and a synchronization of it is in progress.
    platforms["Production"].behave(delay_seconds=30, paths=["/applications"])
    card(page, "Production").get_by_role("button", name="Synchronize now").click()
    expect(card(page, "Production").get_by_text("Synchronizing", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(card(page, "Production").get_by_text("Synchronizing applications")).to_be_visible(timeout=PATIENCE)
    platforms["Production"].wait_until_serving(1)
    picture(page, "infrastructure")
    run = production.sync_runs.newest_first().first()

    # Enable, with a reason, by keyboard alone. The dialog says what it will abort. A worker elsewhere has just died.
    press_through(page, until=card(page, "Production").get_by_role("link", name="Edit Environment"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Edit Production")).to_be_visible()
    open_dialog(page, "Enable maintenance mode")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(f"Synchronization {run.pk} (Synchronize now), running")).to_be_visible()
    page.keyboard.type("Upgrade of the platform to 11.29, OPS-1742")
    picture(page, "maintenance_dialog", whole=False)
    dead = hold_contact(production, seconds=12)
    page.keyboard.press("Enter")

    # What was in progress is aborted; the dead worker is named until its lease is over.
    expect(page.get_by_role("heading", name="Edit Production (maintenance mode enabled)")).to_be_visible()
    expect(page.get_by_role("status").get_by_text("Draining")).to_be_visible()
    expect(page.get_by_text("worker-2.example.org:4711")).to_be_visible()
    run.refresh_from_db()
    assert run.status == "aborted"
    assert platforms["Production"].serving() == []
    picture(page, "draining")

    # Quiet, with the certificate. What the environment heard proves it.
    expect(page.get_by_role("heading", name="The environment is quiet")).to_be_visible(timeout=PATIENCE)
    window = MaintenanceWindow.objects.get()
    dead.refresh_from_db()
    assert dead.outcome == "lost"
    cut = Contact.objects.get(sync_run=run)
    assert cut.outcome == "aborted"
    proof = page.get_by_role("row").filter(has_text=f"Synchronization {run.pk}")
    expect(proof.get_by_text("Aborted")).to_be_visible()
    expect(page.get_by_text("Far side unknown", exact=True)).to_be_visible()
    picture(page, "in_force")

    # The work is done. Meanwhile somebody publishes there, people change here, the schedule comes round.
    platforms["Production"].behave()
    platforms["Production"].publish(name="Made in the meantime", kind="WebResponsive", modules=[])
    create_user(name="Grace Hopper", username="grace")
    SyncState.objects.filter(environment=production).update(due_at=timezone.now() - timedelta(seconds=1))
    work(tasks.tick)
    press_through(page, until=page.get_by_role("button", name="Synchronize now"))
    expect(page.get_by_role("tooltip").filter(has_text="Ada Lovelace enabled it")).to_be_visible()
    page.keyboard.press("Enter")
    assert heard_after(platforms["Production"], window.quiet_at) == []

    # Disable, with a reason: a full synchronization brings both sides in line.
    open_dialog(page, "Disable maintenance mode")
    page.keyboard.type("Upgraded and checked")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^Fully synchronized"))).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("1 application added")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="IT users and the permission model").first).to_be_visible()
    expect(page.get_by_role("heading", name="Edit Production")).not_to_contain_text("maintenance mode enabled")
    expect(page.get_by_role("row").get_by_text("Ended, back in sync")).to_be_visible(timeout=PATIENCE)
    picture(page, "recovered")
    window.refresh_from_db()
    assert (window.status, window.ticks_skipped, window.syncs_aborted, window.contacts_cut) == ("ended", 1, 1, 2)
    quiet = [
        line
        for line in heard_after(platforms["Production"], window.quiet_at)
        if datetime.fromisoformat(line["began_at"]) < window.disabled_at
    ]
    assert quiet == []

    # All of it is in the audit log.
    page.get_by_role("link", name="Audit Logs").click()
    for words in (
        "Requested synchronization of environment 'Production'",
        "Enabled maintenance mode of environment 'Production': Upgrade of the platform to 11.29, OPS-1742",
        "Environment 'Production' is quiet",
        "Disabled maintenance mode of environment 'Production': Upgraded and checked",
        "Environment 'Production' is back in sync after maintenance mode: applications: 1 added",
    ):
        expect(page.get_by_role("row").filter(has_text=words)).to_be_visible()
    picture(page, "audit")
    assert AuditEvent.objects.filter(actor_username="ada").count() == 4  # with the log-in
    assert "Traceback" not in workers.output()
