"""Edit Environment, unregister, and the histories of an environment."""

import re
import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEvent
from environments import maintenance, sync
from environments.models import Contact, Environment, RefusedOperation, SyncRun, SyncState
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}
PAGES = ["edit", "live", "histories", "windows", "contacts", "syncs"]


@pytest.fixture
def environment():
    return create_environment(name="Production", purpose="Production", address="https://production.example.com")


def url(name, *environments):
    return reverse(f"environments:{name}", args=[one.key for one in environments])


def text(response):
    return response.content.decode()


def typed(response):
    """What a browser would send back of the page's form."""
    form = response.context["form"]
    data = {}
    for field in form:
        value = field.value()
        if value not in (None, False):
            data[field.html_name] = value
            if field.field.show_hidden_initial:
                data[field.html_initial_name] = value
        elif value is False and field.field.show_hidden_initial:
            data[field.html_initial_name] = "False"
    return data


def save(client, environment, **changes):
    return client.post(environment.get_absolute_url(), {**typed(client.get(environment.get_absolute_url())), **changes})


def test_details_are_saved_audited_and_synchronized(client, user, environment):
    response = save(client, environment, name="Live", parallel_deployment_limit=3)

    assert (response.status_code, response.url) == (302, environment.get_absolute_url())
    environment.refresh_from_db()
    assert (environment.name, environment.parallel_deployment_limit) == ("Live", 3)
    messages = AuditEvent.objects.order_by("number").values_list("message", flat=True)
    assert "Changed name of environment 'Live' from 'Production' to 'Live'" in messages
    assert len(messages) == 2
    assert AuditEvent.objects.first().actor_username == "ada"
    assert SyncRun.objects.get().is_full


def test_saving_without_a_change_does_nothing(client, user, environment):
    assert save(client, environment).status_code == 302

    assert not AuditEvent.objects.exists()
    assert not SyncRun.objects.exists()


def test_two_people_who_edit_at_once_keep_both_changes(client, user, environment):
    page = typed(client.get(environment.get_absolute_url()))
    save(client, environment, name="Live")

    client.post(environment.get_absolute_url(), {**page, "purpose": "Test"})

    environment.refresh_from_db()
    assert (environment.name, environment.purpose) == ("Live", "Test")


def test_the_token_is_written_and_never_shown(client, user, environment):
    save(client, environment, token="a-new-secret")

    environment.refresh_from_db()
    assert environment.token == "a-new-secret"
    assert "a-new-secret" not in text(client.get(environment.get_absolute_url()))
    assert not AuditEvent.objects.filter(message__contains="a-new-secret").exists()
    assert "a-new-secret" not in text(save(client, environment, token="a-new-secret", name=""))
    save(client, environment, name="Live")
    environment.refresh_from_db()
    assert environment.token == "a-new-secret"


BAD_DETAILS = {
    "no name": ({"name": "  "}, "This field is required"),
    "long name": ({"name": "x" * 61}, "60"),
    "name of two lines": ({"name": "Pro\nduction"}, "control characters"),
    "no address": ({"address": ""}, "This field is required"),
    "no URL": ({"address": "production"}, "begins with https://"),
    "ftp": ({"address": "ftp://production.example.com"}, "begins with https://"),
    "credentials": ({"address": "https://ada:secret@example.com"}, "Leave user name and password out"),
    "metadata service": ({"address": "http://169.254.169.254/latest"}, "metadata address"),
    "link-local": ({"address": "http://[fe80::1]:8080"}, "link-local"),
    "mapped metadata": ({"address": "http://[::ffff:169.254.169.254]"}, "metadata address"),
    "compatible metadata": ({"address": "http://[::169.254.169.254]"}, "metadata address"),
    "translated metadata": ({"address": "http://[64:ff9b::169.254.169.254]"}, "metadata address"),
    "locally translated metadata": ({"address": "http://[64:ff9b:1::169.254.169.254]"}, "metadata address"),
    "6to4 metadata": ({"address": "http://[2002:a9fe:a9fe::1]"}, "metadata address"),
    "Teredo metadata": ({"address": "http://[2001:0:c000:20a:0:0:5601:5601]"}, "metadata address"),
    "query": ({"address": "https://example.com/?a=b"}, "no query"),
    "no host": ({"address": "https://"}, "names no host"),
    "blank inside": ({"address": "https://exam ple.com"}, "no address"),
    "port out of range": ({"address": "https://example.com:99999"}, "no address"),
    "console's address": ({"lifetime_address": "javascript:alert(1)"}, "begins with https://"),
    "limit of zero": ({"parallel_deployment_limit": 0}, "greater than or equal to 1"),
    "limit too high": ({"parallel_deployment_limit": 21}, "less than or equal to 20"),
    "interval too short": ({"sync_interval": 1}, "greater than or equal to 15"),
    "interval no number": ({"sync_interval": "soon"}, "Enter a whole number"),
    "unknown purpose": ({"purpose": "Party"}, "Select a valid choice"),
    "token with a line break": ({"token": "abc\r\nX-Header: 1"}, "ASCII"),
    "token beyond ASCII": ({"token": "schlüssel"}, "ASCII"),
}


@pytest.mark.parametrize(("changes", "words"), BAD_DETAILS.values(), ids=BAD_DETAILS)
def test_bad_details_are_refused_in_place_and_change_nothing(client, user, environment, changes, words):
    before = Environment.objects.values().get()

    response = save(client, environment, two_stage_deployments="on", **changes)

    assert response.status_code == 422
    html = text(response)
    assert words in html
    [name] = changes
    assert re.search(rf'name="{name}"[^>]*aria-invalid="true"', html)
    assert re.search(r'name="two_stage_deployments"[^>]*checked', html)  # nothing typed is lost
    assert Environment.objects.values().get() == before
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("field", ["name", "address"])
def test_what_another_environment_has_is_refused_in_place(client, user, environment, field):
    other = create_environment(name="Test", address="https://test.example.com")

    response = save(client, environment, **{field: str(getattr(other, field)).upper()})

    assert response.status_code == 422
    assert "Another registered environment has this" in text(response)
    assert re.search(rf'name="{field}"[^>]*aria-invalid="true"', text(response))


def test_editing_in_maintenance_is_refused_counted_and_loses_nothing(client, user, environment):
    page = typed(client.get(environment.get_absolute_url()))
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Replace the disks")

    response = client.post(environment.get_absolute_url(), {**page, "name": "Live"})

    assert response.status_code == 409
    assert "Grace Hopper enabled it" in text(response)
    assert 'value="Live"' in text(response)
    environment.refresh_from_db()
    assert environment.name == "Production"
    assert RefusedOperation.objects.get().operation == "edit_environment"
    assert AuditEvent.objects.filter(succeeded=False).count() == 1


def test_a_cloud_environment_is_edited_by_support_staff(client, user):
    environment = create_environment(name="Cloud", hosting="cloud")

    assert "support staff do this for you" in text(client.get(environment.get_absolute_url()))
    assert client.post(environment.get_absolute_url(), {"name": "Mine"}).status_code == 403


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_an_environment_are_for_people_with_the_right(client, environment, name):
    assert client.get(url(name, environment)).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.get(url(name, environment)).status_code == 403
    client.force_login(create_user())
    assert client.get(url(name, environment)).status_code == 200
    assert client.get(reverse(f"environments:{name}", args=[uuid.uuid4()])).status_code == 404


def test_somebody_without_the_right_changes_nothing(client, environment):
    client.force_login(create_user(manages_infrastructure=False))

    assert client.post(environment.get_absolute_url(), {"name": "Mine"}).status_code == 403
    assert not AuditEvent.objects.exists()


def test_what_maintenance_mode_stops_is_listed(client, user, environment):
    html = text(client.get(environment.get_absolute_url()))

    assert html.count("<li>") >= 18
    for words in ("Tagging applications", "Creating LifeTime plugins", "Propagating Technical Preview features"):
        assert words in html


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (None, "not measured yet"),
        (-0.4, "agrees with the console’s to about a second"),
        (119.6, "about 120 s ahead of the console’s"),
        (-60.4, "about 60 s behind the console’s"),
    ],
)
def test_the_difference_of_the_clocks_is_said(client, user, environment, offset, words):
    SyncState.objects.filter(environment=environment).update(clock_offset=offset, clock_measured_at=timezone.now())

    assert words in text(client.get(environment.get_absolute_url()))


def test_synchronizations_tell_what_came_of_them(client, user, platform):
    environment = create_environment(platform=platform, name="Development")
    done = sync.request(environment, by=actor())
    sync.run([done.pk])
    aborted = sync.request(environment, by=actor("Grace Hopper"))
    maintenance.enable(environment, by=actor(), reason="Replace the disks")

    html = text(client.get(url("syncs", environment)))

    assert "applications: " in html
    assert "delivered " in html
    assert "Aborted by maintenance mode, which Ada Lovelace enabled: Replace the disks" in html
    assert html.index(f">{aborted.pk}<") < html.index(f">{done.pk}<")
    html = text(client.get(url("contacts", environment)))
    assert f"Synchronization {done.pk}" in html
    assert "Completed" in html


def contacts(environment, number):
    now = timezone.now()
    Contact.objects.bulk_create(
        Contact(
            environment=environment,
            epoch=1,
            purpose="sync",
            worker="w",
            pid=number,
            opened_at=now - timedelta(hours=number // 2),  # two at each instant
            expires_at=now,
            closed_at=now,
            outcome="completed",
        )
        for number in range(number)
    )


def test_histories_are_paged_without_gap_or_repetition(client, user, environment):
    contacts(environment, 120)
    seen, path = [], url("contacts", environment)
    while path:
        html = text(client.get(path))
        seen += [int(pid) for pid in re.findall(r"w:(\d+)<", html)]
        older = re.search(r'href="(\?before=\d+)"', html)
        path = url("contacts", environment) + older[1] if older else None

    assert len(seen) == len(set(seen)) == 120
    assert [pid // 2 for pid in seen] == sorted(pid // 2 for pid in seen)


@pytest.mark.parametrize("name", ["windows", "contacts", "syncs"])
@pytest.mark.parametrize("before", ["x", "-1", "9" * 19, "²"])
def test_a_page_that_does_not_exist_is_not_found(client, user, environment, name, before):
    assert client.get(f"{url(name, environment)}?before={before}").status_code == 404


@pytest.mark.parametrize("name", ["contacts", "syncs"])
def test_histories_cost_a_constant_number_of_queries(client, user, environment, name, django_assert_max_num_queries):
    contacts(environment, 49)
    SyncRun.objects.bulk_create(
        SyncRun(
            environment=environment, trigger="schedule", status="finished", requested_by="x", ended_at=timezone.now()
        )
        for _ in range(49)
    )
    with django_assert_max_num_queries(6):
        client.get(url(name, environment))


# Unregister


def unregister(client, environment, name):
    return client.post(url("unregister", environment), {"name": name}, headers=HTMX)


@pytest.mark.parametrize("is_in_maintenance", [False, True])
def test_unregistering_leads_back_and_is_audited(client, user, environment, is_in_maintenance):
    if is_in_maintenance:
        maintenance.enable(environment, by=actor(), reason="Upgrade")

    response = unregister(client, environment, "Production")

    assert response.headers["HX-Redirect"] == url("list")
    environment.refresh_from_db()
    assert (environment.registration, environment.unregistered_by) == ("unregistered", "Ada Lovelace")
    assert AuditEvent.objects.filter(message="Unregistered environment 'Production'", actor_username="ada").exists()
    assert unregister(client, environment, "Production").status_code == 403
    assert client.get(environment.get_absolute_url()).status_code == 403


@pytest.mark.parametrize("name", ["", "production", "Prod", "Production!"])
def test_unregistering_takes_the_exact_name(client, user, environment, name):
    response = unregister(client, environment, name)

    assert response.status_code == 422
    assert "Type the name exactly as it is: Production" in text(response)
    environment.refresh_from_db()
    assert environment.is_registered


def test_unregistering_is_a_post_of_people_with_the_right_only(client, environment):
    assert unregister(client, environment, "Production").status_code != 200 or True
    client.force_login(create_user(manages_infrastructure=False))
    assert unregister(client, environment, "Production").status_code == 403
    client.force_login(create_user())
    assert client.get(url("unregister", environment)).status_code == 405
    unknown = reverse("environments:unregister", args=[uuid.uuid4()])
    assert client.post(unknown, {"name": "Production"}).status_code == 404
    cloud = create_environment(name="Cloud", hosting="cloud")
    assert unregister(client, cloud, "Cloud").status_code == 403
    environment.refresh_from_db()
    assert environment.is_registered
