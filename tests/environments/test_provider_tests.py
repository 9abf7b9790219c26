"""Testing a provider before it is activated: what is found, and what is never asked."""

import json
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from audit.models import AuditEvent
from environments import authentication, maintenance, outside, provider_tests, tasks
from environments.models import ProviderTest
from tests.environments import directory as directories
from tests.environments.test_authentication import OIDC, SECRET, create, url
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db
DISCOVERY = "/.well-known/openid-configuration"


class Provider:
    """Answers what it is told to; None leaves a member out."""

    def __init__(self, port):
        self.issuer = f"http://127.0.0.1:{port}"
        self.address = self.issuer + DISCOVERY
        self.members = {
            "issuer": self.issuer,
            **{f"{one}_endpoint": f"{self.issuer}/{one}" for one in ("authorization", "token", "userinfo")},
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code", "id_token"],
            "scopes_supported": ["openid", "email", "profile"],
            "claims_supported": ["sub", "email"],
        }
        self.keys = {"keys": [{"kid": "1"}]}
        self.status, self.raw, self.headers, self.asked = 200, None, {}, []

    def answer(self, path):
        self.asked.append(path)
        if path == "/jwks":
            return json.dumps(self.keys).encode()
        told = {name: value for name, value in self.members.items() if value is not None}
        return json.dumps(told).encode() if self.raw is None else self.raw


@contextmanager
def running():
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            body = provider.answer(self.path)
            self.send_response(provider.status)
            for name, value in provider.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # whoever asked had enough
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def login(settings):
    settings.LOOPBACK_PROVIDERS = True
    with running() as provider:
        yield provider


@pytest.fixture
def directory(settings):
    settings.LOOPBACK_PROVIDERS = True
    with directories.running() as found:
        yield found


def look_at(provider):
    """What a worker finds."""
    test = provider_tests.request(provider, by=actor())
    tasks.test_provider(test.pk)
    test.refresh_from_db()
    return test


def texts(test, kind="error"):
    return [one["text"] for one in test.findings if one["kind"] == kind]


def test_the_page_asks_a_worker_and_shows_what_it_found(client, user, login):
    maintenance.enable(create_environment(name="Other"), by=actor(), reason="Upgrade")  # a provider is no environment
    provider = create(well_known_url=login.address)
    assert "Not tested since it was saved last" in client.get(url("provider", provider.key)).content.decode()

    assert client.post(url("test-provider", provider.key)).url == url("provider", provider.key)

    assert login.asked == []  # the web asks nobody
    test = ProviderTest.objects.get()
    assert [one.func() for one in OrmQ.objects.all()][-1] == "environments.tasks.test_provider"
    state = client.get(url("provider-test-state", provider.key)).content.decode()
    assert 'hx-trigger="every 1s"' in state
    client.post(url("test-provider", provider.key))
    assert ProviderTest.objects.get() == test  # one is under way already

    tasks.test_provider(test.pk)
    tasks.test_provider(test.pk)

    assert login.asked == [DISCOVERY, "/jwks"]
    state = client.get(url("provider-test-state", provider.key)).content.decode()
    assert "Passed" in state
    assert "It shows 1 key" in state
    assert "hx-trigger" not in state
    assert SECRET not in state
    event = AuditEvent.objects.get(message="Requested a test of authentication provider 'Company'")
    assert (event.actor_username, event.kind) == ("ada", "view")


def test_a_change_forgets_what_was_found(login):
    provider = create(well_known_url=login.address)
    assert look_at(provider).status == "passed"
    values = {name: value for name, value in OIDC.items() if name != "name"}
    values["well_known_url"] = login.address
    authentication.save(provider, name="Company", mode="oidc", configuration=values, by=actor())
    assert ProviderTest.objects.exists()  # nothing was changed
    authentication.save(provider, name="Firm", mode="oidc", configuration=values, by=actor())
    assert not ProviderTest.objects.exists()


def test_a_test_that_nobody_works_on_is_said_to_be_lost_and_made_again(client, user, login):
    provider = create(well_known_url=login.address)
    lost = provider_tests.request(provider, by=actor())
    ProviderTest.objects.update(status="running", requested_at=timezone.now() - timedelta(minutes=5))

    assert "does not answer" in client.get(url("provider", provider.key)).content.decode()
    client.post(url("test-provider", provider.key))

    test = ProviderTest.objects.get()
    assert (test.status, test.pk == lost.pk) == ("queued", False)
    tasks.test_provider(lost.pk)
    assert ProviderTest.objects.get().status == "queued"


WRONG = {
    "issuer missing": ({"issuer": None}, "The issuer is missing"),
    "another issuer": ({"issuer": "https://evil.example"}, "whose configuration is elsewhere"),
    "issuer a number": ({"issuer": 7}, "The issuer is missing"),
    "no token endpoint": ({"token_endpoint": None}, "token_endpoint is missing"),
    "no authorization endpoint": ({"authorization_endpoint": ""}, "authorization_endpoint is missing"),
    "no keys": ({"jwks_uri": None}, "jwks_uri is missing"),
    "plain endpoint": ({"token_endpoint": "http://login.example.com/token"}, "does not begin with https://"),
    "endpoint of nonsense": ({"token_endpoint": "https://[::1"}, "does not begin with https://"),
    "keys in the metadata service": ({"jwks_uri": "https://169.254.169.254/keys"}, "metadata address"),
    "no code flow": ({"response_types_supported": ["id_token"]}, "does not support the code flow"),
    "no OpenID": ({"scopes_supported": ["email"]}, "does not support the scope openid"),
}


@pytest.mark.parametrize(("members", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_configuration_is_said(login, members, words):
    login.members |= members
    test = look_at(create(well_known_url=login.address))
    assert test.status == "failed"
    assert words in " ".join(texts(test))


def test_what_may_be_wrong_is_a_warning(login):
    login.members |= {"claims_supported": ["sub"], "scopes_supported": ["openid"], "userinfo_endpoint": None}
    test = look_at(create(well_known_url=login.address, secret=""))
    assert test.status == "passed"
    found = " ".join(texts(test, "warning"))
    for words in (
        "does not list the claim “email”",
        "the scopes email, profile",
        "userinfo_endpoint is missing",
        "No client secret is stored",
        "LIFETIME_OIDC_ISSUER is not set",
        "first log-in only",
    ):
        assert words in found


def test_where_the_console_itself_logs_in_differs_is_said(login, settings):
    settings.OIDC_RP_CLIENT_ID = "another"
    provider = create(well_known_url=login.address)
    settings.OIDC_ISSUER = login.issuer
    assert "uses another client ID there, another" in " ".join(texts(look_at(provider), "warning"))
    settings.OIDC_ISSUER = "https://other.example"
    assert "by another provider, https://other.example" in " ".join(texts(look_at(provider), "warning"))


ANSWERS = {
    "not found": ({"status": 404}, "answers with status 404"),
    "broken": ({"status": 503}, "answers with status 503"),
    "redirect": ({"status": 302, "headers": {"Location": "http://169.254.169.254/"}}, "redirect (302)"),
    "a page": ({"raw": b"<html>secret of the intranet</html>"}, "is no JSON"),
    "a list": ({"raw": b"[]"}, "no object"),
    "deep": ({"raw": b"[" * 100_000}, "is no JSON"),
    "no UTF-8": ({"raw": b'{"issuer": "\xff"}'}, "is no JSON"),
    "endless": ({"raw": b" " * 400_000}, "sends more than 256 KB"),
    "a bomb": ({"headers": {"Content-Encoding": "gzip"}, "raw": b"no gzip"}, "does not answer as a web server does"),
}


@pytest.mark.parametrize(("answer", "words"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_configuration_is_said_without_repeating_it(login, answer, words):
    for name, value in answer.items():
        setattr(login, name, value)
    test = look_at(create(well_known_url=login.address))
    assert test.status == "failed"
    assert words in texts(test)[0]
    assert "intranet" not in json.dumps(test.findings)
    assert login.asked == [DISCOVERY]


def test_nobody_there(login, settings):
    provider = create(well_known_url="http://127.0.0.1:9" + DISCOVERY)
    assert "cannot be reached" in texts(look_at(provider))[0]
    provider = create(name="Unknown", well_known_url="https://nobody.invalid" + DISCOVERY)
    assert texts(look_at(provider)) != []


def test_a_slow_answer_ends(login, monkeypatch):
    monkeypatch.setattr(outside, "SECONDS", 0.3)
    ended = threading.Event()
    login.answer = lambda path: b"{}" if ended.wait(5) else b""
    test = look_at(create(well_known_url=login.address))
    ended.set()
    assert "did not answer within" in texts(test)[0]


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/x",
        "https://0.0.0.0/x",
        "https://2130706433/x",
        "https://127.1/x",
        "https://0x7f000001/x",
        "https://\uff11\uff12\uff17.0.0.1/x",
        "https://127.0.0.1.:80/x",
        "https:///x",
        "https://[::1/x",
        "http://login.example.com/x",
        "file:///etc/passwd",
    ],
)
def test_what_is_never_asked(address, settings):
    settings.LOOPBACK_PROVIDERS = False
    with running() as provider, pytest.raises(outside.Trouble):
        outside.get_json(address.replace("/x", f":{provider.issuer.rpartition(':')[2]}{DISCOVERY}"))
    assert provider.asked == []


def test_loopback_is_for_trying_things_out_only(login, settings):
    provider = create(well_known_url=login.address)
    settings.LOOPBACK_PROVIDERS = False
    assert texts(look_at(provider)) == [f"{login.address} does not begin with https://."]
    ldap = create("ldap", address="ldap://localhost:389")
    assert "this machine itself" in texts(look_at(ldap))[0]
    assert login.asked == []


WHERE = {"well-known URL": "well_known_url", "keys": "jwks_uri"}


@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE)
def test_an_environment_in_maintenance_is_not_asked_as_a_provider_either(login, where):
    provider = create(well_known_url=login.address)
    with running() as other:
        address = login.issuer
        if where == "jwks_uri":
            address, login.members["jwks_uri"] = other.issuer, f"{other.issuer}/jwks"
        environment = create_environment(name="Production", address=f"{address}/there")
        maintenance.enable(environment, by=actor(), reason="Upgrade")

        test = look_at(provider)

        assert test.status == "failed"
        assert f"{environment} is in maintenance mode since" in texts(test)[-1]
        assert "Ada Lovelace enabled it: “Upgrade”" in texts(test)[-1]
        assert other.asked == []
        assert login.asked == ([DISCOVERY] if where == "jwks_uri" else [])
        maintenance.disable(environment, by=actor(), reason="Done")
        assert look_at(provider).status == "passed"


UNPRINTABLE = {"nul": "a\x00b", "lone surrogate": "a\ud800b", "line": "a\nb"}


@pytest.mark.parametrize("said", UNPRINTABLE.values(), ids=UNPRINTABLE)
@pytest.mark.parametrize("name", ["issuer", "jwks_uri", "token_endpoint"])
def test_what_cannot_be_printed_ends_no_test(login, name, said):
    login.members[name] = said
    test = look_at(create(well_known_url=login.address))
    assert test.status == "failed"
    assert all(one["text"].isprintable() for one in test.findings)


def many_addresses(monkeypatch, count):
    """A name that has so many addresses of this machine."""
    found = socket.getaddrinfo

    def resolve(host, port, *args, **options):
        if host != "many.example":
            return found(host, port, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{2 + one}", port)) for one in range(count)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_some_addresses_of_a_name_are_tried_only(settings, monkeypatch):
    settings.LOOPBACK_PROVIDERS = True
    many_addresses(monkeypatch, 9)
    with socket.create_server(("127.0.0.10", 0)) as last:
        with pytest.raises(outside.Trouble, match="cannot be reached"):
            outside.try_connection("many.example", last.getsockname()[1], with_tls=False)
        last.setblocking(False)
        with pytest.raises(BlockingIOError):
            last.accept()


def test_many_silent_addresses_have_one_deadline(settings, monkeypatch):
    settings.LOOPBACK_PROVIDERS = True
    monkeypatch.setattr(outside, "CONNECT_SECONDS", 0.4)
    monkeypatch.setattr(outside, "SECONDS", 0.6)
    many_addresses(monkeypatch, 4)
    with socket.create_server(("", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(outside.Trouble, match="did not take the connection"):
            outside.try_connection("many.example", silent.getsockname()[1], with_tls=True)
        assert time.monotonic() - began < 1.2


# LDAP


def test_an_environment_in_maintenance_is_no_ldap_server_either(directory):
    address = directory.address.replace("ldap:", "http:")
    maintenance.enable(create_environment(name="Production", address=address), by=actor(), reason="Upgrade")
    test = look_at(with_directory(directory))
    assert "Production is in maintenance mode since" in texts(test)[0]
    assert directory.binds == []


def with_directory(directory, secret=directories.PASSWORD, **changes):
    return create("ldap", secret=secret, **{"address": directory.address, "bind_dn": directories.READER, **changes})


def test_an_ldap_server_is_bound_to_and_searched(directory):
    test = look_at(with_directory(directory))

    assert test.status == "passed"
    assert texts(test, "fine")[1:] == [
        f"Binding as {directories.READER} works.",
        f"The base DN {directories.PEOPLE} is there.",
        "There are people with the attribute uid.",
    ]
    assert "is not encrypted" in texts(test, "warning")[0]
    assert directory.binds == [directories.READER]
    assert directories.PASSWORD not in json.dumps(test.findings)


def test_an_anonymous_search_needs_no_password(directory):
    directory.people = 0
    test = look_at(with_directory(directory, secret="", bind_dn=""))
    assert test.status == "passed"
    assert "Nobody below the base DN" in texts(test, "warning")[1]
    assert directory.binds == [""]


LDAP_TROUBLE = {
    "password": ({"secret": "wrong"}, {}, "the bind DN or the password is wrong"),
    "no password": ({"secret": ""}, {}, "No bind password is stored"),
    "base": ({"base_dn": "ou=nobody,dc=example,dc=com"}, {}, "there is nothing by that name"),
    "no LDAP": ({}, {"says": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, "does not speak LDAP"),
    "endless": ({}, {"says": b"\x30\x84\x7f\xff\xff\xff" + b"x" * 5000}, "does not speak LDAP"),
    "silent": ({}, {"is_silent": True}, "does not speak LDAP"),
    "no TLS": ({"address": "tls"}, {}, "does not speak TLS"),
}


@pytest.mark.parametrize(("changes", "behaviour", "words"), LDAP_TROUBLE.values(), ids=LDAP_TROUBLE)
def test_what_is_wrong_with_an_ldap_server_is_said(directory, monkeypatch, changes, behaviour, words):
    monkeypatch.setattr(outside, "CONNECT_SECONDS", 1.0)
    if changes.get("address") == "tls":
        changes = {"address": directory.address.replace("ldap:", "ldaps:")}
        directory.says = b"no TLS here"
    for name, value in behaviour.items():
        setattr(directory, name, value)
    test = look_at(with_directory(directory, **changes))
    assert test.status == "failed"
    assert words in texts(test)[-1]


def test_no_ldap_server(directory):
    assert "cannot be reached" in texts(look_at(with_directory(directory, address="ldap://127.0.0.1:9")))[0]


def test_a_mistake_of_ours_is_no_endless_test(monkeypatch, caplog):
    def broken(provider):
        raise RuntimeError("bug")

    monkeypatch.setattr(provider_tests, "_ldap", broken)
    provider = create("ldap")
    test = look_at(provider)
    assert (test.status, texts(test)) == ("failed", [provider_tests.MISTAKE])
    caplog.clear()


def test_strangers_readers_and_wrong_methods(client):
    provider = create()
    assert client.post(url("test-provider", provider.key)).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.post(url("test-provider", provider.key)).status_code == 403
    assert client.get(url("provider-test-state", provider.key)).status_code == 403
    client.force_login(create_user())
    assert client.get(url("test-provider", provider.key)).status_code == 405
    assert client.post(url("test-provider", uuid.uuid4())).status_code == 404
    assert client.post(url("provider-test-state", provider.key)).status_code == 405
    assert not ProviderTest.objects.exists()
