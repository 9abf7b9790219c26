"""The page that describes the REST API."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import assert_accessible, assert_no_sideways_scrolling, screenshot
from tests.factories import create_user


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_description_of_the_api_is_for_everybody(signed_in_page, visit, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    visit("/service-accounts/").get_by_role("link", name="REST API").click()
    page.get_by_role("link", name="Maintenance mode").click()
    expect(page.get_by_role("heading", name="Maintenance mode")).to_be_in_viewport()
    page.get_by_text("200: MaintenanceMode").first.click()
    expect(page.get_by_role("rowheader", name="DisableReason").first).to_be_visible()
    assert_accessible(page)
    screenshot(page, f"rest-api-{theme}", whole=False)
    page.set_viewport_size({"width": 320, "height": 640})
    assert_no_sideways_scrolling(page)
    screenshot(page, f"rest-api-{theme}-narrow", whole=False)
