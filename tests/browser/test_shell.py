import pytest
from playwright.sync_api import expect

from tests.browser.conftest import assert_accessible, assert_no_sideways_scrolling, log_in, screenshot
from tests.factories import PASSWORD, create_user

THEMES = ["light", "dark"]
NARROW = {"width": 320, "height": 640}


def test_a_person_logs_in_and_out(page, live_server):
    user = create_user(name="Ada Lovelace", username="ada")
    log_in(page, live_server, user)

    page.get_by_text("Ada Lovelace").first.click()
    page.get_by_role("button", name="Log out").click()

    expect(page).to_have_url(f"{live_server.url}/login/")
    expect(page.get_by_role("status").get_by_text("You are logged out.")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_the_log_in_page_is_for_everybody(visit, page, theme):
    page.emulate_media(color_scheme=theme)
    visit("/login/?next=/settings/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("nobody")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")

    expect(page.get_by_text("The username or the password is wrong.")).to_be_visible()
    assert_accessible(page)
    screenshot(page, f"login-{theme}")
    page.set_viewport_size(NARROW)
    assert_no_sideways_scrolling(page)
    screenshot(page, f"login-{theme}-320")


@pytest.mark.parametrize("theme", THEMES)
def test_settings_are_for_everybody(signed_in_page, visit, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    visit("/settings/")

    assert_accessible(page)
    screenshot(page, f"settings-{theme}")
    page.get_by_text("Ada Lovelace").first.click()
    assert_accessible(page)
    screenshot(page, f"menu-{theme}")
    page.set_viewport_size(NARROW)
    assert_no_sideways_scrolling(page)
    screenshot(page, f"menu-{theme}-320")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    screenshot(page, f"settings-{theme}-320")


def test_the_theme_changes_from_the_menu_by_keyboard(signed_in_page, visit):
    page = signed_in_page()
    visit("/settings/")
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(15, 21, 23)"


def test_times_are_in_the_browsers_zone(signed_in_page, visit):
    page = signed_in_page()
    visit("/settings/")
    page.reload()

    expect(page.get_by_text("Times in Europe/Berlin")).to_be_visible()


def test_the_skip_link_comes_first_and_leads_to_the_content(signed_in_page, visit):
    page = signed_in_page()
    visit("/settings/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.locator("#main")).to_be_focused()


def test_a_password_is_changed(signed_in_page, visit):
    page = signed_in_page()
    visit("/settings/password/")
    assert_accessible(page)
    screenshot(page, "change-password")
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("short")
    page.get_by_label("Repeat new password").fill("different")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("too short")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "change-password-refused")
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("Another 1 of these")
    page.get_by_label("Repeat new password").fill("Another 1 of these")
    page.get_by_role("button", name="Change password").click()

    expect(page.get_by_text("Your password is changed.")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_pages_that_do_not_exist_say_so(signed_in_page, visit, theme):
    page = signed_in_page(create_user(theme=theme))
    visit("/nothing/here/")

    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    assert_accessible(page)
    screenshot(page, f"404-{theme}")


@pytest.mark.parametrize("theme", THEMES)
def test_tabs_and_sub_menu_say_where_one_is(signed_in_page, visit, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    visit("/audit/")

    expect(page.get_by_role("link", name="Audit Logs")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("navigation", name="Main").locator("[aria-current]")).to_have_count(1)
    assert_accessible(page)
    screenshot(page, f"audit-{theme}")
    page.set_viewport_size(NARROW)
    assert_no_sideways_scrolling(page)
    screenshot(page, f"audit-{theme}-320")


def test_people_without_rights_see_no_tabs_they_cannot_open(signed_in_page, visit):
    page = signed_in_page(create_user(manages_infrastructure=False))
    visit("/")

    expect(page.get_by_role("navigation", name="Main").get_by_role("link")).to_have_text(["Applications", "Plugins"])
    visit("/audit/")
    expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
    expect(page.locator(".problem__message")).to_contain_text("Manage Infrastructure and Users")
    assert_accessible(page)
    screenshot(page, "403", whole=False)


def test_the_bar_fits_narrow_windows(signed_in_page, visit):
    page = signed_in_page()
    page.set_viewport_size({"width": 768, "height": 800})
    visit("/users/")
    brand, menu = (page.locator(part).bounding_box() for part in (".brand", ".bar__end"))
    assert menu["y"] < brand["y"] + brand["height"]

    page.set_viewport_size(NARROW)
    visit("/users/")

    current = page.locator(".tabs__tab[aria-current]").bounding_box()
    assert current["x"] >= 0
    assert current["x"] + current["width"] <= 320
    screenshot(page, "bar-narrow", whole=False)
