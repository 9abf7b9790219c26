"""What a bad environment gets: a clear message in its own state, nothing stored, and others unaffected."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme

from environments import registry, sync
from environments.models import ApplicationStatus, Contact, Environment, SyncState
from tests.factories import actor, create_environment

pytestmark = pytest.mark.django_db(transaction=True)

BAD = {
    "html": "not JSON. Is the address right?",
    "redirect": "with a redirect; register the final address",
    "huge": "sent more than",
    "deep": "is not of the agreed shape",
    "garbage": "is not of the agreed shape",
    "wrong_types": "is not of the agreed shape",
    "duplicate_keys": "have the same key",
    "hang": "did not answer GET /applications within 2 s",
    "half": "broke the connection at GET /applications",
    "status:503": "answered 503 at GET /applications",
}


@pytest.fixture
def platform(places):
    """One that other tests have not touched; the process is theirs, too."""
    return next(places)


def synchronize(*environments):
    runs = [sync.request(environment, by=actor()) for environment in environments]
    sync.run([run.pk for run in runs])
    for run in runs:
        run.refresh_from_db()
    return runs


@pytest.mark.parametrize("behaviour", BAD)
def test_a_bad_answer_changes_nothing_and_says_what_came(platform, settings, behaviour):
    settings.CALL_TIMEOUT_SECONDS = 2.0
    environment = create_environment(platform=platform)
    synchronize(environment)
    synchronize(environment)  # takes over what the first one's deliveries changed: the name
    state = SyncState.objects.get()
    stored = list(ApplicationStatus.objects.order_by("pk").values())
    platform.behave(fail=behaviour, paths=["/applications"])

    [run] = synchronize(environment)

    assert run.status == "failed"
    assert BAD[behaviour] in run.message
    assert list(ApplicationStatus.objects.order_by("pk").values()) == stored
    after = SyncState.objects.get()
    assert (after.applied, after.applications_cursor, after.etag) == (
        state.applied,
        state.applications_cursor,
        state.etag,
    )
    assert (after.failures, after.message) == (1, run.message)
    assert after.due_at > after.synchronized_at
    assert not Contact.objects.open().exists() or behaviour in {"huge"}

    platform.behave()
    [run] = synchronize(environment)
    assert run.status == "finished"
    assert SyncState.objects.get().failures == 0


def test_one_environments_trouble_is_not_anothers(platform):
    good = create_environment(platform=platform)
    wrong_token = create_environment(platform=platform, address=platform.address.replace("127.0.0.1", "localhost"))
    wrong_token.token = "wrong"
    wrong_token.save()
    nobody = create_environment(address="http://127.0.0.1:9")
    unknown = create_environment(address="http://no-such-host.invalid")
    unreadable = create_environment(address="http://127.0.0.1:9/unreadable")
    Environment.objects.filter(pk=unreadable.pk).update(sealed_token="of another key")

    runs = synchronize(good, wrong_token, nobody, unknown, unreadable)

    assert [run.status for run in runs] == ["finished", *["failed"] * 4]
    assert "does not accept the token" in runs[1].message
    assert "cannot be reached" in runs[2].message
    assert "cannot be reached" in runs[3].message
    assert "Enter it again" in runs[4].message
    unreachable = set(SyncState.objects.exclude(unreachable_since=None).values_list("environment", flat=True))
    assert unreachable == {nobody.pk, unknown.pk}


def test_a_bad_certificate_is_said(tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        [run] = synchronize(create_environment(address=f"https://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()

    assert run.status == "failed"
    assert "bad certificate" in run.message
    assert Contact.objects.get().outcome == "failed"


@pytest.mark.parametrize("address", ["http://169.254.169.254/latest", "http://[fe80::1]", "http://0.0.0.0:80"])
def test_no_connection_is_made_to_a_metadata_address_even_if_it_got_into_the_registry(address):
    [run] = synchronize(create_environment(address=address))

    assert run.status == "failed"
    assert "link-local or metadata address" in run.message


def test_a_connection_check_says_what_is_wrong(platform):
    environment = create_environment(platform=platform, registration="checking", token="wrong")

    registry.check_connection(environment.pk)

    environment.refresh_from_db()
    assert environment.registration == "refused"
    assert "does not accept the token" in environment.registration_message


def test_a_connection_check_that_goes_well_leads_to_registration_and_a_full_synchronization(platform):
    environment = create_environment(platform=platform, registration="checking")
    registry.check_connection(environment.pk)
    environment.refresh_from_db()
    assert environment.registration == "checked"
    with pytest.raises(registry.RegistryRefused):
        registry.register(Environment(pk=create_environment(registration="checking").pk), by=actor())

    run = registry.register(environment, by=actor())
    sync.run([run.pk])

    run.refresh_from_db()
    assert (run.status, run.trigger, run.is_full) == ("finished", "registration", True)
