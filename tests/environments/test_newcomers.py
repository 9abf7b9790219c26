"""What is decided about people before an environment is registered: levels of roles, and whom to import."""

import json
import re
import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from audit import log
from audit.models import AuditEvent
from environments import newcomers, registry, tasks
from environments.gate import Answer
from environments.models import Environment, RegistrationDraft, SyncState
from lifetime.models import Role, RoleLevel, ServiceAccount, User
from tests.factories import create_environment, create_user
from tests.lifetime.factories import create_role

pytestmark = pytest.mark.django_db


def url(name, *environments):
    return reverse(f"environments:{name}", args=[one.key for one in environments])


def text(response):
    return response.content.decode()


def answer(body):
    return Answer(200, json.dumps(body).encode(), "")


def checked(*people):
    """A proposal whose connection was checked, to an environment that knows these people."""
    environment = create_environment(name="Test", registration="checked")
    RegistrationDraft.objects.create(environment=environment, **newcomers.told(answer(model(*people))))
    return environment


def role(key, name, level=5):
    return {"key": key, "name": name, "level": level, "create_applications": False, "add_system_dependencies": False}


def person(username, name="", email=None, role_key="1", **changes):
    email = f"{username}@example.org" if email is None else email
    values = {"key": username, "username": username, "name": name or username.title(), "email": email}
    return {**values, "is_active": True, "role_key": role_key, **changes}


def model(*people):
    return {
        "roles": [role("1", "developer"), role("2", "Administrator"), role("3", "Other")],
        "users": people,
        "teams": [],
    }


def ladder(levels):
    """What the page of roles sends."""
    return {f"role-{one.pk}-level": str(level) for one, level in levels.items()}


def row(username, *, email="", role=None, is_chosen=True):
    one = newcomers.id_of(username)
    data = {f"{one}-email": email, f"{one}-role": str((role or Role.objects.developer()).key)}
    return {**data, f"{one}-is_chosen": "on"} if is_chosen else data


def seen(client, proposed):
    """What the page says it shows."""
    return re.search(r'name="seen" value="(\w+)"', text(client.get(url("proposal", proposed)))).group(1)


def confirm(client, proposed):
    response = client.post(url("confirm-registration", proposed), {"seen": seen(client, proposed)})
    proposed.refresh_from_db()
    return response


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


def test_what_was_not_looked_at_is_what_was_proposed(client, user):
    inactive = person("old", is_active=False)
    proposed = checked(person("eve", role_key="3"), person("kim", role_key="2"), inactive)
    confirm(client, proposed)
    assert dict(User.objects.exclude(pk=user.pk).values_list("username", "role__name")) == {
        "eve": "Developer",  # nobody here has the role Other
        "kim": "Developer",  # what an environment says makes nobody an administrator
    }
    assert not RoleLevel.objects.exists()


def test_nobody_is_imported_whom_nobody_has_seen(client, user):
    proposed = checked(person("eve"))
    registry.register(proposed, by=log.SYSTEM)
    assert User.objects.count() == 1
    assert not RegistrationDraft.objects.exists()


def test_an_inactive_person_may_be_imported_and_stays_inactive(client, user):
    proposed = checked(person("old", is_active=False))
    client.post(url("proposed-users", proposed), row("old", email="old@example.org"))
    confirm(client, proposed)
    assert not User.objects.get(username="old").is_active


def test_who_cannot_be_imported_is_listed_with_the_reason(client, user):
    ServiceAccount.objects.create(username="Pipeline", role=Role.objects.developer())
    long = "x" * 200
    people = [person("pipeline"), person("with space"), person(""), person(long), person("eve"), person("EVE")]
    proposed = checked()
    told = {"users": [*people, person("nul", name="a\tb\x00<b>")]}  # an environment that checks nothing
    RegistrationDraft.objects.update(**newcomers.told(answer(told)))
    html = text(client.get(url("proposed-users", proposed)))
    assert "A service account here has this username" in html
    assert "letters, digits and" in html
    assert "The username is missing" in html
    assert "150 at most" in html
    assert "a b &lt;b&gt;" in html
    assert html.count('type="checkbox"') == 2
    confirm(client, proposed)
    assert set(User.objects.values_list("username", flat=True)) == {"ada", "eve", "nul"}


BAD_ROWS = {
    "no e-mail": ({"email": ""}, "Write an e-mail address"),
    "no address": ({"email": "eve"}, "Write an e-mail address"),
    "long": ({"email": "e" * 300 + "@example.org"}, "254"),
    "no role": ({"role": "00000000-0000-0000-0000-000000000000"}, "Select a valid choice"),
}


@pytest.mark.parametrize(("values", "words"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_refused_in_place_and_stores_nothing(client, user, values, words):
    proposed = checked(person("eve"), person("kim"))
    data = {**row("eve", email="eve@example.org"), **row("kim", is_chosen=False)}
    data |= {f"{newcomers.id_of('eve')}-{name}": value for name, value in values.items()}
    response = client.post(url("proposed-users", proposed), data)
    assert response.status_code == 422
    assert words in text(response)
    assert RegistrationDraft.objects.get().choices == {}


def test_what_is_sent_of_nobody_known_is_passed_over(client, user):
    proposed = checked(person("eve"))
    data = {**row("ada", email="evil@example.org"), **row("nobody", email="evil@example.org"), "x": "1"}
    assert client.post(url("proposed-users", proposed), data).status_code == 302
    assert RegistrationDraft.objects.get().choices == {}


def test_levels_that_contradict_are_refused_at_once(client, user):
    guest = Role.objects.create(name="Guest")
    proposed = checked()
    count = len(messages())
    for data, words in (
        (
            {**ladder({guest: 2}), f"role-{guest.pk}-create_applications": "on"},
            "Guest: Test: Create Applications needs",
        ),
        ({**ladder({guest: 0}), f"role-{guest.pk}-add_system_dependencies": "on"}, "Add System Dependencies needs"),
        (ladder({guest: 9}), "Select a valid choice"),
        (ladder({guest: "x"}), "Select a valid choice"),
    ):
        response = client.post(url("proposed-roles", proposed), data)
        assert response.status_code == 422
        assert words in text(response)
    assert RegistrationDraft.objects.get().levels == {}
    assert not RoleLevel.objects.exists()
    assert len(messages()) == count
    data = {f"role-{Role.objects.administrator().pk}-level": "0"}
    assert client.post(url("proposed-roles", proposed), data).status_code == 302
    assert confirm(client, proposed).status_code == 302
    assert not RoleLevel.objects.exists()  # Administrator stays as it is


def test_nobody_gives_more_than_they_have(client):
    manager = Role.objects.create(
        name="Manager", manage_infrastructure_and_users=True, manage_teams_and_application_roles=True
    )
    client.force_login(create_user(username="max", role=manager))
    guest = Role.objects.create(name="Guest")
    proposed = checked(person("eve"))
    response = client.post(url("proposed-roles", proposed), ladder({guest: 6}))
    assert response.status_code == 422
    assert "is more than your own role" in text(response)
    response = client.post(
        url("proposed-users", proposed), row("eve", email="eve@example.org", role=Role.objects.administrator())
    )
    assert response.status_code == 422
    assert "allows more than yours" in text(response)
    # Chosen by an administrator, it is not confirmed by somebody who has less.
    draft = RegistrationDraft.objects.get()
    draft.levels = {str(guest.key): {"level": 6, "create_applications": False, "add_system_dependencies": False}}
    draft.save()
    response = confirm(client, proposed)
    assert response.status_code == 409
    assert "is more than your own role" in text(response)
    assert proposed.registration == "checked"
    assert User.objects.count() == 1


def test_an_environment_that_does_not_say_whom_it_knows_is_registered_all_the_same(client, user):
    proposed = checked()
    RegistrationDraft.objects.update(**newcomers.told(answer({"users": [{"name": "Eve"}]})))
    html = text(client.get(url("proposed-users", proposed)))
    assert "did not say whom it knows" in html
    assert "not of the agreed shape: users.0.username" in html
    assert confirm(client, proposed).status_code == 302
    assert proposed.is_registered


def test_many_people_are_shown_in_pages_and_more_are_left_out(client, user, django_assert_max_num_queries):
    people = [{"username": f"p{one}", "email": f"p{one}@example.org"} for one in range(2100)]
    told = newcomers.told(answer({"users": people}))
    assert (len(told["people"]), told["people_left_out"]) == (2000, 100)
    proposed = checked()
    RegistrationDraft.objects.update(**{**told, "people": told["people"][:150]})
    with django_assert_max_num_queries(25):
        html = text(client.get(url("proposed-users", proposed)))
    assert "100 further people are not shown" in html
    assert html.count('type="checkbox"') == 100
    first = {
        name: value
        for one in range(100)
        for name, value in row(f"p{one}", email=f"p{one}@x.org", is_chosen=one > 0).items()
    }
    response = client.post(url("proposed-users", proposed), first)
    assert response.url == f"{url('proposed-users', proposed)}?page=2"
    assert client.post(response.url, row("p149", is_chosen=False)).url == url("proposal", proposed)
    confirm(client, proposed)
    assert User.objects.filter(username__startswith="p").count() == 148
    assert AuditEvent.objects.filter(message__startswith="Created user").count() == 148


def test_a_role_that_is_gone_and_a_person_who_came_meanwhile(client, user):
    guest = Role.objects.create(name="Guest")
    proposed = checked(person("eve"), person("kim"))
    client.post(url("proposed-roles", proposed), ladder({guest: 5}))
    client.post(url("proposed-users", proposed), row("eve", email="eve@example.org", role=guest))
    guest.delete()
    create_user(username="kim", name="Kim here")
    confirm(client, proposed)
    assert User.objects.get(username="eve").role.name == "Developer"
    assert User.objects.get(username="kim").name == "Kim here"
    assert not RoleLevel.objects.exists()


def test_what_an_environment_says_lifts_nobody_above_a_developer(client, user):
    powerful, modest = create_role("Powerful", level=6), create_role("Modest", level=2)
    elsewhere = create_environment(name="Elsewhere", purpose="Production")
    create_role("Elsewhere", level=2)
    proposed = checked()
    told = {
        "roles": [role("1", "powerful"), role("2", "modest"), role("3", "elsewhere")],
        "users": [person("eve", role_key="1"), person("kim", role_key="2"), person("lee", role_key="3")],
    }
    RegistrationDraft.objects.update(**newcomers.told(answer(told)))
    RoleLevel.objects.update_or_create(
        role=Role.objects.get(name="Elsewhere"), environment=elsewhere, defaults={"level": 5}
    )
    for one in (powerful, modest):
        RoleLevel.objects.update_or_create(
            role=one, environment=elsewhere, defaults={"level": 6 if one == powerful else 2}
        )
    assert "Their roles here: Developer (2), Modest (1)." in text(client.get(url("proposal", proposed)))
    confirm(client, proposed)
    found = dict(User.objects.exclude(pk=user.pk).values_list("username", "role__name"))
    assert found == {"eve": "Developer", "kim": "Modest", "lee": "Developer"}


def test_levels_as_they_are_by_default_are_not_kept(client, user):
    guest = Role.objects.create(name="Guest")
    proposed = checked()
    developer = Role.objects.developer()
    data = {**ladder({guest: 5, developer: 5}), f"role-{developer.pk}-create_applications": "on"}
    client.post(url("proposed-roles", proposed), data)
    assert list(RegistrationDraft.objects.get().levels) == [str(guest.key)]
    client.post(url("proposed-roles", proposed), ladder({guest: 2}))
    assert RegistrationDraft.objects.get().levels == {}


def test_nobody_gets_the_e_mail_address_of_somebody_else(client, user):
    proposed = checked(
        person("eve", email=user.email.upper()), person("kim"), person("lee", email="KIM@example.org"), person("max")
    )
    html = text(client.get(url("proposed-users", proposed)))
    assert "Somebody here has this e-mail address" in html
    assert html.count('type="checkbox"') == 3
    assert html.count("checked") == 2  # of Kim and Lee the first only

    for data, words in (
        (row("lee", email="kim@EXAMPLE.org"), "Somebody else to import has this e-mail address"),
        (row("max", email=user.email), "Somebody here has this e-mail address"),
    ):
        response = client.post(url("proposed-users", proposed), data)
        assert response.status_code == 422
        assert words in text(response)
    assert RegistrationDraft.objects.get().choices == {}

    page = seen(client, proposed)
    User.objects.filter(pk=user.pk).update(email="max@example.org")
    response = client.post(url("confirm-registration", proposed), {"seen": page})
    assert response.status_code == 409
    assert confirm(client, proposed).status_code == 302
    assert set(User.objects.values_list("username", flat=True)) == {"ada", "eve", "kim"}


@pytest.mark.parametrize("here", ["straße", "strasse", "grace"])
def test_usernames_are_compared_as_the_database_does(client, user, here):
    create_user(username=here)
    wide = "\uff41\uff44\uff41"  # ada, in wide letters
    usernames = [
        "STRASSE",
        "straße",
        "STRAßE",
        "Strasse",
        wide,
        "\uff45ve",
        "EVE",
        "\u0131",
        "I",
        "i",
        "ẞ",
        "ß",
        "ﬃ" * 60,
    ]
    proposed = checked(*(person(one, email=f"{number}@example.org") for number, one in enumerate(usernames)))

    assert confirm(client, proposed).status_code == 302

    found = list(User.objects.values_list("username", flat=True))
    assert {"ada", here, "eve"} < set(found)
    assert "EVE" not in found
    assert wide not in found


def test_a_name_that_is_too_long_stops_nobody_else(client, user):
    proposed = checked(person("eve", name="x" * 151), person("blank", name=" "), person("kim"))
    assert "The name has 151 characters" in text(client.get(url("proposed-users", proposed)))
    assert confirm(client, proposed).status_code == 302
    assert set(User.objects.values_list("username", flat=True)) == {"ada", "kim"}


def test_those_who_are_imported_reach_the_other_environments_at_once(client, user):
    other = create_environment(name="Other")
    SyncState.objects.update(due_at=timezone.now() + timedelta(hours=1))
    confirm(client, checked(person("eve")))
    assert SyncState.objects.get(environment=other).due_at < timezone.now()


def test_the_registration_is_the_first_entry_of_what_it_does(client, user):
    guest = Role.objects.create(name="Guest")
    proposed = checked(person("eve"))
    client.post(url("proposed-roles", proposed), ladder({guest: 5}))
    before = len(messages())
    confirm(client, proposed)
    assert [one.split("'")[0] for one in messages()[before:]] == ["Registered environment ", "Role ", "Created user "]


def test_what_nobody_was_shown_is_not_registered(client, user):
    guest = Role.objects.create(name="Guest")
    proposed = checked(person("eve"))
    changes = (
        lambda: client.post(url("proposed-roles", proposed), ladder({guest: 5})),
        lambda: client.post(url("proposed-users", proposed), row("eve", email="eve@evil.example")),
        lambda: client.post(url("proposed-users", proposed), row("eve", email="eve@evil.example", role=guest)),
        lambda: client.post(url("proposed-users", proposed), row("eve", is_chosen=False)),
    )
    for change in changes:
        page = seen(client, proposed)
        change()
        response = client.post(url("confirm-registration", proposed), {"seen": page})
        assert response.status_code == 409
        assert "changed since you looked at it" in text(response)
    assert Environment.objects.get().registration == "checked"
    assert confirm(client, proposed).status_code == 302


def test_people_of_proposals_are_forgotten_after_some_days(client, user):
    proposed = checked(person("eve"))
    client.post(url("proposed-users", proposed), row("eve", email="eve@example.org"))
    tasks.tick()
    assert RegistrationDraft.objects.get().people
    Environment.objects.update(created_at=timezone.now() - timedelta(days=8))
    now = timezone.now()
    contact = proposed.contacts.create(
        purpose="register", epoch=1, worker="w", pid=1, expires_at=now, closed_at=now, outcome="completed"
    )
    tasks.tick()
    assert RegistrationDraft.objects.get().people  # it was asked again meanwhile

    contact.delete()
    tasks.tick()

    draft = RegistrationDraft.objects.get()
    assert (draft.people, draft.choices) == ([], {})
    assert "forgotten after 7 days" in text(client.get(url("proposed-users", proposed)))
    assert confirm(client, proposed).status_code == 302


@pytest.mark.parametrize("name", ["proposed-roles", "proposed-users"])
def test_the_steps_are_for_people_with_the_right_only(client, name):
    environment = create_environment(name="Test", registration="checked")
    client.force_login(create_user(manages_infrastructure=False))
    assert client.get(url(name, environment)).status_code == 403
    assert client.post(url(name, environment)).status_code == 403
    client.force_login(create_user())
    assert client.get(url(name, environment)).status_code == 200  # proposed before there were drafts
    assert client.post(url(name, environment), {}).status_code == 302
    assert client.get(reverse(f"environments:{name}", args=[uuid.uuid4()])).status_code == 404
    registered = create_environment(name="Registered")
    assert client.get(url(name, registered)).status_code == 302
