"""Registering an environment from the page: a proposal, a check by a worker, a confirmation."""

import re
import uuid

import pytest
from django.urls import reverse

from audit.models import AuditEvent
from environments import maintenance, newcomers, registry
from environments.models import Environment, RegistrationDraft, SyncRun
from lifetime.models import Role, RoleLevel, User
from tests.environments.test_newcomers import confirm, ladder, messages, model, person, row
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


def url(name, *environments):
    return reverse(f"environments:{name}", args=[one.key for one in environments])


def text(response):
    return response.content.decode()


def typed(**changes):
    values = {"name": "Test", "address": "https://test.example.com", "token": "secret-token", "purpose": "Test"}
    return {**values, "hosting": "self_managed", "lifetime_address": "", **changes}


def propose(client, **changes):
    response = client.post(url("register"), typed(**changes))
    assert response.status_code == 302
    return Environment.objects.get(key=response.url.split("/")[-2])


def test_an_environment_is_proposed_checked_confirmed_and_synchronized(client, user, platform):
    maintenance.enable(create_environment(name="Other"), by=actor(), reason="Upgrade")  # never in the way
    proposed = propose(client, address=f" {platform.address}/ ", token=platform.token)
    assert proposed.address == platform.address
    assert "Checking the connection" in text(client.get(url("proposal", proposed)))
    assert "HX-Refresh" not in client.get(url("proposal-state", proposed)).headers
    assert platform.log() == []  # the web asks a worker to do it

    registry.check_connection(proposed.pk)

    assert client.get(url("proposal-state", proposed)).headers["HX-Refresh"] == "true"
    html = text(client.get(url("proposal", proposed)))
    assert "The connection works" in html
    assert "Development, platform 11." in html
    assert platform.token not in html

    assert client.post(url("confirm-registration", proposed)).url == url("list")
    proposed.refresh_from_db()
    assert (proposed.registration, proposed.registered_by) == ("registered", "Ada Lovelace")
    assert SyncRun.objects.get(environment=proposed).trigger == "registration"
    assert AuditEvent.objects.filter(message__startswith="Registered environment 'Test'").get().actor_username == "ada"
    assert client.get(url("proposal", proposed)).url == proposed.get_absolute_url()


def test_a_refused_check_shows_why_and_keeps_what_was_typed(client, user, platform):
    proposed = propose(client, address=platform.address, token="wrong-token")
    registry.check_connection(proposed.pk)

    html = text(client.get(url("proposal", proposed)))

    assert "does not accept the token" in html
    assert f'value="{platform.address}"' in html
    assert "wrong-token" not in html

    response = client.post(url("proposal", proposed), typed(address=platform.address, token=platform.token))
    assert not Environment.objects.filter(pk=proposed.pk).exists()  # the corrected one stands for it
    corrected = Environment.objects.get(key=response.url.split("/")[-2])
    registry.check_connection(corrected.pk)
    assert "The connection works" in text(client.get(url("proposal", corrected)))


def test_a_correction_with_errors_keeps_the_former_proposal(client, user):
    proposed = propose(client)
    Environment.objects.filter(pk=proposed.pk).update(registration="refused", registration_message="No answer.")

    response = client.post(url("proposal", proposed), typed(address="nonsense"))

    assert response.status_code == 422
    assert "begins with https://" in text(response)
    assert 'value="nonsense"' in text(response)
    assert Environment.objects.get().key == proposed.key


def test_the_connection_is_checked_again_as_it_is(client, user, platform):
    proposed = propose(client, address=platform.address, token=platform.token)
    platform.behave(fail="status:503")
    registry.check_connection(proposed.pk)
    assert "503" in text(client.get(url("proposal", proposed)))
    platform.behave()

    client.post(url("check-again", proposed))
    registry.check_connection(proposed.pk)

    assert "The connection works" in text(client.get(url("proposal", proposed)))


BAD_PROPOSALS = {
    "no name": ({"name": ""}, "This field is required"),
    "long name": ({"name": "x" * 61}, "60"),
    "no token": ({"token": ""}, "This field is required"),
    "no URL": ({"address": "test"}, "begins with https://"),
    "no scheme": ({"address": "test.example.com"}, "begins with https://"),
    "a file": ({"address": "file:///etc/passwd"}, "begins with https://"),
    "credentials": ({"address": "https://ada:secret@example.com"}, "Leave user name and password out"),
    "only a user": ({"address": "https://ada@example.com"}, "Leave user name and password out"),
    "metadata service": ({"address": "http://169.254.169.254"}, "metadata address"),
    "link-local": ({"address": "http://[fe80::1]"}, "link-local"),
    "unspecified": ({"address": "http://0.0.0.0:8000"}, "no environment is there"),
    "one number": ({"address": "http://2852039166"}, "four decimal numbers"),
    "two numbers": ({"address": "http://127.1"}, "four decimal numbers"),
    "hexadecimal": ({"address": "http://0x7f000001/"}, "four decimal numbers"),
    "fragment": ({"address": "https://example.com/#x"}, "no fragment"),
    "backslash": ({"address": "https:\\\\example.com"}, "no address"),
    "too long": ({"address": "https://example.com/" + "x" * 300}, "300"),
    "unknown hosting": ({"hosting": "moon"}, "Select a valid choice"),
}


@pytest.mark.parametrize(("changes", "words"), BAD_PROPOSALS.values(), ids=BAD_PROPOSALS)
def test_a_bad_proposal_is_refused_in_place_and_stores_nothing(client, user, changes, words):
    response = client.post(url("register"), typed(**changes))

    assert response.status_code == 422
    html = text(response)
    assert words in html
    [name] = changes
    assert re.search(rf'name="{name}"[^>]*aria-invalid="true"', html)
    assert "secret-token" not in html
    assert not Environment.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("field", ["name", "address"])
def test_what_a_registered_environment_has_is_refused_in_place(client, user, field):
    other = create_environment(name="Production", address="https://production.example.com")

    response = client.post(url("register"), typed(**{field: getattr(other, field).upper()}))

    assert response.status_code == 422
    assert "Another registered environment has this" in text(response)


def test_confirming_what_was_not_checked_is_refused(client, user):
    proposed = propose(client)

    response = client.post(url("confirm-registration", proposed))

    assert response.status_code == 409
    assert "Check the connection first" in text(response)
    proposed.refresh_from_db()
    assert proposed.registration == "checking"


def test_confirming_a_name_that_was_taken_meanwhile_is_refused(client, user):
    proposed = propose(client)
    Environment.objects.filter(pk=proposed.pk).update(registration="checked")
    create_environment(name="TEST")

    response = client.post(url("confirm-registration", proposed))

    assert response.status_code == 409
    assert "Another registered environment has this name" in text(response)
    proposed.refresh_from_db()
    assert proposed.registration == "checked"


def test_registrations_in_progress_are_resumed_or_discarded(client, user):
    proposed = propose(client)
    html = text(client.get(url("list")))
    assert "Registrations in progress" in html
    assert url("proposal", proposed) in html

    assert client.post(url("discard", proposed)).url == url("list")

    assert not Environment.objects.exists()
    assert "Registrations in progress" not in text(client.get(url("list")))


def test_a_registered_environment_is_neither_discarded_nor_checked_again(client, user):
    environment = create_environment(name="Production")

    client.post(url("discard", environment))
    client.post(url("check-again", environment))
    client.post(url("proposal", environment), typed())

    environment.refresh_from_db()
    assert environment.is_registered
    assert Environment.objects.count() == 1


@pytest.mark.parametrize("name", ["confirm-registration", "discard", "check-again"])
def test_writes_are_posts_of_people_with_the_right_only(client, name):
    environment = create_environment(name="Test", registration="checked")
    assert client.post(url(name, environment)).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.post(url(name, environment)).status_code == 403
    assert client.post(url("register"), typed()).status_code == 403
    assert client.get(url("proposal", environment)).status_code == 403
    client.force_login(create_user())
    assert client.get(url(name, environment)).status_code == 405
    assert client.post(reverse(f"environments:{name}", args=[uuid.uuid4()])).status_code == 404
    assert client.get(reverse("environments:proposal", args=[uuid.uuid4()])).status_code == 404
    environment.refresh_from_db()
    assert environment.registration == "checked"


# Roles and permissions, and users to import


def checked(client, platform, *people, **changes):
    """A proposal whose connection was checked, to an environment that knows these people."""
    if people:
        assert platform.call("PUT", "/permissions", model(*people)).status == 200
    proposed = propose(client, address=platform.address, token=platform.token, **changes)
    registry.check_connection(proposed.pk)
    proposed.refresh_from_db()
    return proposed


def test_roles_get_levels_and_people_are_imported_when_it_is_registered(client, user, platform):
    guest = Role.objects.create(name="Guest")
    developer = Role.objects.developer()
    proposed = checked(
        client, platform, person("eve"), person("ADA"), person("kim", role_key="2"), person("lee", email="")
    )
    summary = text(client.get(url("proposal", proposed)))
    assert "2 people are imported; 1 is known here already" in summary
    assert "1 without an e-mail address is left out" in summary
    page = text(client.get(url("proposed-roles", proposed)))
    assert re.search(rf'name="role-{Role.objects.administrator().pk}-level" value="6" checked disabled', page)
    assert re.search(
        rf'name="role-{guest.pk}-level" value="2" checked', page
    )  # List Applications, unless told otherwise
    assert re.search(rf'name="role-{developer.pk}-level" value="4" checked', page)

    data = {**ladder({guest: 5, developer: 0}), f"role-{guest.pk}-create_applications": "on"}
    assert client.post(url("proposed-roles", proposed), data).url == url("proposed-users", proposed)

    page = text(client.get(url("proposed-users", proposed)))
    assert "1 person is known here already" in page
    assert f'name="{newcomers.id_of("eve")}-is_chosen"' in page
    data = {**row("eve", email="eve@firm.example", role=guest), **row("kim", is_chosen=False)}
    data |= row("lee", email="lee@example.org")
    assert client.post(url("proposed-users", proposed), data).url == url("proposal", proposed)

    assert not RoleLevel.objects.exists()
    assert User.objects.count() == 1
    before = len(messages())
    assert confirm(client, proposed).url == url("list")

    assert proposed.is_registered
    rights = {one.role.name: (one.level, one.create_applications) for one in RoleLevel.objects.all()}
    assert rights == {"Guest": (5, True), "Developer": (0, False)}
    assert set(User.objects.values_list("username", "email", "role__name")) == {
        ("ada", user.email, "Administrator"),
        ("eve", "eve@firm.example", "Guest"),
        ("lee", "lee@example.org", "Developer"),
    }
    assert not User.objects.get(username="eve").has_usable_password()
    assert sorted(messages()[before:]) == [
        "Created user 'Eve' (eve)",
        "Created user 'Lee' (lee)",
        f"Registered environment 'Test' at {platform.address}",
        "Role 'Developer' permissions have changed from 'Open and Debug Applications' to 'No Access' "
        "in environment 'Test'",
        "Role 'Guest' permissions have changed from 'List Applications' to "
        "'Change and Deploy Applications + Create Applications' in environment 'Test'",
    ]
    assert set(AuditEvent.objects.values_list("actor_username", flat=True)) == {"ada"}
    assert AuditEvent.objects.get(message="Created user 'Eve' (eve)").details["imported from"] == "Test"
    assert not RegistrationDraft.objects.exists()


def test_a_correction_keeps_what_was_chosen(client, user, platform):
    guest = Role.objects.create(name="Guest")
    proposed = checked(client, platform, person("eve"))
    client.post(url("proposed-roles", proposed), ladder({guest: 5}))
    client.post(url("proposed-users", proposed), row("eve", is_chosen=False))
    response = client.post(url("proposal", proposed), typed(address=platform.address, token=platform.token, name="T"))
    corrected = Environment.objects.get(key=response.url.split("/")[-2])
    assert client.get(url("proposed-roles", corrected)).url == url("proposal", corrected)  # not checked yet
    assert client.post(url("proposed-users", corrected), row("eve")).url == url("proposal", corrected)
    registry.check_connection(corrected.pk)
    confirm(client, corrected)
    assert RoleLevel.objects.get().level == 5
    assert User.objects.count() == 1


def test_what_was_chosen_for_another_purpose_or_place_is_not_carried_over(client, user, platform):
    guest = Role.objects.create(name="Guest")
    proposed = checked(client, platform, person("eve"), purpose="Development")
    client.post(url("proposed-roles", proposed), ladder({guest: 5, Role.objects.developer(): 5}))
    client.post(url("proposed-users", proposed), row("eve", is_chosen=False))
    production = typed(address=platform.address, token=platform.token, purpose="Production")

    response = client.post(url("proposal", proposed), production)
    draft = RegistrationDraft.objects.get()
    assert (draft.levels, list(draft.choices)) == ({}, [newcomers.id_of("eve")])

    client.post(response.url, {**production, "address": "https://another.example.com"})
    assert RegistrationDraft.objects.get().choices == {}
