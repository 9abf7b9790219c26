"""Log-in by OpenID Connect, against a provider on loopback."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.urls import reverse

from audit.models import AuditEvent
from lifetime import openid
from lifetime.models import User
from tests.factories import PASSWORD, create_user
from tests.lifetime import providers

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(settings):
    with providers.running() as provider:
        settings.OIDC_ISSUER = provider.issuer
        settings.OIDC_NAME = "Example ID"
        settings.OIDC_RP_CLIENT_ID = providers.CLIENT
        settings.OIDC_RP_CLIENT_SECRET = providers.SECRET
        settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, "lifetime.openid.Backend"]
        yield provider
    openid._known.clear()


def log_in(client, provider, next_page="/settings/"):
    """Go to the provider and come back, as a browser does."""
    begun = client.get(reverse("lifetime:openid"), {"next": next_page})
    assert begun.headers["Location"].startswith(f"{provider.issuer}/authorize?")
    _, query = provider.authorize(begun.headers["Location"])
    return client.get(f"{reverse('lifetime:openid-callback')}?{query}")


def is_logged_in(client):
    return client.get(reverse("lifetime:settings")).status_code == 200


def refused(client, response, reason):
    assert response.headers["Location"] == reverse("lifetime:login")
    assert "Logging in through Example ID did not work." in client.get(reverse("lifetime:login")).content.decode()
    assert not is_logged_in(client)
    event = AuditEvent.objects.order_by("-number")[0]
    assert (event.kind, event.succeeded) == ("login", False)
    assert reason in event.reason


def test_a_person_logs_in_through_the_provider(client, provider):
    user = create_user(name="Ada Lovelace", username="ada", email="ada@example.org")
    page = client.get(reverse("lifetime:login"), {"next": "/settings/"}).content.decode()
    assert "Log in with Example ID" in page
    assert provider.asked == []

    response = log_in(client, provider)

    assert response.headers["Location"] == "/settings/"
    assert is_logged_in(client)
    assert int(client.session["_auth_user_id"]) == user.pk
    event = AuditEvent.objects.get()
    assert event.message == "User 'Ada Lovelace' (ada) logged in"
    assert event.details == {"through": "Example ID"}


def test_the_console_asks_for_state_nonce_and_proof(client, provider):
    begun = client.get(reverse("lifetime:openid"))
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.headers["Location"]).query).items()}

    assert asked["redirect_uri"] == "http://testserver/login/openid/callback/"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) == len(asked["nonce"]) == 32
    assert asked["scope"] == "openid email profile"


def test_the_provider_is_asked_for_its_endpoints_once(client, provider):
    create_user(email="ada@example.org")
    log_in(client, provider)
    client.logout()
    log_in(client, provider)

    assert provider.asked.count("/.well-known/openid-configuration") == 1


def test_strangers_do_not_get_in(client, provider):
    refused(client, log_in(client, provider), "Nobody here is who the provider says it is")
    assert not User.objects.exists()


def test_strangers_are_made_developers_where_that_is_wanted(client, provider, settings):
    settings.OIDC_CREATE_USER = True
    log_in(client, provider)

    user = User.objects.get()
    assert (user.username, user.name, user.role.name) == ("ada@example.org", "Ada Lovelace", "Developer")
    assert not user.has_usable_password()
    assert is_logged_in(client)


def test_the_username_may_be_another_claim(client, provider, settings):
    settings.OIDC_USERNAME_CLAIM = "preferred_username"
    provider.claims["preferred_username"] = "ADA"
    user = create_user(username="ada", email="other@example.org")
    log_in(client, provider)

    assert int(client.session["_auth_user_id"]) == user.pk


def test_inactive_people_do_not_get_in(client, provider):
    create_user(email="ada@example.org", is_active=False)

    refused(client, log_in(client, provider), "The user is inactive")


def test_two_people_with_one_address_do_not_get_in(client, provider):
    create_user(email="ada@example.org")
    create_user(email="ADA@example.org")

    refused(client, log_in(client, provider), "Nobody here is who")


@pytest.mark.parametrize(
    "claims",
    [
        {"email": None},
        {"email": ["ada@example.org"]},
        {"email_verified": False},
        {"email_verified": "false"},
        {"email_verified": None},
    ],
)
def test_addresses_that_the_provider_does_not_vouch_for_count_for_nothing(client, provider, claims):
    create_user(email="ada@example.org")
    provider.claims.update(claims)

    refused(client, log_in(client, provider), "Nobody here is who")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"token": {"aud": "another"}}, "for another client"),
        ({"token": {"iss": "https://elsewhere.example.org"}}, "another issuer"),
        ({"token": {"nonce": "another"}}, "Nonce"),
        ({"token": {"exp": 1}}, "expired|verification failed"),
        ({"token": {"exp": None}}, "no expiry"),
        ({"token": {"sub": "43"}}, "Nobody here|somebody else"),
        ({"key": True}, "verification failed"),
    ],
)
def test_wrong_tokens_log_nobody_in(client, provider, wrong, reason):
    create_user(email="ada@example.org")
    provider.wrong = wrong
    response = log_in(client, provider)

    event = AuditEvent.objects.get()
    assert any(one in event.reason for one in reason.split("|")), event.reason
    refused(client, response, event.reason)


@pytest.mark.parametrize("wrong", [{"status": 500}, {"issuer": "https://elsewhere.example.org"}])
def test_a_provider_that_is_out_of_order_is_no_error_of_the_console(client, provider, wrong):
    provider.wrong = wrong

    refused(client, client.get(reverse("lifetime:openid")), "does not answer as it should")


def test_an_answer_to_nothing_logs_nobody_in(client, provider):
    create_user(email="ada@example.org")
    callback = reverse("lifetime:openid-callback")
    refused(client, client.get(callback, {"code": "x", "state": "y"}), "Nobody here")
    client.get(reverse("lifetime:openid"))
    refused(client, client.get(callback, {"code": "x", "state": "y"}), "state not found")
    refused(client, client.get(callback, {"error": "access_denied"}), "access_denied")
    refused(client, client.get(callback), "")


def test_an_answer_counts_once(client, provider):
    create_user(email="ada@example.org")
    begun = client.get(reverse("lifetime:openid"))
    _, query = provider.authorize(begun.headers["Location"])
    address = f"{reverse('lifetime:openid-callback')}?{query}"
    client.get(address)
    assert is_logged_in(client)
    client.logout()

    refused(client, client.get(address), "")


def test_a_code_in_the_address_of_the_log_in_page_is_not_looked_at(client, provider):
    create_user(email="ada@example.org")
    response = client.post(
        reverse("lifetime:login") + "?code=x&state=y", {"username": "ada", "password": "wrong wrong wrong"}
    )

    assert response.status_code == 422
    assert provider.asked == []


def test_passwords_go_on_working(client, provider):
    user = create_user()
    client.post(reverse("lifetime:login"), {"username": user.username, "password": PASSWORD})

    assert is_logged_in(client)


def test_it_leads_to_pages_of_the_console_only(client, provider):
    create_user(email="ada@example.org")

    assert log_in(client, provider, next_page="https://evil.example.org/").headers["Location"] == "/"


def test_it_is_off_by_default(client):
    assert "Log in with" not in client.get(reverse("lifetime:login")).content.decode()
    assert client.get(reverse("lifetime:openid")).status_code == 404
    assert client.get(reverse("lifetime:openid-callback")).status_code == 404
