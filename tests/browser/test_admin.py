"""Django admin in a browser: support staff toggle from there, and nothing is blocked by the content security policy."""

from playwright.sync_api import expect

from environments import maintenance
from environments.models import Environment
from tests.browser.conftest import screenshot
from tests.factories import actor, create_environment, create_support_staff


def test_support_staff_toggle_a_cloud_environment(signed_in_page, visit):
    environment = create_environment(name="Production", hosting="cloud")
    maintenance.enable(create_environment(name="Test"), by=actor(), reason="Platform upgrade")
    page = signed_in_page(create_support_staff(name="Sam Support", username="sam"))

    visit("/admin/environments/environment/")
    screenshot(page, "admin-environments")
    page.get_by_role("row", name="Production").get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option("Enable maintenance mode…")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("Nothing is in progress there.")).to_be_visible()
    screenshot(page, "admin-enable")
    page.get_by_role("button", name="Enable maintenance mode").click()
    expect(page.get_by_text("Say why")).to_be_visible()
    page.get_by_label("Reason").fill("Platform upgrade")
    page.keyboard.press("Enter")

    expect(page.get_by_text("Maintenance mode is enabled: Production.")).to_be_visible()
    assert Environment.objects.get(pk=environment.pk).is_in_maintenance


def test_the_pages_of_support_staff_break_no_rule_of_the_browser(signed_in_page, visit):
    create_environment(name="Test")
    page = signed_in_page(create_support_staff(username="sam"))

    for path in (
        "",
        "environments/environment/1/change/",
        "environments/contact/",
        "django_q/ormq/",
        "audit/auditevent/",
    ):
        visit(f"/admin/{path}")
        expect(page.get_by_role("heading").first).to_be_visible()
