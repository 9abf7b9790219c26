from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEvent
from lifetime import logins
from lifetime.models import LoginCounter
from tests.factories import PASSWORD, create_user

pytestmark = pytest.mark.django_db

WRONG = "The username or the password is wrong."
SHORT = "Too many failed log-ins. Try again in a few minutes."
LONG = "Too many failed log-ins. Try again in 60 minutes."


def log_in(client, username="ada", password=PASSWORD, **extra):
    return client.post(reverse("lifetime:login"), {"username": username, "password": password}, **extra)


def message(response):
    assert response.status_code == 422
    return next(text for text in (WRONG, SHORT, LONG) if text in response.content.decode())


def pass_time(**kwargs):
    """Let the counters believe that so much time has gone by."""
    for counter in LoginCounter.objects.all():
        for name in ("counting_since", "last_failed_at", "blocked_until"):
            if instant := getattr(counter, name):
                setattr(counter, name, instant - timedelta(**kwargs))
        counter.save()


def test_a_person_logs_in_by_username_in_any_case(client):
    user = create_user(username="ada", name="Ada Lovelace")

    response = log_in(client, " ADA ")

    assert response.status_code == 302
    assert client.session["_auth_user_id"] == str(user.pk)
    event = AuditEvent.objects.get()
    assert event.message == "User 'Ada Lovelace' (ada) logged in"
    assert (event.kind, event.succeeded, event.actor_username, event.actor_address) == (
        "login",
        True,
        "ada",
        "127.0.0.1",
    )


def test_a_page_asked_for_before_comes_after(client):
    create_user(username="ada")
    asked = client.get(reverse("lifetime:settings"))
    assert asked.headers["Location"] == "/login/?next=/settings/"

    assert log_in(client, query_params={"next": "/settings/"}).headers["Location"] == "/settings/"


def test_a_session_that_ended_under_a_form_leads_back_to_the_page_of_the_form(client):
    create_user(username="ada")
    page = "http://testserver/plans/?drafts=on"
    asked = client.post(reverse("lifetime:set-theme"), {"theme": "dark"}, headers={"Referer": page})
    assert asked.headers["Location"] == f"/login/?{urlencode({'next': page, 'ended': 1})}"

    assert log_in(client, query_params={"next": page}).headers["Location"] == page
    opened = client.get(reverse("lifetime:set-theme"))
    assert (opened.status_code, opened.headers["Allow"]) == (405, "POST")
    assert "it shows nothing by itself" in opened.content.decode()


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_nobody_is_sent_elsewhere(client, elsewhere):
    create_user(username="ada")

    fields = {"username": "ada", "password": PASSWORD, "next": elsewhere}
    assert client.post(reverse("lifetime:login"), fields).headers["Location"] == "/"


@pytest.mark.parametrize(
    ("username", "password", "reason"),
    [("ada", "wrong", "Wrong password"), ("ada", "wrong\x00", ""), ("nobody", PASSWORD, "No such username")],
)
def test_wrong_credentials_are_refused_with_one_text(client, username, password, reason):
    create_user(username="ada")

    response = log_in(client, username, password)

    assert response.status_code == 422
    if reason:
        assert message(response) == WRONG
        event = AuditEvent.objects.get()
        assert (event.kind, event.succeeded, event.reason) == ("login", False, reason)
    assert "_auth_user_id" not in client.session


def test_inactive_people_cannot_log_in_and_nothing_tells(client):
    create_user(username="ada", is_active=False)

    assert message(log_in(client)) == WRONG
    assert AuditEvent.objects.get().reason == "The user is inactive"


def test_what_was_typed_as_an_unknown_username_is_not_kept_in_the_audit_log(client):
    log_in(client, "my-secret-password")

    assert "my-secret-password" not in str(vars(AuditEvent.objects.get()))


@pytest.mark.parametrize("username", ["ada", "nobody"])
def test_three_failures_block_for_30_seconds_and_six_for_30_minutes(client, username):
    create_user(username="ada")

    assert [message(log_in(client, username, "wrong")) for _ in range(4)] == [WRONG, WRONG, WRONG, SHORT]
    assert message(log_in(client, username)) == SHORT  # even with the right password
    pass_time(seconds=31)
    assert [message(log_in(client, username, "wrong")) for _ in range(4)] == [WRONG, WRONG, WRONG, LONG]
    pass_time(minutes=29)
    assert message(log_in(client, username)) == LONG
    pass_time(minutes=2)
    assert (log_in(client, username).status_code == 302) == (username == "ada")


def test_failures_are_forgotten_after_the_counting_window(client):
    create_user(username="ada")
    for _ in range(2):
        log_in(client, password="wrong")
    pass_time(minutes=61)

    assert [message(log_in(client, password="wrong")) for _ in range(3)] == [WRONG, WRONG, WRONG]


def test_success_forgets_the_persons_failures_but_not_the_addresses(client):
    create_user(username="ada")
    for _ in range(2):
        log_in(client, password="wrong")

    assert log_in(client).status_code == 302

    assert [(counter.username, counter.failures) for counter in LoginCounter.objects.all()] == [("", 2)]


def test_an_address_is_blocked_whatever_usernames_it_tries(client):
    create_user(username="ada")
    for number in range(20):
        assert message(log_in(client, f"guess{number}")) == WRONG

    assert message(log_in(client)) == SHORT
    assert log_in(Client(), REMOTE_ADDR="192.0.2.7").status_code == 302  # others are not locked out
    pass_time(minutes=6)
    for number in range(20, 50):
        assert message(log_in(client, f"guess{number}")) == WRONG
    pass_time(minutes=6)
    assert message(log_in(client)) == LONG


def test_ones_own_typing_errors_elsewhere_do_not_lock_one_out_here(client):
    create_user(username="ada")
    for _ in range(6):
        log_in(client, password="wrong", REMOTE_ADDR="192.0.2.7")

    assert log_in(client).status_code == 302


def test_an_ipv6_customer_has_one_address(client):
    create_user(username="ada")
    for number in range(3):
        log_in(client, password="wrong", REMOTE_ADDR=f"2001:db8::{number + 1}")

    assert message(log_in(client, REMOTE_ADDR="2001:db8::99")) == SHORT


def test_the_address_comes_from_our_proxy_only_when_there_is_one(client, settings):
    create_user(username="ada")
    forwarded = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9, 192.0.2.7"}

    log_in(client, **forwarded)
    settings.BEHIND_PROXY = True
    log_in(Client(), **forwarded)

    addresses = AuditEvent.objects.order_by("number").values_list("actor_address", flat=True)
    assert list(addresses) == ["10.0.0.1", "192.0.2.7"]


def test_old_counters_are_swept(client):
    old = timezone.now() - timedelta(days=2)
    LoginCounter.objects.create(address="192.0.2.1", counting_since=old, last_failed_at=old)

    log_in(client, password="wrong")

    assert not LoginCounter.objects.filter(address="192.0.2.1").exists()


@pytest.mark.django_db(transaction=True)
def test_guesses_made_at_once_do_not_slip_through(monkeypatch):
    create_user(username="ada")
    checked = []
    authenticate = logins.auth.authenticate
    monkeypatch.setattr(logins.auth, "authenticate", lambda *a, **k: (checked.append(1), authenticate(*a, **k))[1])

    def guess(_):
        try:
            return message(log_in(Client(), password="wrong"))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(guess, range(24)))

    assert len(checked) == 3
    assert answers.count(WRONG) == 3


def test_logging_out_ends_the_session_and_takes_a_post(client):
    client.force_login(create_user())

    assert client.get(reverse("lifetime:logout")).status_code == 405
    assert client.post(reverse("lifetime:logout")).headers["Location"] == "/login/"
    assert client.get(reverse("lifetime:settings")).status_code == 302


def test_a_session_that_ended_under_htmx_leaves_the_page(client):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/plans/?drafts=on"}
    response = client.get(reverse("lifetime:settings"), headers=headers, follow=True)

    assert response.headers["HX-Redirect"] == "/login/?next=%2Fplans%2F%3Fdrafts%3Don&ended=1"
    page = client.get(response.headers["HX-Redirect"]).content.decode()
    assert "Your session has ended" in page
    assert 'name="next" value="/plans/?drafts=on"' in page
    elsewhere = {"HX-Request": "true", "HX-Current-URL": "http://elsewhere.example/plans/"}
    response = client.get(reverse("lifetime:login"), headers=elsewhere)
    assert response.headers["HX-Redirect"] == "/login/?next=&ended=1"


def test_the_session_key_changes_with_the_log_in(client):
    create_user(username="ada")
    client.get(reverse("lifetime:login"))
    before = client.session.session_key

    log_in(client)

    assert client.session.session_key != before
