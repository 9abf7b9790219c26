"""External authentication: configurations, the one that is active, its secret, and where it has arrived."""

import threading
import time
import uuid

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit import log
from audit.models import AuditEvent
from environments import authentication, maintenance, sync
from environments.models import AuthenticationProvider, ProviderTest, SyncRun
from lifetime import people
from lifetime.changes import Author, Refused
from lifetime.models import Role, User
from tests.factories import PASSWORD, actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "s3cret-of-the-client"
OIDC = {
    "name": "Company",
    "well_known_url": "https://login.example.com/.well-known/openid-configuration",
    "client_id": "console",
    "username_claim": "email",
    "scopes": ["openid", "email", "profile"],
}
LDAP = {
    "name": "Directory",
    "address": "ldaps://ldap.example.com:636",
    "base_dn": "ou=people,dc=example,dc=com",
    "bind_dn": "cn=reader,dc=example,dc=com",
    "username_attribute": "uid",
}


def url(name, *args):
    return reverse(f"settings:{name}", args=args)


def create(mode="oidc", *, secret=SECRET, **changes):
    values = {**(OIDC if mode == "oidc" else LDAP), **changes}
    name = values.pop("name")
    return authentication.save(None, name=name, mode=mode, configuration=values, secret=secret, by=actor())


def reached(provider, status="passed"):
    ended = None if status in ("queued", "running") else timezone.now()
    ProviderTest.objects.create(provider=provider, requested_by="Ada", status=status, ended_at=ended)
    return provider


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


@pytest.mark.parametrize(("mode", "values"), [("oidc", OIDC), ("ldap", LDAP)])
def test_a_provider_is_created_and_changed(client, user, mode, values):
    response = client.post(url("create-provider", mode), {**values, "secret": SECRET})

    provider = AuthenticationProvider.objects.get()
    assert (response.status_code, response.url) == (302, url("provider", provider.key))
    assert {"name": provider.name, **provider.configuration} == values
    assert provider.secret == SECRET
    assert not provider.is_active

    client.post(url("provider", provider.key), {**values, "name": "Other"})

    provider.refresh_from_db()
    assert (provider.name, provider.secret) == ("Other", SECRET)
    assert messages() == [
        f"Created authentication provider '{values['name']}' ({provider.get_mode_display()})",
        "Changed Name of authentication provider 'Other'",
    ]
    assert AuditEvent.objects.first().actor_username == "ada"
    assert not SyncRun.objects.exists()


def test_the_secret_is_never_shown_or_audited(client, user, caplog):
    response = client.post(url("create-provider", "oidc"), {**OIDC, "secret": SECRET, "client_id": ""})
    assert SECRET not in response.content.decode()
    provider = create()
    assert SECRET not in provider.sealed_secret
    client.post(url("activate-provider", provider.key), {"secret": SECRET + "2"})
    for path in (url("authentication"), url("provider", provider.key)):
        assert SECRET not in client.get(path).content.decode()
    assert SECRET not in caplog.text
    for event in AuditEvent.objects.all():
        assert SECRET not in f"{event.message}{event.details}"
    provider.refresh_from_db()
    assert provider.secret == SECRET + "2"


BAD = {
    "no name": ("oidc", {"name": " "}, "This field is required"),
    "no https": ("oidc", {"well_known_url": "http://login.example.com"}, "begins with https://"),
    "script": ("oidc", {"well_known_url": "javascript:alert(1)"}, "begins with https://"),
    "credentials": ("oidc", {"well_known_url": "https://a:b@example.com"}, "Leave user name and password out"),
    "metadata": ("oidc", {"well_known_url": "https://169.254.169.254/"}, "metadata address"),
    "no client": ("oidc", {"client_id": ""}, "This field is required"),
    "claim": ("oidc", {"username_claim": "e mail"}, "the name of a claim"),
    "scope left out": ("oidc", {"scopes": ["openid"]}, "cannot be left out"),
    "unknown scope": ("oidc", {"scopes": ["root"]}, "Select a valid choice"),
    "long secret": ("oidc", {"secret": "x" * 101}, "at most 100 characters"),
    "secret of two lines": ("oidc", {"secret": "a\nb"}, "no line breaks"),
    "no ldap": ("ldap", {"address": "https://ldap.example.com"}, "begins with ldaps://"),
    "path": ("ldap", {"address": "ldaps://ldap.example.com/dc=x"}, "without a path"),
    "base": ("ldap", {"base_dn": "people"}, "a distinguished name"),
    "attribute": ("ldap", {"username_attribute": "uid)(cn=*"}, "the name of an attribute"),
}


@pytest.mark.django_db  # nothing here needs a commit
@pytest.mark.parametrize(("mode", "changes", "words"), BAD.values(), ids=BAD)
def test_bad_configurations_are_refused_in_words(client, user, mode, changes, words):
    values = {**(OIDC if mode == "oidc" else LDAP), **changes}
    response = client.post(url("create-provider", mode), values)

    assert response.status_code == 422
    assert words in response.content.decode()
    assert not AuthenticationProvider.objects.exists()
    assert messages() == []


def test_two_providers_have_two_names(client, user):
    create()
    response = client.post(url("create-provider", "oidc"), OIDC)
    assert response.status_code == 422
    assert "Another provider has this name." in response.content.decode()


def test_only_one_is_active_and_nobody_changes_that_one(client, user):
    create_environment(name="Development")
    company, directory = create(), create("ldap")

    assert client.post(url("activate-provider", company.key)).status_code == 302
    assert client.post(url("provider", company.key), {**OIDC, "name": "Hacked"}).status_code == 409
    assert client.post(url("delete-provider", company.key)).status_code == 409
    assert client.post(url("activate-provider", company.key)).status_code == 409
    assert client.post(url("activate-provider", directory.key)).status_code == 302

    assert list(AuthenticationProvider.objects.filter(is_active=True)) == [directory]
    directory.refresh_from_db()
    assert directory.activated_by == "Ada Lovelace"
    assert messages()[2:] == [
        "Activated authentication provider 'Company'",
        "Activated authentication provider 'Directory' instead of 'Company'",
    ]
    assert SyncRun.objects.get().status == "queued"

    assert client.post(url("deactivate-provider", directory.key)).status_code == 302
    assert client.post(url("deactivate-provider", directory.key)).status_code == 409
    assert client.post(url("delete-provider", directory.key)).status_code == 302
    assert messages()[4:] == [
        "Deactivated authentication provider 'Directory'",
        "Deleted authentication provider 'Directory'",
    ]


def test_openid_connect_is_not_activated_without_a_secret(client, user):
    provider = create(secret="")
    response = client.post(url("activate-provider", provider.key), headers={"HX-Request": "true"})
    assert response.status_code == 422
    assert "needs the client secret" in response.content.decode()
    assert not AuthenticationProvider.objects.get().is_active
    with pytest.raises(ValidationError):
        authentication.activate(provider, by=actor())


def test_dialogs_say_what_happens(client, user):
    environment = create_environment(name="Production")
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    provider = create()
    htmx = {"HX-Request": "true"}
    activate = client.get(url("activate-provider-dialog", provider.key), headers=htmx).content.decode()
    assert "everybody has to log in again" in activate
    assert "given it afterwards: Production" in activate
    deactivate = client.get(url("deactivate-provider-dialog", provider.key), headers=htmx).content.decode()
    assert "built-in authentication" in deactivate
    assert client.get(url("activate-provider-dialog", provider.key)).status_code == 302


def test_each_environment_gets_it_or_the_page_says_why_not(client, user, platform):
    good = create_environment(platform=platform, name="Development")
    waiting = create_environment(name="Production")
    nobody = create_environment(name="Nobody", address="http://127.0.0.1:9")
    fresh = create_environment(name="Fresh")
    maintenance.enable(waiting, by=actor("Grace Hopper"), reason="Upgrade")
    provider = create()
    client.post(url("activate-provider", provider.key))
    runs = SyncRun.objects.filter(status="queued", environment__in=[good, nobody])

    sync.run([run.pk for run in runs])

    arrivals = {one.environment.name: one.arrival.value for one in authentication.results()}
    assert arrivals == {
        good.name: "delivered",
        waiting.name: "maintenance",
        nobody.name: "failed",
        fresh.name: "pending",
    }
    assert platform.call("GET", "/authentication").json == {
        "mode": "oidc",
        "configuration": {
            "name": "Company",
            **{name: value for name, value in OIDC.items() if name != "name"},
            "client_secret": "***",
        },
    }
    html = client.get(url("authentication")).content.decode()
    assert "Grace Hopper enabled maintenance mode" in html
    assert "cannot be reached" in html


def test_propagating_queues_what_may_be_spoken_to(client, user):
    create_environment(name="Development")
    maintenance.enable(create_environment(name="Production"), by=actor(), reason="Upgrade")
    count = len(messages())

    assert client.post(url("propagate-authentication")).status_code == 302

    assert [run.environment.name for run in SyncRun.objects.all()] == ["Development"]
    assert messages()[count:] == ["Propagated the external authentication configuration"]


def test_strangers_readers_and_wrong_methods(client):
    provider = create()
    posts = ["activate-provider", "deactivate-provider", "delete-provider"]
    gets = ["activate-provider-dialog", "deactivate-provider-dialog"]
    before = AuthenticationProvider.objects.values().get()
    assert client.get(url("authentication")).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.get(url("authentication")).status_code == 403
    assert client.get(url("create-provider", "oidc")).status_code == 403
    assert client.post(url("provider", provider.key), OIDC).status_code == 403
    assert client.post(url("propagate-authentication")).status_code == 403
    for name in posts:
        assert client.post(url(name, provider.key)).status_code == 403
    client.force_login(create_user())
    for name in posts:
        assert client.get(url(name, provider.key)).status_code == 405
        assert client.post(url(name, uuid.uuid4())).status_code == 404
    for name in gets:
        assert client.post(url(name, provider.key)).status_code == 405
        assert client.get(url(name, uuid.uuid4())).status_code == 404
    assert client.get(url("provider", uuid.uuid4())).status_code == 404
    assert client.get(url("create-provider", "saml")).status_code == 404
    assert client.get(url("propagate-authentication")).status_code == 405
    assert AuthenticationProvider.objects.values().get() == before


def test_the_page_costs_the_same_for_any_number(client, user, django_assert_num_queries):
    create_environment()
    client.get(url("authentication"))
    with CaptureQueriesContext(connection) as few:
        client.get(url("authentication"))
    for _ in range(5):
        create_environment()
    with django_assert_num_queries(len(few)):
        client.get(url("authentication"))


# Client IDs by kind of environment

BY_KIND = {
    **{name: value for name, value in OIDC.items() if name != "client_id"},
    "client_ids": "by_kind",
    "client_id_development": "dev",
    "client_id_test": "test",
    "client_id_production": "prod",
    "client_id_console": "",
}


def test_each_kind_of_environment_gets_its_own_client_id(client, user, platform):
    assert client.post(url("create-provider", "oidc"), {**BY_KIND, "client_id": "left"}).status_code == 302
    provider = AuthenticationProvider.objects.get()
    assert {"name": provider.name, **provider.configuration} == BY_KIND
    development = create_environment(platform=platform, name="Development")
    production = create_environment(name="Production", purpose="Production")
    authentication.activate(provider, secret=SECRET, by=actor())

    sync.run([SyncRun.objects.get(environment=development).pk])

    told = platform.call("GET", "/authentication").json["configuration"]
    assert told == {
        **{name: value for name, value in OIDC.items() if name != "client_id"},
        "client_id": "dev",
        "client_secret": "***",
    }
    arrivals = {one.environment: one.arrival.value for one in authentication.results()}
    assert arrivals == {development: "delivered", production: "pending"}
    # The digest of development is not the one that production shall have.
    state = production.sync_state
    state.digests = development.sync_state.__class__.objects.get(environment=development).digests
    state.save()
    assert {one.environment: one.arrival.value for one in authentication.results()}[production] == "pending"


def test_one_client_id_becomes_several_and_one_again(client, user):
    provider = create()
    client.post(url("provider", provider.key), BY_KIND)
    provider.refresh_from_db()
    assert "client_id" not in provider.configuration
    assert provider.configuration["client_id_test"] == "test"
    client.post(url("provider", provider.key), {**OIDC, "client_ids": "one", "client_id_test": "left"})
    provider.refresh_from_db()
    assert {"name": provider.name, **provider.configuration} == OIDC
    assert messages()[1].startswith("Changed Client IDs, Client ID, Client ID of development environments")


@pytest.mark.django_db  # nothing here needs a commit
@pytest.mark.parametrize("name", ["client_id_development", "client_id_test", "client_id_production"])
def test_no_client_id_of_a_kind_may_be_missing(client, user, name):
    response = client.post(url("create-provider", "oidc"), {**BY_KIND, name: ""})
    assert response.status_code == 422
    assert "This field is required" in response.content.decode()
    assert not AuthenticationProvider.objects.exists()
    values = {key: value for key, value in {**BY_KIND, name: " "}.items() if key != "name"}
    with pytest.raises(ValidationError, match="is missing"):
        authentication.clean("oidc", values)


# Activation: who is logged out, and who keeps a password


@pytest.fixture
def console_login(settings):
    settings.OIDC_ISSUER = "https://login.example.com"


def local_administrator(**options):
    return create_user(username="root", name="Root", is_staff=True, **options)


def logged_in(user):
    browser = Client()
    browser.force_login(user)
    return browser


def test_activation_logs_everybody_else_out(client, user):
    other = logged_in(create_user())
    assert other.get(url("authentication")).status_code == 200

    client.post(url("activate-provider", create().key))

    assert client.get(url("authentication")).status_code == 200
    assert other.get(url("authentication")).status_code == 302
    event = AuditEvent.objects.get(message="Activated authentication provider 'Company'")
    assert event.details == {"sessions ended": 1}
    assert user.check_password(PASSWORD)


def test_local_passwords_are_cleared_but_those_of_local_administrators(client, user, console_login):
    root, other = local_administrator(), create_user(username="eve", manages_infrastructure=False)
    support = create_user(username="sam", is_staff=True, manages_infrastructure=False)
    nobody = create_user(username="open", password=None)
    browser = logged_in(other)
    provider = reached(create())
    dialog = client.get(url("activate-provider-dialog", provider.key), headers={"HX-Request": "true"})
    assert "2 people lose theirs" in dialog.content.decode()

    response = client.post(url("activate-provider", provider.key), {"clear_passwords": "on"})

    assert response.status_code == 302
    assert client.get(url("authentication")).status_code == 200  # whoever did it stays logged in
    assert browser.get(url("authentication")).status_code == 302
    for one, keeps in ((root, True), (support, True), (user, False), (other, False), (nobody, False)):
        one.refresh_from_db()
        assert one.has_usable_password() == keeps, one
    assert not Client().login(username="eve", password=PASSWORD)
    assert Client().login(username="root", password=PASSWORD)
    event = AuditEvent.objects.get(message__startswith="Cleared")
    assert event.message == "Cleared the local passwords of 2 people, who log in by 'Company' from now on"
    assert (event.actor_username, event.details) == ("ada", {"local administrators": ["root"]})
    for one in AuditEvent.objects.all():
        assert "!" not in f"{one.message}{one.details}"
    warned = client.get(url("deactivate-provider-dialog", provider.key), headers={"HX-Request": "true"})
    assert "3 active people have no password" in warned.content.decode()


NOT_CLEARED = {
    "nobody would be left": (None, "https://login.example.com", "There is no local administrator"),
    "inactive": ({"is_active": False}, "https://login.example.com", "There is no local administrator"),
    "without a password": ({"password": None}, "https://login.example.com", "There is no local administrator"),
    "may manage nothing": (
        {"manages_infrastructure": False},
        "https://login.example.com",
        "There is no local administrator",
    ),
    "no log-in here": ({}, "", "does not log people in by this provider"),
    "log-in by another": ({}, "https://other.example.com", "does not log people in by this provider"),
}


@pytest.mark.django_db  # nothing here needs a commit
@pytest.mark.parametrize(("root", "issuer", "words"), NOT_CLEARED.values(), ids=NOT_CLEARED)
def test_nobody_is_locked_out(client, user, settings, root, issuer, words):
    settings.OIDC_ISSUER = issuer
    if root is not None:
        local_administrator(**root)
    other = logged_in(create_user(username="eve"))
    provider = reached(create())
    dialog = client.get(url("activate-provider-dialog", provider.key), headers={"HX-Request": "true"})
    assert words in dialog.content.decode()

    with pytest.raises(ValidationError, match=words):
        authentication.activate(provider, clear_passwords=True, by=actor())
    response = client.post(url("activate-provider", provider.key), {"clear_passwords": "on"})

    assert response.status_code == 422  # what was ticked while one still might is not passed over
    assert words in response.content.decode()
    provider.refresh_from_db()
    assert not provider.is_active
    assert other.get(url("authentication")).status_code == 200
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert len(messages()) == 1


def test_passwords_are_not_cleared_for_ldap(console_login):
    local_administrator()
    with pytest.raises(ValidationError, match="does not log people in by LDAP"):
        authentication.activate(create("ldap"), clear_passwords=True, by=actor())
    assert not AuthenticationProvider.objects.get().is_active


@pytest.mark.django_db  # nothing here needs a commit
@pytest.mark.parametrize("status", ["", "queued", "failed"])
def test_passwords_are_cleared_for_a_provider_that_was_reached_only(console_login, status):
    local_administrator()
    provider = create()
    if status:
        reached(provider, status)
    with pytest.raises(ValidationError, match="Test this provider first"):
        authentication.activate(provider, clear_passwords=True, by=actor())
    assert not AuthenticationProvider.objects.get().is_active


def test_the_last_one_who_could_log_in_without_the_provider_stays(user, console_login):
    root = local_administrator()
    authentication.activate(reached(create()), clear_passwords=True, by=actor())
    by = Author(who=user)

    people.edit(root, {"name": "Root the first"}, by=by)
    for change in ({"is_active": False}, {"role": Role.objects.developer()}):
        with pytest.raises(Refused, match="when the provider fails"):
            people.edit(root, change, by=by)

    people.edit(create_user(username="second", password=None), {}, password=PASSWORD + "!", by=by)
    assert not people.edit(root, {"is_active": False}, by=by).is_active


def test_a_log_in_and_clearing_passwords_wait_for_each_other_in_one_order(user, console_login):
    local_administrator()
    eve, provider = create_user(username="eve"), reached(create())
    begun, trouble = threading.Event(), []

    def log_in():
        try:
            with transaction.atomic():
                User.objects.filter(pk=eve.pk).update(last_login=timezone.now())
                begun.set()
                wait_for_somebody_who_waits()
                log.record("User 'Eve' (eve) logged in", eve.audit_object, by=actor())
        except Exception as error:
            trouble.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=log_in)
    thread.start()
    begun.wait(5)
    authentication.activate(provider, clear_passwords=True, by=actor())
    thread.join()

    assert trouble == []
    assert not User.objects.get(pk=eve.pk).has_usable_password()
    assert messages()[-3:] == [
        "User 'Eve' (eve) logged in",
        "Activated authentication provider 'Company'",
        "Cleared the local passwords of 2 people, who log in by 'Company' from now on",
    ]


def wait_for_somebody_who_waits():
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.02)


@pytest.mark.django_db  # nothing here needs a commit
@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("oidc", {"well_known_url": "https://evil.example.com/.well-known/openid-configuration"}),
        ("ldap", {"address": "ldaps://evil.example.com:636"}),
        ("ldap", {"address": "ldap://ldap.example.com:636"}),
    ],
)
def test_a_stored_secret_goes_to_the_address_it_was_given_for_only(client, user, mode, changes):
    provider = create(mode)
    values = {**(OIDC if mode == "oidc" else LDAP), **changes}

    response = client.post(url("provider", provider.key), values)

    assert response.status_code == 422
    assert "Enter the secret for this address" in response.content.decode()
    stored = AuthenticationProvider.objects.get()
    assert (stored.configuration, stored.secret) == (provider.configuration, SECRET)
    assert len(messages()) == 1
    assert client.post(url("provider", provider.key), {**values, "secret": "another"}).status_code == 302
    assert AuthenticationProvider.objects.get().secret == "another"


def test_where_it_has_arrived_is_kept_up_to_date(client, user):
    create_environment(name="Development")
    html = client.get(url("authentication-arrivals")).content.decode()
    assert 'id="arrivals"' in html
    assert "Development" in html
    client.force_login(create_user(manages_infrastructure=False))
    assert client.get(url("authentication-arrivals")).status_code == 403
