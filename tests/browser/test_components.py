import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import assert_accessible, assert_no_sideways_scrolling, screenshot
from tests.factories import create_user

pytestmark = pytest.mark.urls("tests.browser.styleguide")

THEMES = ["light", "dark"]


@pytest.fixture
def page_of(signed_in_page, visit):
    def page_of(theme="auto"):
        page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
        visit("/styleguide/")
        return page

    return page_of


@pytest.mark.parametrize("theme", THEMES)
def test_every_component_is_for_everybody(page_of, theme):
    page = page_of(theme)

    assert_accessible(page)
    screenshot(page, f"components-{theme}")
    page.set_viewport_size({"width": 320, "height": 640})
    assert_no_sideways_scrolling(page)
    assert_accessible(page)
    screenshot(page, f"components-{theme}-320")
    page.set_viewport_size({"width": 2200, "height": 1000})
    screenshot(page, f"components-{theme}-2200")


@pytest.mark.parametrize("theme", THEMES)
def test_the_dialog_is_worked_by_keyboard_alone(page_of, theme):
    page = page_of(theme)
    opener = page.locator("#do-enable-maintenance-mode")
    dialog = page.locator("#dialog")
    opener.focus()
    page.keyboard.press("Enter")
    reason = dialog.get_by_label("Reason")
    expect(reason).to_be_focused()
    assert dialog.evaluate("dialog => dialog.matches(':modal')")
    expect(page.get_by_role("dialog", name="Enable maintenance mode of Production?")).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # without a reason: refused by the browser or the server

    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    expect(dialog).to_be_empty()  # by its close event, which comes after it was hidden


def test_a_refused_form_stays_in_the_dialog(page_of):
    page = page_of()
    page.locator("#do-enable-maintenance-mode").click()
    dialog = page.locator("#dialog")
    dialog.get_by_label("Reason").fill("   ")
    dialog.get_by_role("button", name="Enable").click()

    expect(dialog.get_by_text("This field is required.")).to_be_visible()
    expect(dialog.get_by_label("Reason")).to_be_focused()
    assert_accessible(page)
    screenshot(page, "dialog-refused", whole=False)
    dialog.get_by_label("Reason").fill("Platform upgrade")
    dialog.get_by_role("button", name="Enable").click()
    expect(dialog).to_be_hidden()


def test_typed_text_is_not_lost_unasked(page_of):
    page = page_of()
    page.locator("#do-enable-maintenance-mode").click()
    dialog = page.locator("#dialog")
    dialog.get_by_label("Reason").fill("Platform upg")

    page.keyboard.press("Escape")
    expect(dialog.get_by_text("You have typed something that is not sent.")).to_be_visible()
    screenshot(page, "dialog-unsaved", whole=False)
    page.keyboard.type("rade")
    expect(dialog.get_by_label("Reason")).to_have_value("Platform upgrade")
    page.mouse.click(5, 5)
    expect(dialog.get_by_text("You have typed something that is not sent.")).to_be_visible()
    page.mouse.click(5, 5)
    expect(dialog).to_be_hidden()


def test_cancel_closes_the_dialog(page_of):
    page = page_of()
    page.locator("#do-enable-maintenance-mode").click()
    page.get_by_role("button", name="Cancel").click()

    expect(page.locator("#dialog")).to_be_hidden()


def test_a_refused_action_is_reached_by_keyboard_and_says_why(page_of):
    page = page_of()
    button = page.locator("#do-refused-x")
    button.focus()

    why = page.locator("#why-refused-x")
    expect(why).to_be_visible()
    expect(button).to_have_accessible_description(re.compile("Ada Lovelace enabled maintenance mode"))
    screenshot(page, "refused-action", whole=False)
    page.keyboard.press("Enter")
    assert page.url.endswith("/styleguide/")
    page.keyboard.press("Escape")
    expect(why).to_be_hidden()
    page.locator("#do-refused-at-the-end-y").focus()
    assert_no_sideways_scrolling(page)


def test_polling_keeps_the_focus(page_of):
    page = page_of()
    link = page.locator("#polled a")
    link.focus()
    first = page.locator("#count").inner_text()
    expect(page.locator("#count")).not_to_have_text(first)

    expect(page.locator("#polled a")).to_be_focused()


def test_a_refusal_to_htmx_is_said_in_its_own_words(page_of):
    page = page_of()
    page.get_by_role("button", name="Fails").click()

    expect(page.get_by_role("status").get_by_text("Only Ada may do this.")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("Only Ada may do this.")).to_be_hidden()


def test_what_is_not_possible_now_is_said_in_the_dialog(page_of):
    page = page_of()
    page.get_by_role("button", name="Conflicts").click()

    dialog = page.get_by_role("dialog", name="Not while it is in maintenance mode")
    expect(dialog.get_by_text("Ada enabled maintenance mode at 14:05.")).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
