"""Browser tests: Playwright drives Chromium against the console as people see it (`$CHROMIUM` names another one)."""

import os
import re
import signal
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import Page

from tests.factories import PASSWORD, create_user
from tests.processes import Process

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright's synchronous API keeps a loop in this thread

SCREENSHOTS = Path(os.environ.get("LIFETIME_SCREENSHOTS", settings.VAR_DIR / "screenshots"))
FAILED_ON_PURPOSE = re.compile(
    r"Failed to load resource: the server responded with a status of 4\d\d|Response Status Error Code 4\d\d from"
)


def pytest_collection_modifyitems(items):
    """Every browser test reads what the server has committed.

    They come last: Playwright keeps an event loop in the thread from its first test on, and no task could run its own.
    """
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.django_db(transaction=True))
    items.sort(key=lambda item: here in item.path.parents)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    return {
        **browser_type_launch_args,
        "executable_path": os.environ.get("CHROMIUM", "/usr/bin/chromium"),
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    }


@pytest.fixture(scope="session")
def base_url():
    """Pages are asked for by `live_server`; the plugin's own fixture is deprecated by pytest."""
    return


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return {
        **browser_context_args,
        "viewport": {"width": 1280, "height": 800},
        "timezone_id": "Europe/Berlin",
        "reduced_motion": "reduce",
    }


@pytest.fixture(autouse=True)
def _no_trouble_in_the_browser(context):
    """Fail on an error in the console, an uncaught exception, or anything that the content security policy blocked."""
    troubles = []

    def watch(page):
        page.on("pageerror", lambda error: troubles.append(f"{page.url}: {error}"))
        page.on("console", lambda message: note(page, message))

    def note(page, message):
        if message.type in ("error", "warning") and not FAILED_ON_PURPOSE.match(message.text):
            troubles.append(f"{page.url}: {message.text}")

    context.on("page", watch)
    yield
    assert troubles == []


@pytest.fixture
def visit(live_server, page):
    """Go to a path of the console."""

    def visit(path: str) -> Page:
        page.goto(f"{live_server.url}{path}")
        return page

    return visit


@pytest.fixture
def signed_in_page(live_server, page, client):
    """A page of a person who is logged in: `signed_in_page(user)`, or anybody who manages the infrastructure."""

    def sign_in(user=None) -> Page:
        client.force_login(user or create_user(name="Ada Lovelace", username="ada"))
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": client.session.session_key, "url": live_server.url}
        page.context.add_cookies([cookie])
        return page

    return sign_in


@pytest.fixture
def workers(tmp_path, db):
    """A cluster of workers in a process of its own, which ends well."""
    with Process("manage.py", "qcluster", log=tmp_path / "qcluster.log", LIFETIME_WORKERS="2") as cluster:
        yield cluster
        cluster.signal(signal.SIGTERM)
        assert cluster.wait() == 0, cluster.output()


def log_in(page, live_server, user):
    """Log in by hand."""
    page.goto(f"{live_server.url}/login/?next=/settings/")
    page.get_by_label("Username").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def assert_accessible(page):
    """Axe finds no violation."""
    violations = Axe().run(page).response["violations"]
    assert [
        f"{one['id']}: {one['help']}: {node['html']} {node.get('failureSummary', '')}"
        for one in violations
        for node in one["nodes"]
    ] == []


def assert_no_sideways_scrolling(page):
    """The page fits its window; only tables and the like may scroll inside of themselves."""
    widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths[0] <= widths[1], f"{page.url} is {widths[0]} wide in a window of {widths[1]}"


def screenshot(page, name, *, whole=True):
    """Keep a picture of the page, or of its window, under var/screenshots."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    # Hiding the caret would leave style attributes on inputs, and the policy forbids htmx to copy those.
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole, caret="initial")
