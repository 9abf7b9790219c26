"""Technical Preview: what is offered where, toggles, and who is refused."""

import uuid

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit.models import AuditEvent
from environments import gate, maintenance, previews, sync
from environments.models import RefusedOperation, SyncRun, TechnicalPreview
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


def offer(environment, *keys, **values):
    for key in keys:
        TechnicalPreview.objects.create(environment=environment, key=key, name=key.title(), **values)


def url():
    return reverse("settings:previews")


def toggle(environment, key):
    return f"{environment.key}/{key}"


def enabled():
    return set(TechnicalPreview.objects.filter(is_enabled=True).values_list("environment__name", "key"))


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


def test_toggles_are_saved_audited_and_delivered(client, user):
    development, test = create_environment(name="Development"), create_environment(name="Test")
    offer(development, "maps", "ai")
    offer(test, "maps", is_enabled=True)

    data = {"was": [toggle(test, "maps")], "on": [toggle(development, "ai")]}
    response = client.post(url(), data)

    assert (response.status_code, response.url) == (302, url())
    assert enabled() == {("Development", "ai")}
    assert sorted(messages()) == [
        "Disabled Technical Preview feature 'Maps' in environment 'Test'",
        "Enabled Technical Preview feature 'Ai' in environment 'Development'",
    ]
    assert AuditEvent.objects.first().actor_username == "ada"
    assert set(SyncRun.objects.values_list("environment__name", "status")) == {
        ("Development", "queued"),
        ("Test", "queued"),
    }


def test_nothing_toggled_does_nothing(client, user):
    environment = create_environment()
    offer(environment, "maps", is_enabled=True)

    client.post(url(), {"was": [toggle(environment, "maps")], "on": [toggle(environment, "maps")]})

    assert messages() == []
    assert not SyncRun.objects.exists()


def test_the_page_says_what_is_offered_where(client, user):
    development = create_environment(name="Development")
    create_environment(name="Production")
    offer(development, "maps")
    offer(development, "gone", is_available=False)

    html = client.get(url()).content.decode()

    assert "Maps" in html
    assert "Gone" not in html
    assert "Requirements met in 1 of 2" in html
    assert "Not known yet: it was never synchronized." in html
    assert "No environment offers" not in html


def test_without_features_the_page_says_so(client, user):
    create_environment()
    html = client.get(url()).content.decode()
    assert "No environment offers a Technical Preview feature" in html
    assert "has no feature in Technical Preview" in html


def test_a_feature_that_is_withdrawn_can_be_disabled_and_not_enabled(client, user):
    environment = create_environment(name="Test")
    offer(environment, "maps", is_available=False, is_enabled=True)
    assert client.post(url(), {"was": [toggle(environment, "maps")]}).status_code == 302
    assert enabled() == set()

    response = client.post(url(), {"on": [toggle(environment, "maps")]})

    assert response.status_code == 422
    assert "does not offer the feature maps" in response.content.decode()
    assert enabled() == set()


@pytest.mark.parametrize("value", ["nonsense", "/", "\x00"])
def test_a_toggle_that_is_none_is_refused(client, user, value):
    assert client.post(url(), {"on": [value]}).status_code == 422


def test_one_refused_toggle_changes_none():
    development, test = create_environment(name="Development"), create_environment(name="Test")
    offer(development, "maps")
    with pytest.raises(ValidationError):
        previews.change({(development.pk, "maps"): True, (test.pk, "maps"): True}, by=actor())
    maintenance.enable(test, by=actor(), reason="Upgrade")
    with pytest.raises(gate.InMaintenance):
        previews.change({(development.pk, "maps"): True, (test.pk, "maps"): True}, by=actor())
    assert enabled() == set()


def test_maintenance_mode_disables_the_toggles_of_that_environment_alone(client, user):
    development, test = create_environment(name="Development"), create_environment(name="Test")
    for environment in (development, test):
        offer(environment, "maps")
    maintenance.enable(test, by=actor("Grace Hopper"), reason="Platform upgrade")
    before = messages()

    html = client.get(url()).content.decode()
    response = client.post(url(), {"on": [toggle(test, "maps"), toggle(development, "maps")]})

    assert html.count('type="checkbox" name="on"') == 2
    assert html.count(" disabled ") == 1
    assert "Grace Hopper" in html
    assert response.status_code == 409
    assert enabled() == set()
    assert RefusedOperation.objects.get().operation == "toggle_technical_previews"
    assert len(messages()) == len(before) + 1
    assert client.post(url(), {"on": [toggle(development, "maps")]}).status_code == 302
    assert enabled() == {("Development", "maps")}


def test_strangers_readers_and_wrong_methods(client):
    environment = create_environment()
    offer(environment, "maps")
    assert client.get(url()).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.get(url()).status_code == 403
    assert client.post(url(), {"on": [toggle(environment, "maps")]}).status_code == 403
    client.force_login(create_user())
    assert client.delete(url()).status_code == 405
    assert client.post(url(), {"on": [f"{uuid.uuid4()}/maps"]}).status_code == 404
    assert enabled() == set()


def test_the_page_costs_the_same_for_any_number(client, user, django_assert_num_queries):
    offer(create_environment(), "maps")
    client.get(url())
    with CaptureQueriesContext(connection) as few:
        client.get(url())
    for _ in range(5):
        offer(create_environment(), "maps", "ai")
    with django_assert_num_queries(len(few)):
        client.get(url())


def test_a_toggle_arrives_at_the_environment(platform, client, user):
    environment = create_environment(platform=platform)
    sync.run([sync.request(environment, by=actor()).pk])
    first = TechnicalPreview.objects.filter(is_available=True).order_by("key").first()

    client.post(url(), {"on": [toggle(environment, first.key)]})
    sync.run([SyncRun.objects.get(status="queued").pk])

    assert platform.call("GET", "/technical-previews").json["enabled"] == [first.key]
