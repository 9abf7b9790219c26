"""Blocked addresses: read when somebody asks, unblocked in the environment, refused in maintenance mode."""

import uuid
from urllib.parse import urlencode

import pytest
from django.urls import reverse

from audit.models import AuditEvent
from environments import application_work, blocked_addresses, maintenance
from environments.models import ApplicationTask
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


def url(name, *args):
    return reverse(f"settings:{name}", args=args)


def carry_out():
    for task in ApplicationTask.objects.filter(status="queued"):
        application_work.carry_out(task.pk)


def block(platform, username="owner"):
    """Three wrong passwords block for half a minute."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": "platform"}
    body = urlencode({"username": username, "password": "wrong"}).encode()
    for _ in range(3):
        platform.request("POST", "/ServiceCenter/login", body, headers)


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


def test_addresses_are_read_and_unblocked(client, user, platform):
    environment = create_environment(platform=platform, name="Development")
    block(platform)
    page = url("blocked", environment.key)
    assert client.get(url("blocked-addresses")).url == page
    assert "Not asked yet" in client.get(page).content.decode()

    assert client.post(url("read-blocked", environment.key)).status_code == 302
    assert client.post(url("read-blocked", environment.key)).status_code == 302
    assert ApplicationTask.objects.count() == 1
    carry_out()

    [found] = blocked_addresses.of(environment).addresses
    html = client.get(page).content.decode()
    assert (found.address, found.username) == ("127.0.0.1", "owner")
    assert "127.0.0.1" in html
    assert client.post(url("unblock", environment.key, found.key)).status_code == 302
    carry_out()

    assert platform.call("GET", "/blocked-addresses").json == {"blocked": []}
    assert blocked_addresses.of(environment).addresses == []
    assert messages() == ["Unblocked user 'owner' from address 127.0.0.1 in environment 'Development'"]
    assert AuditEvent.objects.get().actor_username == "ada"
    assert client.post(url("unblock", environment.key, found.key)).status_code == 409


def test_a_failure_is_told_and_audited(client, user, platform):
    environment = create_environment(platform=platform, name="Development")
    block(platform)
    client.post(url("read-blocked", environment.key))
    carry_out()
    [found] = blocked_addresses.of(environment).addresses
    platform.stop()

    client.post(url("unblock", environment.key, found.key))
    carry_out()

    assert messages()[0].startswith("Did not unblock user 'owner' from address 127.0.0.1")
    assert blocked_addresses.of(environment).addresses == [found]
    assert "cannot be reached" in client.get(url("blocked", environment.key)).content.decode()


def test_maintenance_mode_refuses(client, user):
    environment = create_environment(name="Development")
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Upgrade")
    html = client.get(url("blocked", environment.key)).content.decode()
    assert "Grace Hopper" in html
    assert client.post(url("read-blocked", environment.key)).status_code == 409
    assert client.post(url("unblock", environment.key, uuid.uuid4())).status_code == 409
    assert not ApplicationTask.objects.exists()


def test_strangers_readers_and_wrong_methods(client):
    environment = create_environment()
    key = uuid.uuid4()
    assert client.get(url("blocked-addresses")).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.get(url("blocked-addresses")).status_code == 403
    assert client.get(url("blocked", environment.key)).status_code == 403
    assert client.post(url("read-blocked", environment.key)).status_code == 403
    assert client.post(url("unblock", environment.key, key)).status_code == 403
    client.force_login(create_user())
    assert client.get(url("blocked", key)).status_code == 404
    assert client.post(url("blocked", environment.key)).status_code == 405
    assert client.get(url("read-blocked", environment.key)).status_code == 405
    assert client.get(url("unblock", environment.key, key)).status_code == 405


def test_without_environments_the_page_says_so(client, user):
    empty = client.get(url("blocked-addresses")).content.decode()
    assert "No environments" in empty
    assert "Go to Infrastructure" in empty
