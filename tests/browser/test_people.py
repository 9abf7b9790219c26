"""User Management as people see it: by keyboard, in both themes, on a narrow window."""

import pytest
from playwright.sync_api import expect

from lifetime import service_accounts
from lifetime.changes import Author
from lifetime.models import Role, RoleLevel, ServiceAccount, Team, TeamApplication, TeamMembership, User
from tests.browser.conftest import assert_accessible, assert_no_sideways_scrolling, screenshot
from tests.factories import PASSWORD, create_environment, create_user
from tests.lifetime.factories import create_application, create_role

THEMES = ["light", "dark"]
NARROW = {"width": 320, "height": 640}


def world():
    """Three environments, some people, a team with an application, a service account."""
    for name, purpose in (("Development", "Development"), ("Quality", "Test"), ("Production", "Production")):
        create_environment(name=name, purpose=purpose)
    tester = create_role("Tester", level=4, description="Tests what others built")
    grace = create_user(name="Grace Hopper", username="grace", role=tester)
    create_user(name="Alan Turing", username="alan", is_active=False)
    team = Team.objects.create(name="Claims", description="Insurance claims")
    TeamMembership.objects.create(team=team, user=grace, role=Role.objects.developer())
    TeamApplication.objects.create(team=team, application=create_application("Invoices"))
    create_application("Free")
    account = ServiceAccount.objects.create(username="pipeline", role=Role.objects.developer(), description="CI")
    service_accounts.issue_token(account, by=Author())
    return grace, tester, team, account


@pytest.mark.parametrize("theme", THEMES)
def test_pages_are_for_everybody(signed_in_page, visit, theme):
    page = signed_in_page(create_user(name="Ada Lovelace", username="ada", theme=theme))
    grace, tester, team, account = world()
    pages = {
        "users": "/users/",
        "create-user": "/users/new/",
        "user": grace.get_absolute_url(),
        "roles": "/roles/",
        "role": tester.get_absolute_url(),
        "administrator": Role.objects.administrator().get_absolute_url(),
        "teams": "/teams/",
        "team": team.get_absolute_url(),
        "service-accounts": "/service-accounts/",
        "service-account": account.get_absolute_url(),
        "application-roles": f"/application-roles/{TeamApplication.objects.get().application.key}/",
    }
    for name, path in pages.items():
        page.set_viewport_size({"width": 1280, "height": 800})
        visit(path)
        assert_accessible(page)
        screenshot(page, f"people-{name}-{theme}")
        page.set_viewport_size(NARROW)
        assert_no_sideways_scrolling(page)
        screenshot(page, f"people-{name}-{theme}-320")


def test_a_user_is_created_and_logs_in(signed_in_page, visit, page, live_server):
    signed_in_page()
    visit("/users/")
    page.get_by_role("link", name="New User").click()
    page.get_by_label("Name", exact=True).fill("Grace Hopper")
    page.get_by_label("Username").fill("ADA")
    page.get_by_label("E-mail address").fill("grace@example.org")
    page.get_by_label("Password", exact=False).first.fill(PASSWORD)
    page.get_by_label("Repeat password").fill(PASSWORD)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("The username ADA is taken by a person.")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password", exact=False).first.fill(PASSWORD)
    page.get_by_label("Repeat password").fill(PASSWORD)
    page.get_by_role("button", name="Create").click()

    expect(page.get_by_text("Grace Hopper is created")).to_be_visible()
    assert User.objects.get(username="grace").check_password(PASSWORD)


def test_a_role_is_lifted_by_keyboard_after_its_people_are_shown(signed_in_page, visit):
    page = signed_in_page()
    _, tester, *_ = world()
    visit(tester.get_absolute_url())
    page.get_by_role("radio", name="Open and Debug Applications in Development").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Change and Deploy Applications in Development")).to_be_checked()
    page.get_by_role("checkbox", name="Create Applications in Development").check()
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_role("alert")).to_contain_text("it concerns 1 user")
    expect(page.get_by_role("alert")).to_contain_text("Grace Hopper")
    assert_accessible(page)
    screenshot(page, "people-role-unconfirmed")
    page.get_by_role("button", name="Save for all of them").first.click()
    expect(page.get_by_text("The role Tester is saved.")).to_be_visible()
    lifted = RoleLevel.objects.get(role=tester, environment__name="Development")
    assert (lifted.level, lifted.create_applications) == (5, True)
    assert RoleLevel.objects.get(role=tester, environment__name="Quality").level == 4


def test_a_used_role_is_deleted_in_the_dialog(signed_in_page, visit):
    page = signed_in_page()
    grace, tester, *_ = world()
    visit(tester.get_absolute_url())
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_text("Choose the role they get instead.")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "people-delete-role", whole=False)
    dialog.get_by_label("Role they get instead").select_option(label="Developer")
    dialog.get_by_role("button", name="Delete").click()

    expect(page.get_by_text("The role Tester is deleted.")).to_be_visible()
    grace.refresh_from_db()
    assert grace.role.name == "Developer"


def test_a_team_gets_people_and_applications(signed_in_page, visit):
    page = signed_in_page()
    *_, team, _ = world()
    visit(team.get_absolute_url())
    page.get_by_label("Username").press_sequentially("ad")
    expect(page.locator("#people option")).to_have_count(1)
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Role", exact=True).select_option(label="Tester")
    page.get_by_role("button", name="Set role in the team").click()
    expect(page.get_by_text("Ada Lovelace has the role")).to_be_visible()
    page.get_by_text("Add Applications").click()
    page.get_by_label("Free").check()
    assert_accessible(page)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("1 application added to the team.")).to_be_visible()
    page.get_by_role("button", name="Remove Grace Hopper").click()
    expect(page.get_by_text("Grace Hopper is no longer in the team.")).to_be_visible()


def test_a_token_is_shown_only_once(signed_in_page, visit):
    page = signed_in_page()
    *_, account = world()
    visit(account.get_absolute_url())
    page.get_by_role("button", name="Renew the token").click()
    secret = page.locator("#token").inner_text()
    assert_accessible(page)
    screenshot(page, "people-token", whole=False)

    assert service_accounts.authenticate(secret) == account
    visit(account.get_absolute_url())
    expect(page.locator("#token")).to_have_count(0)
    page.get_by_role("button", name=f"Revoke {secret[:10]}").click()
    expect(page.get_by_text("is revoked: it opens nothing")).to_be_visible()
    assert service_accounts.authenticate(secret) is None


def test_the_tab_is_hidden_from_who_manages_nobody(signed_in_page, visit):
    page = signed_in_page(create_user(manages_infrastructure=False))
    visit("/settings/")

    expect(page.get_by_role("link", name="Applications")).to_have_count(1)
    expect(page.get_by_role("link", name="User Management")).to_have_count(0)
