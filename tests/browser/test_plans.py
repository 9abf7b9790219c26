"""The pages of deployment plans in a browser: both themes, narrow and wide, by keyboard."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from deployments.journal import Line, write
from deployments.models import (
    DeploymentPlan,
    LineType,
    PlanDependent,
    PlanFinding,
    PlanRemoval,
    PlanStep,
)
from environments import blocking, maintenance
from environments.models import ApplicationSettings
from lifetime.models import Team, TeamApplication, User
from tests.browser.conftest import assert_accessible, screenshot
from tests.browser.stories import press_through
from tests.browser.test_applications import check
from tests.deployments.factories import (
    create_application,
    create_plan,
    create_route,
    create_started_plan,
    operation,
    publish,
    tag,
    validated,
)
from tests.factories import actor, create_environment, create_user

MODULE = "00000000-0000-0000-0000-00000000000a"
SETTINGS = {
    "site_properties": [
        {
            "module_key": MODULE,
            "module": "BackOffice",
            "name": name,
            "data_type": "Text",
            "description": "Where payments go.",
            "default_value": default,
            "effective_value": None,
            "is_secret": is_secret,
        }
        for name, default, is_secret in [("PaymentAddress", None, False), ("Key", None, True), ("Page", "50", False)]
    ]
}


@pytest.fixture
def route():
    zones = [{"key": "default", "name": "Internal"}, {"key": "dmz", "name": "Customers"}]
    source, target = create_route(deployment_zones=zones)
    create_environment(name="Production", purpose="Production")
    return source, target


@pytest.fixture
def applications(route):
    names = ["Back Office", "Field Service", "Order Service", "Users", "Customer Portal with a rather long name"]
    found = [create_application(name) for name in names]
    claims = Team.objects.create(name="Claims")
    for place, application in enumerate(found):
        tag(application, "0.9", change_log="The first one that people used.")
        publish(application, route[0], number="1.1", is_modified=place == 1)
        if place < 3:
            publish(application, route[1], number="1.0")
        TeamApplication.objects.create(team=claims, application=application)
    blocking.block(route[1], found[3], by=actor("Grace Hopper"), reason="Its licence does not cover this environment")
    return found


@pytest.fixture
def plan(route, applications):
    plan = validated(
        create_plan(*route, applications=applications, label="Release 1.1 of Claims", notes="Ask Ana before you start.")
    )
    PlanFinding.objects.create(
        plan=plan,
        severity="Error",
        type="Producer Element Missing",
        message="Deploying Back Office 1.1 results in broken references in Test: module BackOffice_UI is incompatible "
        "with module OrderService_API since action GetOrder is missing.",
        consumer_operation=operation(plan, applications[0]),
        producer_operation=operation(plan, applications[2]),
    )
    PlanFinding.objects.create(
        plan=plan, severity="Info", message="1 dependency has been added to your plan: Order Service."
    )
    PlanDependent.objects.create(
        plan=plan, application_key=applications[4].key, application_name="Reports", reason="It uses Order Service 1.0."
    )
    PlanRemoval.objects.create(
        plan=plan,
        application_key=applications[0].key,
        application_name="Back Office",
        module_key=MODULE,
        module_name="BackOffice_Old",
    )
    return plan


def show(page, live_server, name, plan, query=""):
    page.goto(f"{live_server.url}{reverse(f'plans:{name}', args=[plan.key])}{query}")


def test_the_steps_are_accessible(signed_in_page, visit, live_server, route, applications, plan):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme="light"))
    publish(applications[2], route[0], number="1.2")
    show(page, live_server, "edit", plan)
    expect(page.get_by_text("Fix errors in selection")).to_be_visible()
    check(page, "plan-edit-light")
    values = {"application": applications[0], "environment": route[0], "read_at": timezone.now()}
    ApplicationSettings.objects.create(document=SETTINGS, **values)
    show(page, live_server, "configure", plan)
    check(page, "plan-settings-light")
    show(page, live_server, "review", plan)
    check(page, "plan-review-light")
    User.objects.update(theme="dark")
    show(page, live_server, "edit", plan)
    screenshot(page, "plan-edit-dark")
    assert_accessible(page)
    visit("/plans/?from=2026-01-01")
    check(page, "plans-dark")


def test_progress_is_accessible(signed_in_page, visit, live_server, route, applications):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme="dark"))
    running = create_started_plan(*route, applications=applications[:2])
    PlanStep.objects.filter(plan=running, name="retrieving").update(warnings=1)
    write(
        running,
        Line(message="Grace Hopper started the deployment of 2 applications."),
        Line(message="Back Office 1.1 is brought over.", step="retrieving"),
        Line(message="It took three attempts.", step="retrieving", type=LineType.WARNING),
    )
    waiting = create_started_plan(
        *route,
        applications=applications[2:3],
        status="needs_user_intervention",
        information="deploy_prepared",
        step="distributing",
        prepared_until=timezone.now() + timedelta(hours=90),
    )
    saved = create_plan(*route, applications=applications[:2])
    show(page, live_server, "progress", running)
    check(page, "plan-running-dark")
    show(page, live_server, "progress", waiting)
    expect(page.get_by_role("link", name="Continue Later")).to_be_visible()
    screenshot(page, "plan-prepared-dark")
    visit("/applications/")
    expect(page.get_by_role("link", name=f"Prepared #{waiting.number} to Test")).to_be_visible()
    check(page, "applications-plans-dark")
    visit(applications[0].get_absolute_url())
    screenshot(page, "application-plans-dark")
    show(page, live_server, "progress", running)
    maintenance.enable(route[1], by=actor("Grace Hopper"), reason="Upgrade of the platform to 11.29, OPS-1742")
    expect(page.get_by_text("is as it was before")).to_be_visible()
    expect(page.locator("#history").get_by_text("Aborted deployment plan")).to_be_visible()
    check(page, "plan-aborted-dark")
    show(page, live_server, "edit", saved)
    expect(page.get_by_text("The plan can only be looked at")).to_be_visible()
    screenshot(page, "plan-edit-maintenance-dark")
    User.objects.update(theme="light")
    visit("/plans/")
    screenshot(page, "plans-states-light")


def test_how_a_plan_ended_is_read_in_a_narrow_window(signed_in_page, visit, route):
    page = signed_in_page()
    create_started_plan(*route, status="finished_with_warnings", ended_at=timezone.now())
    page.set_viewport_size({"width": 320, "height": 640})

    visit("/plans/")

    badge = page.locator(".plan-list .badge").bounding_box()
    table = page.locator(".plan-list").bounding_box()
    assert badge["x"] + badge["width"] <= table["x"] + table["width"]


def test_dialogs_are_accessible(signed_in_page, visit, live_server, route, applications):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme="light"))
    plan = create_plan(*route, applications=applications[:2])
    show(page, live_server, "edit", plan)
    for button in ["Add Applications", "Change target environment", "Deploy Custom… Back Office", "Discard Plan"]:
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert_accessible(page)
        screenshot(page, f"plan-dialog-{button.split()[0].lower()}-light", whole=False)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_plan_is_made_by_keyboard(signed_in_page, visit, route, applications):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada"))
    visit("/plans/")
    page.get_by_role("button", name="Create Deployment Plan").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Source environment")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("Test")
    press_through(page, until=page.get_by_role("button", name="Create", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Add the applications to deploy")).to_be_visible()
    option = page.get_by_label("Deployment option for Field Service")
    option.focus()
    page.keyboard.type("Do")
    page.get_by_role("button", name="Add Applications").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Add Applications")
    expect(dialog.get_by_label("Application or team")).to_be_focused()
    page.keyboard.type("users")
    box = dialog.get_by_role("checkbox", name="Users")
    expect(dialog.get_by_role("checkbox")).to_have_count(2)
    box.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Users")).to_be_visible()
    expect(page.get_by_label("Deployment option for")).to_have_count(5)
    expect(option).to_have_value("nothing")  # what was chosen and not sent yet went with it
    page.get_by_role("button", name="Save Plan").click()
    expect(page.get_by_text("is saved")).to_be_visible()
    page.get_by_role("button", name="Discard Plan").click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    page.get_by_role("dialog").get_by_role("button", name="Discard Plan").click()
    expect(page.get_by_text("is discarded")).to_be_visible()
    assert not DeploymentPlan.objects.exists()
