"""A deployment plan, end to end: made by a developer, run by an operator, interrupted by maintenance mode, retried.

Everything is real, as in the other stories: the browser, the web server, a cluster of workers, the platforms that hand
over and take the package. A third environment is in maintenance mode all the while, and does not matter.
"""

import re
from datetime import datetime

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from deployments import plans
from deployments.models import DeploymentPlan, StepName
from environments import maintenance, tasks
from environments.models import Application, Environment, MaintenanceWindow
from lifetime.models import Level, Role, RoleLevel
from tests.browser.conftest import screenshot
from tests.browser.stories import PATIENCE, heard_after, open_dialog, picture
from tests.browser.test_environments import work
from tests.browser.test_story_applications import wait_until_synchronized
from tests.deployments.scenes import tag_and_deploy, validated
from tests.factories import actor, create_environment, create_user
from tests.platforms import Platform, package

REASON = "Upgrade of the platform to 11.29, OPS-1742"
NAME = "Hotel Booking"
WEB = "<!doctype html><html lang=en><title>Hotel Booking</title><h1>Hotel Booking</h1><p>You see version %s.</p>"
STEPS = [one.label for one in StepName]


@pytest.fixture
def platforms(tmp_path):
    with (
        Platform.start(tmp_path / "development", applications=0) as development,
        Platform.start(tmp_path / "production", name="Production", purpose="Production", applications=0) as production,
    ):
        yield {"Development": development, "Production": production}


@pytest.fixture
def pipeline(platforms, workers):
    """Both are synchronized; a developer has published what is there to deploy."""
    publish(platforms["Development"], "5.0")
    for place, (name, platform) in enumerate(platforms.items()):
        create_environment(platform=platform, name=name, purpose=name, position=place, sync_interval=3600)
    sandbox = create_environment(name="Sandbox", position=2)
    maintenance.enable(sandbox, by=actor("Edsger Dijkstra"), reason="Another matter")
    work(tasks.tick)
    found = {one.name: one for one in Environment.objects.exclude(name="Sandbox")}
    for environment in found.values():
        wait_until_synchronized(environment)
    return found


@pytest.fixture
def people(pipeline):
    """Who may prepare, who may run, and who looks after the infrastructure."""

    def person(name, role, **levels):
        made = Role.objects.create(name=role)
        for environment, level in levels.items():
            RoleLevel.objects.create(role=made, environment=pipeline[environment], level=level)
        return create_user(name=name, username=name.split()[0].lower(), role=made)

    return {
        "developer": person("Ana Ferreira", "Booking", Development=Level.CHANGE, Production=Level.LIST),
        "operator": person("Grace Hopper", "Operations", Development=Level.CHANGE, Production=Level.CHANGE),
        "administrator": create_user(name="Ada Lovelace", username="ada"),
    }


def publish(platform, version):
    """A developer changes the application, and its page says so."""
    web = {"index.html": (WEB % version).encode()}
    platform.publish_package(package(NAME, None, web=web, modules=[{"name": "HotelBooking"}]))


def see(page, link, platform, version):
    """The application as the platform serves it to whoever opens it from the console."""
    here = page.url
    link.click()
    page.wait_for_url(f"{platform.root}/HotelBooking/")
    expect(page.get_by_text(f"You see version {version}.")).to_be_visible()
    page.goto(here)


def made(pipeline, label, *, by):
    """A plan that is saved and validated: that this works in the browser is another story."""
    choice = tag_and_deploy("0.1", NAME)
    plan = plans.create(pipeline["Development"], pipeline["Production"], by=by, label=label, choices=[choice])
    return validated(plans.save(plan, by=by, revision=plan.revision))


def stage(page, name):
    return page.get_by_role("listitem").filter(has_text=name)


def heading(page, name):
    return page.get_by_role("heading", name=name, exact=True)


def launch(page):
    page.get_by_role("button", name="Deploy Now").click()
    expect(heading(page, "Steps")).to_be_visible()


def expect_refused(control, *words):
    """The control is there, does nothing, and says why."""
    expect(control).to_have_attribute("aria-disabled", "true")
    why = control.page.locator(f"#{control.get_attribute('aria-describedby')}")
    for text in words:
        expect(why).to_contain_text(text)


def expect_finished(page):
    expect(page.get_by_role("status").get_by_text("Finished Successfully")).to_be_visible(timeout=PATIENCE)
    for name in STEPS:
        expect(stage(page, name)).to_contain_text("Finished")


def test_a_developer_makes_a_plan_and_an_operator_runs_it(signed_in_page, visit, platforms, pipeline, people, workers):
    development, production = platforms.values()

    # The developer finds the way at the head of the target's column, and is proposed what is ahead of it.
    page = signed_in_page(people["developer"])
    visit("/applications/")
    page.get_by_role("button", name="Deploy… to Production").click()
    dialog = page.get_by_role("dialog", name="Create Deployment Plan")
    expect(dialog.get_by_label("Source environment")).to_have_value(str(pipeline["Development"].key))
    expect(dialog.get_by_label("Target environment")).to_have_value(str(pipeline["Production"].key))
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(heading(page, "Add the applications to deploy")).to_be_visible()
    option = page.get_by_label(f"Deployment option for {NAME}")
    option.select_option(label="Tag & Deploy 0.1")
    picture(page, "story-plan-selection")

    # It is validated by a worker, which asks both environments; that takes a while, and can be seen.
    development.behave(delay_seconds=2, paths=["/applications"], times=1)
    page.get_by_role("button", name="Validate Now").click()
    expect(page.get_by_role("status").get_by_text(re.compile("Queued|Validating"))).to_be_visible()
    expect_refused(page.get_by_role("button", name="Save Plan"), "The plan is being validated.")
    screenshot(page, "story-plan-validating")
    expect(page.get_by_text("Nothing stands against it.")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Continue", exact=True).click()

    # Saved with notes for whoever runs it. The developer cannot.
    expect(heading(page, "Review deployment plan")).to_be_visible()
    page.get_by_role("textbox", name="Label").fill("Rooms with a view")
    page.get_by_label("Deployment notes").fill("Ask Ana before you start it.")
    page.get_by_role("button", name="Save Plan & Notes").click()
    expect(page.get_by_text("Whoever may deploy to Production can run it.")).to_be_visible()
    expect_refused(
        page.get_by_role("button", name="Deploy Now"), "needs “Change and Deploy Applications” in Production", "Booking"
    )
    page.get_by_role("button", name="Deploy Now").focus()
    picture(page, "story-plan-saved")
    plan = DeploymentPlan.objects.get()
    named = f"#{plan.number}"
    assert (plan.status, plan.saved_by, plan.notes) == ("saved", "Ana Ferreira", "Ask Ana before you start it.")

    # The operator takes it from the list, and runs it.
    signed_in_page(people["operator"])
    visit("/plans/")
    expect(page.get_by_role("row", name="Rooms with a view")).to_contain_text("Ask Ana before you start it.")
    picture(page, "story-plans")
    page.get_by_role("link", name="Rooms with a view").click()
    expect(heading(page, "Add the applications to deploy")).to_be_visible()
    page.get_by_role("link", name="Review").click()
    production.behave(step_seconds={"generating": 2.5, "updating": 2.5})
    launch(page)

    # Seven steps and the log, as they go on.
    for name in STEPS:
        expect(stage(page, name)).to_be_visible()
    expect(stage(page, "Generating and compiling code")).to_contain_text("Running", timeout=PATIENCE)
    log = page.get_by_role("log")
    expect(log).to_contain_text("Grace Hopper started the deployment of 1 application.")
    expect(page.get_by_role("button", name="Abort")).not_to_have_attribute("aria-disabled", "true")
    screenshot(page, "story-plan-running")
    expect(stage(page, "Updating database")).to_contain_text("Running", timeout=PATIENCE)
    expect_refused(page.get_by_role("button", name="Abort"), "must come to its end; that takes a moment.")
    picture(page, "story-plan-switching")
    expect_finished(page)
    expect(page.get_by_text("Production runs the new versions.")).to_be_visible()
    picture(page, "story-plan-finished")

    # The version is in the matrix and tagged in the source, and the target serves it.
    visit("/applications/")
    cells = page.get_by_role("row", name=NAME).get_by_role("cell")
    expect(cells.nth(0)).to_contain_text("0.1")
    expect(cells.nth(1)).to_contain_text("0.1")
    picture(page, "story-plan-matrix")
    page.get_by_role("link", name=NAME).click()
    expect(page.get_by_role("link", name=f"Rooms with a view (#{plan.number})")).to_be_visible()
    see(page, page.get_by_role("link", name="Open in Browser Production"), production, "5.0")
    [tagged] = development.versions(str(Application.objects.get(name=NAME).key))
    assert (tagged["version"], tagged["created_by"]) == ("0.1", "Grace Hopper")

    # All of it is in the audit log.
    signed_in_page(people["administrator"])
    visit("/audit/")
    for who, words in (
        ("Ana Ferreira", f"Created deployment plan '{named}' from 'Development' to 'Production'"),
        ("Ana Ferreira", f"Selected 'Tag & Deploy 0.1' for '{NAME}'"),
        ("Ana Ferreira", f"Requested validation of deployment plan '{named}'"),
        ("Ana Ferreira", f"Saved deployment plan '{named}'"),
        ("Grace Hopper", f"Launched deployment plan '{named}'"),
        ("Grace Hopper", f"Tagged application '{NAME}' in environment 'Development' as 0.1"),
        ("Grace Hopper", f"Started deploy of application '{NAME}' in environment 'Production'"),
        ("System", f"Completed deployment plan '{named}': Finished Successfully"),
    ):
        expect(page.get_by_role("row").filter(has_text=words).filter(has_text=who).first).to_be_visible()
    picture(page, "story-plan-audit")
    assert "Traceback" not in workers.output()


def test_maintenance_mode_of_the_target_aborts_a_plan_half_way_and_a_retry_finishes(
    signed_in_page, visit, platforms, pipeline, people, workers
):
    production = platforms["Production"]
    page = signed_in_page(people["operator"])

    # One plan is running at a step that takes its time, another is saved.
    production.behave(step_seconds={"analyzing_database": 60})
    grace = people["operator"].actor()
    saved, plan = (made(pipeline, label, by=grace) for label in ("Later", "Now"))
    plans.start(plan, by=grace)
    progress = reverse("plans:progress", args=[plan.key])
    visit(progress)
    expect(stage(page, "Analyzing database")).to_contain_text("Running", timeout=PATIENCE)

    # Whoever enables maintenance mode is told what that aborts.
    signed_in_page(people["administrator"])
    visit(pipeline["Production"].get_absolute_url())
    open_dialog(page, "Enable maintenance mode")
    expect(page.get_by_role("dialog").get_by_text(f"Deployment plan #{plan.number} from Development")).to_be_visible()
    page.keyboard.type(REASON)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The environment is quiet")).to_be_visible(timeout=PATIENCE)
    window = MaintenanceWindow.objects.get(environment=pipeline["Production"])
    visit(reverse("environments:window", args=[pipeline["Production"].key, window.key]))
    expect(page.get_by_text(f"#{plan.number} from Development to Production")).to_be_visible()

    # The plan says why it was aborted, by whom, at which step, and what state the target is in.
    signed_in_page(people["operator"])
    visit(progress)
    expect(page.get_by_role("status").get_by_text("Aborted")).to_be_visible()
    told = page.locator(".notice--maintenance")
    expect(told).to_contain_text("Aborted by Ada Lovelace")
    expect(told).to_contain_text("at “Analyzing database and creating differential SQL”")
    expect(told).to_contain_text(f"Maintenance mode of 'Production' was enabled: {REASON}")
    expect(told).to_contain_text("Production is as it was before: nothing of the plan was switched over.")
    expect(page.get_by_role("log")).to_contain_text("because the environment is in maintenance mode")
    expect_refused(page.get_by_role("button", name="Retry Plan"), "Production is in maintenance mode", REASON)
    picture(page, "story-plan-aborted")

    # What is saved can be looked at, and says why no more than that.
    visit(reverse("plans:edit", args=[saved.key]))
    expect(page.get_by_text("The plan can only be looked at.")).to_contain_text("Ada Lovelace enabled it")
    for name in ("Save Plan", "Add Applications", "Discard Plan", "Relabel", "Validate Now"):
        expect_refused(page.get_by_role("button", name=name), "Production is in maintenance mode", REASON)
    expect(page.get_by_label(f"Deployment option for {NAME}")).to_be_disabled()
    picture(page, "story-plan-read-only")
    visit(reverse("plans:review", args=[saved.key]))
    expect_refused(page.get_by_role("button", name="Deploy Now"), "Production is in maintenance mode", REASON)
    expect(page.get_by_label("Deployment notes")).to_be_disabled()
    screenshot(page, "story-plan-review-refused")
    window.refresh_from_db()
    assert heard_after(production, window.quiet_at) == []

    # Disabled, and retried: it deploys what the first attempt has tagged.
    production.behave()
    signed_in_page(people["administrator"])
    visit(pipeline["Production"].get_absolute_url())
    open_dialog(page, "Disable maintenance mode")
    page.keyboard.type("Upgraded and checked")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^Fully synchronized"))).to_be_visible(timeout=PATIENCE)
    signed_in_page(people["operator"])
    visit(progress)
    page.get_by_role("button", name="Retry Plan").click()
    expect(page.get_by_text("Adjust it, then validate it.")).to_be_visible()
    expect(page.get_by_label(f"Deployment option for {NAME}").locator("[selected]")).to_have_text("Deploy 0.1")
    page.get_by_role("button", name="Validate Now").click()
    expect(page.get_by_text("Nothing stands against it.")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Continue", exact=True).click()
    on = page.get_by_role("link", name="Continue", exact=True)  # from the settings, once they are read
    expect(on).to_be_visible(timeout=PATIENCE)
    on.click()
    launch(page)
    expect_finished(page)
    visit("/applications/")
    page.get_by_role("link", name=NAME).click()
    see(page, page.get_by_role("link", name="Open in Browser Production"), production, "5.0")
    window.refresh_from_db()
    heard = heard_after(production, window.quiet_at)
    assert all(datetime.fromisoformat(line["began_at"]) > window.disabled_at for line in heard)
    assert "Traceback" not in workers.output()
