"""Security, previews, authentication and plugins as people see them: both themes, a narrow window, the keyboard."""

from uuid import uuid4

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from environments import authentication, maintenance, plugins, security
from environments.models import (
    ApplicationTask,
    AuthenticationProvider,
    ProviderTest,
    RegistrationDraft,
    TechnicalPreview,
)
from tests.browser.conftest import assert_accessible, assert_no_sideways_scrolling, screenshot
from tests.factories import actor, create_environment, create_user

THEMES = ["light", "dark"]
NARROW = {"width": 320, "height": 640}


def has_databases(environment):
    """It has said which connections it has, and one of them was tested."""
    orders = {
        "key": str(uuid4()),
        "name": "Orders",
        "provider": "postgresql",
        "description": "Where orders are",
        "username": "app",
        "has_password": True,
        "parameters": {"host": "orders.database.example.com", "database": "orders"},
        "revision": 3,
        "changed_at": "2026-11-23T10:00:00Z",
        "changed_by": "Ada Lovelace",
    }
    host = {"name": "host", "description": "A host name or an IP address.", "is_required": True}
    postgresql = {"key": "postgresql", "name": "PostgreSQL", "has_login": True, "parameters": [host]}
    over = {"environment": environment, "status": "finished", "ended_at": timezone.now(), "requested_by": "Ada"}
    told = {"connections": [orders], "providers": [postgresql]}
    ApplicationTask.objects.create(kind="read_databases", result=told, **over)
    ApplicationTask.objects.create(
        kind="test_database",
        parameters={"key": orders["key"], "name": "Orders", "revision": 3},
        result={"succeeded": False, "message": 'FATAL: database "orders" does not exist', "took_ms": 12},
        **over,
    )


def world():
    """Two environments, one in maintenance mode, with something of everything."""
    development = create_environment(name="Development", version="11.28.1")
    production = create_environment(name="Production", purpose="Production")
    for key in ("maps", "assistant"):
        TechnicalPreview.objects.create(
            environment=development, key=key, name=key.title(), description=f"Tries {key} in every screen."
        )
    TechnicalPreview.objects.create(environment=production, key="maps", name="Maps", is_enabled=True)
    company = authentication.save(
        None,
        name="Company",
        mode="oidc",
        configuration={
            "well_known_url": "https://login.example.com/.well-known/openid-configuration",
            "client_id": "console",
            "username_claim": "email",
            "scopes": ["openid", "email", "profile"],
        },
        secret="of-the-client",
        by=actor(),
    )
    ProviderTest.objects.create(
        provider=company,
        requested_by="Ada Lovelace",
        status="failed",
        ended_at=timezone.now(),
        findings=[
            {"kind": "fine", "text": "The well-known URL answers with a configuration."},
            {"kind": "error", "text": "The token_endpoint is missing."},
            {"kind": "warning", "text": "Whether client ID and secret are right shows at the first log-in only."},
        ],
    )
    plugins.register(
        plugins.Wanted(name="Board", entry_point="https://board.example.com", developer="Grace Hopper"), by=actor()
    )
    security.change(production, {"hsts": True}, by=actor())
    for environment in (development, production):
        has_databases(environment)
    maintenance.enable(production, by=actor("Grace Hopper"), reason="Platform upgrade")
    return development, production, company


@pytest.mark.parametrize("theme", THEMES)
def test_pages_are_for_everybody(signed_in_page, visit, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    development, production, company = world()
    paths = {
        "security": f"/infrastructure/{development.key}/security/",
        "security-in-maintenance": f"/infrastructure/{production.key}/security/",
        "environment": f"/infrastructure/{production.key}/",
        "cards": "/infrastructure/",
        "previews": "/infrastructure/previews/",
        "authentication": "/authentication/",
        "provider": f"/authentication/{company.key}/",
        "new-ldap": "/authentication/new/ldap/",
        "new-oidc": "/authentication/new/oidc/",
        "plugins": "/plugins/",
        "databases": f"/infrastructure/database-connections/{development.key}/",
        "database": f"/infrastructure/database-connections/{development.key}/add/",
        "databases-in-maintenance": f"/infrastructure/database-connections/{production.key}/",
        "blocked": f"/infrastructure/blocked-addresses/{development.key}/",
        "blocked-in-maintenance": f"/infrastructure/blocked-addresses/{production.key}/",
    }
    for name, path in paths.items():
        page.set_viewport_size({"width": 1280, "height": 800})
        visit(path)
        assert_accessible(page)
        screenshot(page, f"settings-{name}-{theme}")
        page.set_viewport_size(NARROW)
        assert_no_sideways_scrolling(page)
        screenshot(page, f"settings-{name}-{theme}-320")


def proposal():
    """A checked proposal of an environment that knows people."""
    environment = create_environment(
        name="Test", purpose="Test", registration="checked", registration_message="Test, platform 11.28.1, Test"
    )
    told = {"is_active": True, "role": "Developer"}
    people = [
        {**told, "username": "grace", "name": "Grace Hopper", "email": "grace@example.org"},
        {**told, "username": "alan", "name": "Alan Turing", "email": "", "role": ""},
        {**told, "username": "ada", "name": "Ada Lovelace", "email": "ada@example.org"},
        {**told, "username": "with space", "name": "Nobody", "email": ""},
    ]
    RegistrationDraft.objects.create(environment=environment, people=people)
    return environment


@pytest.mark.parametrize("theme", THEMES)
def test_the_steps_of_a_registration_are_for_everybody(signed_in_page, visit, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    environment = proposal()
    first = f"/infrastructure/register/{environment.key}/"
    for name, path in {"summary": first, "roles": f"{first}roles/", "users": f"{first}users/"}.items():
        page.set_viewport_size({"width": 1280, "height": 800})
        visit(path)
        assert_accessible(page)
        screenshot(page, f"registration-{name}-{theme}")
        page.set_viewport_size(NARROW)
        assert_no_sideways_scrolling(page)
        screenshot(page, f"registration-{name}-{theme}-320")
    page.get_by_label("E-mail address of Alan Turing").fill("alan@example.org")
    page.get_by_label("Import Alan Turing").check()
    page.get_by_role("button", name="Save and go on").click()
    expect(page.get_by_text("2 people are imported; 1 is known here already")).to_be_visible()


def test_a_client_id_for_each_kind_is_asked_for_when_it_is_wanted(signed_in_page, visit):
    page = signed_in_page()
    visit("/authentication/new/oidc/")
    expect(page.get_by_label("Client ID", exact=True)).to_be_visible()
    expect(page.get_by_label("Client ID of production environments")).to_be_hidden()
    page.get_by_label("Another one for each kind of environment").check()
    expect(page.get_by_label("Client ID", exact=True)).to_be_hidden()
    expect(page.get_by_label("Client ID of production environments")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "settings-client-ids")


def test_a_setting_is_saved_and_bad_ones_are_refused_in_place(signed_in_page, visit):
    page = signed_in_page()
    environment = create_environment(name="Development")
    visit(f"/infrastructure/{environment.key}/")
    page.get_by_role("link", name="Environment Security").click()
    page.get_by_label("HTTP Strict Transport Security").check()
    page.get_by_label("Send a Content Security Policy").check()
    page.get_by_label("img-src").fill("'self'\ndata:\nhttps://images.example;script-src *")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("which would begin another directive")).to_be_visible()
    expect(page.get_by_label("HTTP Strict Transport Security")).to_be_checked()
    assert_accessible(page)
    page.get_by_label("img-src").fill("'self'\ndata:\nhttps://images.example")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("are saved and will be delivered")).to_be_visible()
    environment.refresh_from_db()
    assert environment.security["hsts"]
    assert environment.security["content_security_policy"]["directives"]["img-src"][-1] == "https://images.example"


def test_a_feature_is_enabled_by_keyboard(signed_in_page, visit):
    page = signed_in_page()
    world()
    visit("/infrastructure/previews/")
    expect(page.get_by_role("checkbox", name="Maps in Production")).to_be_disabled()
    page.get_by_role("checkbox", name="Maps in Development").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 toggle saved")).to_be_visible()
    expect(page.get_by_role("checkbox", name="Maps in Development")).to_be_checked()


def test_a_provider_is_activated_after_the_dialog_said_what_happens(signed_in_page, visit):
    page = signed_in_page()
    *_, company = world()
    visit(f"/authentication/{company.key}/")
    page.get_by_role("button", name="Activate").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("everybody has to log in again")
    expect(dialog).to_contain_text("given it afterwards: Production")
    assert_accessible(page)
    screenshot(page, "settings-activate", whole=False)
    dialog.get_by_role("button", name="Activate").click()
    expect(page.get_by_text("Company is active")).to_be_visible()
    expect(page.get_by_text("Pending: in maintenance mode")).to_be_visible()
    page.get_by_role("link", name="Company").click()
    page.get_by_role("button", name="Deactivate").click()
    dialog.get_by_role("button", name="Deactivate").click()
    expect(page.get_by_text("the built-in authentication holds.")).to_be_visible()
    assert not AuthenticationProvider.objects.filter(is_active=True).exists()
