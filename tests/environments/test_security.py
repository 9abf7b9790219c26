"""Environment Security: which values a setting takes, what is audited, delivered and said, and who is refused."""

import uuid

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from audit.models import AuditEvent
from environments import gate, maintenance, security, sync
from environments.models import Environment, RefusedOperation, SyncRun
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def environment():
    return create_environment(name="Production")


def url(environment):
    return reverse("environments:security", args=[environment.key])


def typed(response):
    data = {}
    for field in response.context["form"]:
        value = field.value()
        if value not in (None, False):
            data[field.html_name] = value
        if field.field.show_hidden_initial:
            data[field.html_initial_name] = "" if value is None else value
    return data


def save(client, environment, **changes):
    return client.post(url(environment), {**typed(client.get(url(environment))), **changes})


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


def test_each_changed_setting_is_stored_and_audited_with_old_and_new(client, user, environment):
    response = save(client, environment, hsts="on", same_site="Strict")

    assert (response.status_code, response.url) == (302, url(environment))
    environment.refresh_from_db()
    assert (environment.security["hsts"], environment.security["same_site"]) == (True, "Strict")
    assert environment.security["content_security_policy"] == {"enabled": False, "directives": {}}
    assert messages() == [
        "Changed HTTP Strict Transport Security of environment 'Production' from off to on",
        "Changed SameSite of cookies of environment 'Production' from Lax to Strict",
    ]
    assert AuditEvent.objects.first().actor_username == "ada"
    run = SyncRun.objects.get()
    assert (run.status, run.environment) == ("queued", environment)


def test_saving_without_a_change_does_nothing(client, user, environment):
    assert save(client, environment).status_code == 302

    assert messages() == []
    assert not SyncRun.objects.exists()


def test_two_people_who_save_at_once_keep_both_changes(client, user, environment):
    page = typed(client.get(url(environment)))
    save(client, environment, hsts="on")

    client.post(url(environment), {**page, "secure_cookies": "on"})

    environment.refresh_from_db()
    assert (environment.security["hsts"], environment.security["secure_cookies"]) == (True, True)


def test_the_policy_switched_on_begins_with_what_pages_need(client, user, environment):
    save(client, environment, csp_enabled="on", **{"connect-src": "'self'\r\nhttps://api.example.com"})

    environment.refresh_from_db()
    policy = environment.security["content_security_policy"]
    assert policy["enabled"]
    assert policy["directives"]["connect-src"] == ["'self'", "https://api.example.com"]
    assert policy["directives"]["img-src"] == ["'self'", "data:"]
    assert "object-src" not in policy["directives"]
    assert (
        "Changed Content Security Policy connect-src of environment 'Production' from “” to "
        "“'self' https://api.example.com”"
    ) in messages()


def test_other_directives_are_added_and_removed(client, user, environment):
    save(client, environment, csp_enabled="on", other="worker-src 'self' blob:\nupgrade-insecure-requests x")
    environment.refresh_from_db()
    assert environment.security["content_security_policy"]["directives"]["worker-src"] == ["'self'", "blob:"]

    save(client, environment, other="")

    environment.refresh_from_db()
    assert "worker-src" not in environment.security["content_security_policy"]["directives"]


BAD = {
    "semicolon": ({"img-src": "'self'\ndata:\nhttps://a.example;script-src *"}, "begin another directive"),
    "comma": ({"img-src": "'self'\ndata:\nhttps://a.example,b"}, "begin another directive"),
    "space": ({"img-src": "'self' data:"}, "one value per line"),
    "carriage return": ({"img-src": "'self'\ndata:\nhttps://a\rX-Evil: 1"}, "control character"),
    "control": ({"font-src": "'self'\ndata:\n\x1f"}, "control character"),
    "beyond ASCII": ({"img-src": "'self'\ndata:\nhttps://schlüssel.example"}, "is not ASCII"),
    "line separator": ({"img-src": "'self'\ndata:\nhttps://a\u2028b"}, "is not ASCII"),
    "long": ({"img-src": "'self'\ndata:\n" + "x" * 301}, "at most 300 characters"),
    "none with others": ({"object-src": "'none'\nhttps://a.example"}, "stands alone"),
    "many": ({"media-src": "\n".join(f"https://{n}.example" for n in range(101))}, "at most 100 values"),
    "too long in all": (
        {"media-src": "\n".join(f"https://{n}.example/{'x' * 200}" for n in range(40))},
        "a header takes 6,000",
    ),
    "other name": ({"other": "Worker-Src 'self'"}, "no name of a directive"),
    "other with a field": ({"other": "img-src 'self'"}, "has a field of its own"),
    "other twice": ({"other": "worker-src 'self'\nworker-src blob:"}, "given twice"),
    "other that breaks out": ({"other": "worker-src 'self';script-src *"}, "begin another directive"),
    "required": ({"script-src": "https://a.example"}, "keeps &#x27;self&#x27;"),
    "same site": ({"same_site": "Party"}, "Select a valid choice"),
}


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD)
def test_bad_values_are_refused_in_words_and_change_nothing(client, user, environment, changes, words):
    before = Environment.objects.values().get()

    response = save(client, environment, csp_enabled="on", hsts="on", **changes)

    assert response.status_code == 422
    assert words in response.content.decode()
    assert Environment.objects.values().get() == before
    assert messages() == []


def test_the_domain_refuses_what_no_form_sends(environment):
    for changes in ({"hsts": "yes"}, {"same_site": ""}, {"directives": {"img-src": ["a\nb"]}}):
        with pytest.raises(ValidationError):
            security.change(environment, changes, by=actor())
    assert messages() == []


def test_settings_are_delivered_and_the_page_says_what_must_be_republished(client, user, platform):
    environment = create_environment(platform=platform, name="Development")
    sync.run([sync.request(environment, by=actor()).pk])
    for_first = security.after_delivery(environment)
    before = len(platform.log())

    save(client, environment, hsts="on", secure_cookies="on")
    run = SyncRun.objects.get(status="queued")
    sync.run([run.pk])

    puts = [line["path"] for line in platform.log()[before:] if line["method"] == "PUT"]
    assert puts == ["/security"]
    run.refresh_from_db()
    [delivered] = run.changes["delivered"]
    assert delivered["republish"]
    assert delivered["apply_settings"]
    after = security.after_delivery(environment)
    assert set(after.republish) >= set(for_first.republish)
    html = client.get(url(environment)).content.decode()
    assert after.republish[0] in html
    assert "Apply the settings" in html


def test_maintenance_mode_greys_the_page_and_refuses_a_direct_request(client, user, environment):
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Platform upgrade")
    before = Environment.objects.values().get()

    page = client.get(url(environment))
    response = client.post(url(environment), {"hsts": "on", "same_site": "Lax"})

    html = page.content.decode()
    assert "Grace Hopper" in html
    assert "Platform upgrade" in html
    assert all(field.field.disabled for field in page.context["form"])
    assert response.status_code == 409
    assert Environment.objects.values().get() == before
    assert RefusedOperation.objects.get().operation == "change_security_settings"
    with pytest.raises(gate.InMaintenance):
        security.change(environment, {"hsts": True}, by=actor())


def test_strangers_readers_and_wrong_methods(client, environment):
    assert client.get(url(environment)).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.get(url(environment)).status_code == 403
    assert client.post(url(environment), {"hsts": "on"}).status_code == 403
    client.force_login(create_user())
    assert client.delete(url(environment)).status_code == 405
    assert client.get(reverse("environments:security", args=[uuid.uuid4()])).status_code == 404
    assert messages() == []


def test_a_few_queries_whatever_the_log(client, user, environment, django_assert_max_num_queries):
    client.get(url(environment))
    with django_assert_max_num_queries(30):
        client.get(url(environment))
