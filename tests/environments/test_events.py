"""Events that an environment sends to the console."""

import hashlib
import hmac
import json
import time
import uuid

import pytest

from environments import maintenance
from environments.models import SyncRun
from tests.factories import actor, create_environment

pytestmark = pytest.mark.django_db


def send(client, environment, *, token="token", body=None, instant=None, **changed):
    body = body if body is not None else json.dumps({"id": str(uuid.uuid4()), "type": "application-published"}).encode()
    instant = int(time.time()) if instant is None else instant
    signature = hmac.new(token.encode(), f"{instant}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Lifetime-Signature": f"t={instant},v1={signature}", **changed}
    return client.post(
        f"/environments/{environment.key}/events/", data=body, content_type="application/json", headers=headers
    )


def test_an_event_makes_the_environment_due_once(client):
    environment = create_environment()
    body = json.dumps({"id": str(uuid.uuid4()), "type": "application-published"}).encode()

    answers = [send(client, environment, body=body).status_code for _ in range(3)]

    assert answers == [202, 202, 202]
    run = SyncRun.objects.get()
    assert (run.trigger, run.status, run.is_full) == ("event", "queued", False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "another"},
        {"instant": int(time.time()) - 3600},
        {"Lifetime-Signature": ""},
        {"Lifetime-Signature": "t=1,v1=zz"},
        {"body": b"[]"},
        {"body": b"\xff"},
    ],
    ids=["token", "old", "none", "malformed", "no event", "no text"],
)
def test_what_is_not_the_environments_own_event_changes_nothing(client, wrong):
    environment = create_environment()

    assert send(client, environment, **wrong).status_code == 401

    assert not SyncRun.objects.exists()


def test_in_maintenance_mode_it_is_not_wanted(client):
    environment = create_environment()
    maintenance.enable(environment, by=actor(), reason="Upgrade")

    assert send(client, environment).status_code == 409

    assert not SyncRun.objects.exists()
    assert not environment.events.exists()


def test_an_unknown_environment_is_said(client):
    environment = create_environment(registration="checked")

    assert send(client, environment).status_code == 404
