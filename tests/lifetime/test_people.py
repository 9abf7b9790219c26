from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.template import Context, Template
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEvent
from lifetime import people
from lifetime.changes import Author, Refused
from lifetime.models import Role, User
from lifetime.passwords import MixedCharacters
from lifetime.templatetags import console
from tests.factories import PASSWORD, create_user

pytestmark = pytest.mark.django_db


def test_the_built_in_roles_of_the_migration_are_those_of_the_manager():
    migration = import_module("lifetime.migrations.0002_built_in_roles")
    Role.objects.all().delete()
    migration.create(apps, None)
    made = [Role.objects.administrator(), Role.objects.developer()]

    assert Role.objects.count() == 2
    assert [role.is_built_in for role in made] == [True, True]
    assert [role.manage_infrastructure_and_users for role in made] == [True, False]
    assert [role.manage_teams_and_application_roles for role in made] == [True, False]


def test_managing_the_infrastructure_includes_managing_teams():
    with pytest.raises(IntegrityError, match="role_infrastructure_includes_teams"), transaction.atomic():
        Role.objects.create(name="Half", manage_infrastructure_and_users=True)


def test_usernames_are_unique_without_regard_to_case():
    create_user(username="ada")

    with pytest.raises(IntegrityError), transaction.atomic():
        create_user(username="ADA")
    with pytest.raises(ValidationError, match="Somebody else has this username"):
        User(username="Ada", name="Ada", email="a@example.org", role=Role.objects.developer()).full_clean()


def test_people_are_developers_unless_told_otherwise():
    user = User.objects.create_user("ada", PASSWORD, name="Ada Lovelace", email="ada@EXAMPLE.org")

    assert user.role.name == "Developer"
    assert not user.manages_infrastructure
    assert user.email == "ada@example.org"
    assert user.initials == "AL"


def test_a_person_without_password_has_an_unusable_one():
    assert not User.objects.create_user("ada", name="Ada", email="a@example.org").has_usable_password()


def test_createsuperuser_makes_an_administrator(monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", interactive=False, username="root", name="Root", email="r@example.org", verbosity=0)

    user = User.objects.get()
    assert user.role.name == "Administrator"
    assert user.manages_infrastructure
    assert user.is_staff


def test_nobody_gets_the_e_mail_address_of_somebody_else():
    create_user(username="ada", email="ada@example.org")
    eve = create_user(username="eve")
    double = create_user(username="double", email="ada@example.org")  # from before this was refused
    values = {"username": "kim", "name": "Kim", "email": "ADA@Example.org", "role": Role.objects.developer()}
    with pytest.raises(Refused, match="has the e-mail address"):
        people.create(**values, by=Author())
    with pytest.raises(Refused, match="has the e-mail address"):
        people.edit(eve, {"email": "Ada@example.org"}, by=Author())
    assert people.edit(double, {"name": "Twice"}, by=Author()).name == "Twice"
    assert people.edit(eve, {"email": "EVE@example.org"}, by=Author()).email == "EVE@example.org"


def test_a_username_is_as_long_as_it_becomes():
    with pytest.raises(Refused, match="150 at most"):
        people.clean_username("ﬃ" * 60)


def test_inactive_people_manage_nothing():
    assert not create_user(is_active=False).manages_infrastructure


def test_roles_in_use_cannot_be_deleted():
    user = create_user()

    with pytest.raises(ProtectedError):
        user.role.delete()


@pytest.mark.parametrize(
    ("password", "missing"),
    [
        ("nothing but small letters", "a digit and an upper-case letter"),
        ("1234567890123", "a lower-case letter and an upper-case letter"),
        ("ALL CAPS AND 1", "a lower-case letter"),
    ],
)
def test_passwords_mix_characters(password, missing):
    with pytest.raises(ValidationError, match=f"This password needs {missing}."):
        MixedCharacters().validate(password)


# My settings


def test_settings_are_saved(client):
    user = create_user()
    client.force_login(user)

    response = client.post(reverse("lifetime:settings"), {"time_zone": "Europe/Lisbon", "theme": "dark"})

    assert response.status_code == 302
    user.refresh_from_db()
    assert (user.time_zone, user.theme) == ("Europe/Lisbon", "dark")
    assert 'data-theme="dark"' in client.get(reverse("lifetime:settings")).content.decode()


@pytest.mark.parametrize("wrong", [{"time_zone": "Mars/Olympus"}, {"theme": "pink"}])
def test_wrong_settings_change_nothing(client, wrong):
    user = create_user(time_zone="UTC", theme="light")
    client.force_login(user)

    response = client.post(reverse("lifetime:settings"), {"time_zone": "Asia/Tokyo", "theme": "dark", **wrong})

    assert response.status_code == 422
    assert 'data-theme="light"' in response.content.decode()
    user.refresh_from_db()
    assert (user.time_zone, user.theme) == ("UTC", "light")


def test_the_theme_is_set_from_the_menu_and_leads_back(client):
    user = create_user()
    client.force_login(user)

    response = client.post(reverse("lifetime:set-theme"), {"theme": "dark", "next": "/settings/"})

    assert response.headers["Location"] == "/settings/"
    user.refresh_from_db()
    assert user.theme == "dark"
    assert client.get(reverse("lifetime:set-theme")).status_code == 405


def change_password(client, **typed):
    fields = {"current_password": PASSWORD, "new_password": "Another 1 of these", **typed}
    fields.setdefault("repeat_new_password", fields["new_password"])
    return client.post(reverse("lifetime:change-password"), fields)


def test_a_changed_password_keeps_this_session_and_ends_the_others(client):
    user = create_user(name="Ada", username="ada")
    other = type(client)()
    for browser in (client, other):
        browser.force_login(user)

    assert change_password(client).status_code == 302

    user.refresh_from_db()
    assert user.check_password("Another 1 of these")
    assert client.get(reverse("lifetime:settings")).status_code == 200
    assert other.get(reverse("lifetime:settings")).status_code == 302
    event = AuditEvent.objects.get()
    assert event.message == "Changed the password of user 'Ada' (ada)"
    assert "Another" not in str(vars(event))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"current_password": "wrong"}, "This is not your current password."),
        ({"new_password": "Short 1"}, "too short"),
        ({"new_password": "all small letters"}, "This password needs a digit and an upper-case letter."),
        ({"repeat_new_password": "Something else 1"}, "This differs from the new password."),
    ],
)
def test_a_refused_password_changes_nothing(client, typed, message):
    user = create_user()
    client.force_login(user)

    response = change_password(client, **typed)

    assert response.status_code == 422
    assert message in response.content.decode()
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert not AuditEvent.objects.exists()


# Instants


@pytest.mark.parametrize(
    ("own", "cookie", "shown"),
    [
        ("Europe/Lisbon", "Asia/Tokyo", "Europe/Lisbon"),
        ("", "Asia/Tokyo", "Asia/Tokyo"),
        ("", "../../etc/passwd", "UTC"),
        ("", "", "UTC"),
    ],
)
def test_times_are_in_ones_own_zone_else_the_browsers_else_utc(client, own, cookie, shown):
    client.force_login(create_user(time_zone=own))
    client.cookies["time_zone"] = cookie

    assert f"Times in {shown}" in client.get(reverse("lifetime:settings")).content.decode()


def render(source, **context):
    return Template("{% load console %}" + source).render(Context(context))


def test_an_instant_is_short_with_the_exact_one_on_hover():
    instant = datetime(2024, 11, 23, 13, 5, 9, 120_000, tzinfo=UTC)

    with timezone.override("Europe/Berlin"):
        assert render("{% time instant %}", instant=instant) == (
            '<time datetime="2024-11-23T13:05:09.120000Z"'
            ' title="Saturday 23 November 2024, 14:05:09.120 CET (13:05:09 UTC)">23 Nov 2024 14:05</time>'
        )
    assert render("{% time instant %}", instant=None) == "never"


def test_this_years_instants_do_not_name_the_year():
    assert console.short(timezone.now().replace(month=1, day=5, hour=7, minute=3)) == "5 Jan 07:03"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3, "just now"),
        (-3, "just now"),
        (59 * 60 + 30, "59 min ago"),
        (3600, "1 h ago"),
        (5 * 86400, "5 days ago"),
        (-7300, "in 2 h"),
    ],
)
def test_relative_instants(seconds, text):
    assert console.relative(timezone.now() - timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (4.21, "4.2 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds, text):
    assert console.duration(seconds) == text
    assert console.duration(timedelta(seconds=seconds)) == text


def test_names_are_escaped():
    assert "<b>" not in render("{% person who %}", who=create_user(name="<b>Bold</b>"))


# Actions


class Refusal:
    allowed = False
    reason = "Ada enabled maintenance mode at 14:05: <upgrade>"


class Permission:
    allowed = True
    reason = ""


def test_a_refused_action_stays_and_says_why():
    html = render("{% action decision 'Edit' href='/edit/' of='7' %}", decision=Refusal())

    assert 'aria-disabled="true" aria-describedby="why-edit-7"' in html
    assert "at 14:05: &lt;upgrade&gt;" in html
    assert "/edit/" not in html


def test_an_allowed_action_is_a_link_a_form_or_opens_the_dialog():
    permission = Permission()

    assert '<a class="button button--danger"' in render("{% action d 'Go' href='/a/' variant='danger' %}", d=permission)
    assert 'hx-get="/a/" hx-target="#dialog"' in render("{% action d 'Go' dialog='/a/' %}", d=permission)
    form = render("{% action d 'Go' post='/a/' %}", d=permission, csrf_token="T")
    assert '<form method="post" action="/a/">' in form
    assert 'name="csrfmiddlewaretoken" value="T"' in form
