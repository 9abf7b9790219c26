"""What the stories have in common: pictures in both themes, dialogs by keyboard, what an environment heard."""

from datetime import datetime

from playwright.sync_api import expect

from tests.browser.conftest import assert_accessible, assert_no_sideways_scrolling, screenshot
from tests.browser.test_environments import NARROW

PATIENCE = 20_000  # milliseconds; the machine may be busy


def picture(page, name, *, whole=True):
    """In both themes, and nothing is wrong with either of them."""
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme=theme)
        assert_accessible(page)
        screenshot(page, f"{name}-{theme}", whole=whole)
    before = page.viewport_size
    page.set_viewport_size(NARROW)
    assert_no_sideways_scrolling(page)
    page.set_viewport_size(before)


def press_through(page, *, until):
    """Press Tab until something has the focus, as somebody without a mouse does."""
    for _ in range(60):
        if until.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("Tab does not lead there")


def open_dialog(page, button):
    press_through(page, until=page.get_by_role("button", name=button))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=button)).to_be_visible()
    expect(page.get_by_label("Reason")).to_be_focused()


def heard_after(platform, instant):
    """What the environment's own access log says of the time after an instant."""
    return [line for line in platform.log() if datetime.fromisoformat(line["ended_at"] or line["began_at"]) > instant]
