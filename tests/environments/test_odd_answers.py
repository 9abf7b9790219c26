"""Answers that are odd below the level of the contract: they are that environment's trouble, and nobody else's."""

import json
import threading
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from environments import gate, maintenance, registry, sync
from environments.environment_api import ApplicationsPage, Facts, read
from environments.models import Contact, Environment, SyncRun, SyncState
from tests.environments.test_bad_answers import synchronize
from tests.factories import actor, create_environment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def platform(places):
    """One that other tests have not touched; the process is theirs, too."""
    return next(places)


@contextmanager
def server(status=500, body=b"{}", content_type="application/problem+json", date="", **headers):
    """An environment that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.send_response_only(status)
            for name, value in {"Content-Type": content_type, "Date": date, **headers}.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.daemon_threads = True
        thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


DIGESTS = json.dumps(
    dict.fromkeys(
        (
            *("facts", "applications", "permissions", "settings", "security", "authentication"),
            *("technical_previews_available", "technical_previews"),
        ),
        "sha256:x",
    )
).encode()
LAST_DATE = "Fri, 31 Dec 9999 23:59:58 GMT"
ODD = {
    "a zero character": {"body": json.dumps({"detail": "a\x00b"}).encode()},
    "a surrogate": {"body": b'{"detail": "\\ud800"}'},
    "a long ETag": {"status": 200, "body": DIGESTS, "content_type": "application/json", "ETag": '"' + "x" * 5000 + '"'},
    "a date without zone": {"date": "Mon, 23 Nov 2026 10:00:00 -0000"},
    "a date far off": {"date": "Mon, 23 Nov 99999 10:00:00 GMT"},
    "a date that is none": {"date": "yesterday"},
    "the last date": {"status": 200, "body": DIGESTS, "content_type": "application/json", "date": LAST_DATE},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_answer_fails_its_own_synchronization_alone(platform, odd):
    good = create_environment(platform=platform)
    with server(**odd) as address:
        bad = create_environment(address=address)
        runs = synchronize(bad, good)

    assert [run.status for run in runs] == ["failed", "finished"]
    assert runs[0].message
    assert "mistake" not in runs[0].message
    assert not Contact.objects.open().exists()


def answered(**member):
    """A page of the change feed whose application has this."""
    one = {
        "key": str(uuid4()),
        "name": "Hotel",
        "kind": "Service",
        "is_modified": False,
        "changed_at": "2026-01-01T00:00:00Z",
        "modules": [],
        **member,
    }
    body = json.dumps({"cursor": "1", "more": False, "applications": [one]}).encode()
    return gate.Answer(200, body, "")


@pytest.mark.parametrize("instant", ["9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+12:00"])
def test_an_instant_that_could_be_stored_but_not_read_or_shown_is_refused(instant):
    with pytest.raises(gate.Rejected, match="changed_at: Input should be"):
        read(answered(changed_at=instant), ApplicationsPage, step="GET /applications")


def test_a_text_with_a_zero_character_is_refused_wherever_it_is():
    facts = {
        "name": "E",
        "purpose": "Test",
        "number_of_front_ends": 1,
        "application_server_type": "",
        "database_provider": "",
    }
    for body in (
        facts | {"version": "a\0b", "application_server": ""},
        facts | {"version": "", "application_server": "\0"},
    ):
        with pytest.raises(gate.Rejected, match="zero character"):
            read(gate.Answer(200, json.dumps(body).encode(), ""), Facts, step="GET /facts")
    with pytest.raises(gate.Rejected, match="zero character"):
        read(answered(version="\\\0"), ApplicationsPage, step="GET /applications")

    told = read(answered(version="\\u0000"), ApplicationsPage, step="GET /applications")  # six harmless characters

    assert told.applications[0].version == "\\u0000"


def test_old_runs_are_forgotten_and_their_contacts_and_windows_are_not(platform):
    environment = create_environment(platform=platform)
    synchronize(environment)
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    maintenance.disable(environment, by=actor(), reason="Done")
    sync.run(list(SyncRun.objects.active().values_list("pk", flat=True)))
    contacts = Contact.objects.count()
    long_ago = timezone.now() - timedelta(days=400)
    SyncRun.objects.update(ended_at=long_ago)

    for _ in range(2):
        sync.prune()

    assert [run.trigger for run in SyncRun.objects.all()] == ["maintenance"]
    assert Contact.objects.count() == contacts == 2
    connection.check_constraints()


def test_an_environment_that_was_in_maintenance_can_be_registered_again(platform):
    environment = create_environment(platform=platform)
    synchronize(environment)
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    maintenance.disable(environment, by=actor(), reason="Done")
    sync.run(list(SyncRun.objects.active().values_list("pk", flat=True)))
    registry.unregister(environment, by=actor())

    again = Environment(name=environment.name, address=environment.address, purpose="Development")
    registry.propose(again, token=platform.token, by=actor())
    registry.check_connection(again.pk)

    again.refresh_from_db()
    assert (again.registration, again.registration_message) != ("refused", "")
    assert again.registration == "checked"


def test_another_address_needs_its_token_and_starts_afresh(platform):
    environment = create_environment(platform=platform)
    synchronize(environment)
    running = sync.request(environment, by=actor())
    elsewhere = {"address": platform.address.replace("127.0.0.1", "localhost")}
    with pytest.raises(Exception, match="Enter the token"):
        registry.edit(environment, elsewhere, by=actor())

    registry.edit(environment, elsewhere, token=platform.token, by=actor("Grace Hopper"))

    running.refresh_from_db()
    assert (running.status, "Grace Hopper changed" in running.message) == ("aborted", True)
    state = SyncState.objects.get()
    assert (state.applied, state.applications_cursor, state.full_due) == ({}, "", True)
    environment.refresh_from_db()
    assert environment.epoch == 2
    assert environment.sync_runs.active().get().is_full
