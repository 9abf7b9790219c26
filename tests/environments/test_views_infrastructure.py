"""The Infrastructure page, and what is done to one environment from there."""

import re
import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEvent
from environments import maintenance, sync
from environments.models import Environment, RefusedOperation, SyncRun, SyncState
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}


def url(name, *environments):
    return reverse(f"environments:{name}", args=[one.key for one in environments])


def text(response):
    return response.content.decode()


def test_the_empty_page_explains_and_leads_on(client, user):
    html = text(client.get(url("list")))

    assert "No environment is registered yet" in html
    assert url("register") in html


def test_a_card_tells_what_is_known(client, user):
    create_environment(
        name="Test & Try",
        purpose="Test",
        address="https://test.example.com/prefix",
        version="11.28.1.4402",
        number_of_front_ends=3,
        application_server="Kestrel",
        database_provider="PostgreSQL",
    )

    html = text(client.get(url("list")))

    for words in ("Test &amp; Try", "Non-Production", "Self-managed", "test.example.com/prefix", "11.28.1.4402", "×3"):
        assert words in html
    assert "Kestrel, PostgreSQL" in html
    assert "Not synchronized yet" in html


def test_cards_stand_in_pipeline_order(client, user):
    create_environment(name="Production", position=2)
    create_environment(name="Development", position=0)
    create_environment(name="Test", position=1)
    create_environment(name="Gone", registration="unregistered", unregistered_at=timezone.now())

    html = text(client.get(url("cards")))

    assert html.index(">Development<") < html.index(">Test<") < html.index(">Production<")
    assert "Gone" not in html
    assert html.count("pipeline__swap") == 2


def test_the_page_is_named_after_what_it_shows(client, user):
    create_environment(name="Development")
    assert "<h1>Infrastructure</h1>" in text(client.get(url("list")))
    create_environment(name="Production", hosting="cloud")

    html = text(client.get(url("list")))
    assert "<h1>Environments</h1>" in html
    assert re.search('<a class="tabs__tab"[^>]*>Environments</a>', html)
    assert "Cloud</span>" in html


def test_maintenance_says_who_why_since_when_and_until(client, user):
    environment = create_environment(name="Production")
    ends = timezone.now() + timedelta(hours=2)
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Disks <replaced>", expected_end=ends)

    html = text(client.get(url("list")))

    for words in ("In maintenance, in force", "Disks &lt;replaced&gt;", "Grace Hopper", "expected until"):
        assert words in html
    assert "Overdue" not in html
    environment.windows.update(expected_end=timezone.now() - timedelta(minutes=1))
    assert "Overdue" in text(client.get(url("list")))


STATES = [
    ({"unreachable_since": Now(), "message": "Connection refused."}, "Unreachable", "Connection refused."),
    ({"failures": 2, "message": "A wrong token."}, "Synchronization failed", "A wrong token."),
    ({"synchronized_at": Now()}, "Up to date", "just now"),
]


@pytest.mark.parametrize(("values", "badge", "words"), STATES, ids=[state[1] for state in STATES])
def test_the_state_of_synchronization_is_said_in_words(client, user, values, badge, words):
    environment = create_environment(name="Production")
    SyncState.objects.filter(environment=environment).update(**values)

    html = text(client.get(url("list")))

    assert badge in html
    assert words in html


def test_a_synchronization_shows_how_far_it_is(client, user):
    environment = create_environment(name="Production")
    run = sync.request(environment, by=actor())
    assert "Synchronization queued" in text(client.get(url("cards")))
    SyncRun.objects.filter(pk=run.pk).update(
        status="running", part="Synchronizing applications", done=2, total=7, started_at=timezone.now()
    )

    html = text(client.get(url("cards")))

    assert "Synchronizing applications" in html
    assert 'max="7" value="2"' in html


def test_polling_answers_the_fragment_alone_and_the_same_when_nothing_changed(client, user):
    create_environment(name="Development")
    create_environment(name="Test")

    first, second = client.get(url("cards"), headers=HTMX), client.get(url("cards"), headers=HTMX)

    assert text(first).lstrip().startswith("<section")
    assert first.content == second.content  # the browser then leaves the page, and the focus, alone


def test_a_thousand_environments_cost_as_many_queries_as_three(client, user, django_assert_max_num_queries):
    for number in range(3):
        create_environment(name=f"Environment number {number}")
    with django_assert_max_num_queries(10):  # 4 of them session, person, role and health
        client.get(url("list"))
    now = timezone.now()
    Environment.objects.bulk_create(
        Environment(name=f"E{n}", address=f"http://e{n}", purpose="Test", registration="registered", registered_at=now)
        for n in range(1000)
    )
    SyncState.objects.bulk_create(SyncState(environment=one) for one in Environment.objects.filter(sync_state=None))

    with django_assert_max_num_queries(10):
        html = text(client.get(url("list")))

    assert html.count('class="tile ') == 1003
    assert "1003 not synchronized yet" in html


def test_environments_are_found_by_name_and_state(client, user):
    for number in range(20):
        create_environment(name=f"Environment number {number:02}")
    broken = create_environment(name="Broken")
    SyncState.objects.filter(environment=broken).update(failures=1)

    assert text(client.get(url("list"))).count("<article") == 21
    assert text(client.get(url("list") + "?name=NUMBER 1")).count("<article") == 10
    assert text(client.get(url("list") + "?state=failed")).count("<article") == 1
    html = text(client.get(url("list") + "?name=nothing&state=failed"))
    assert "No environment is like this" in html
    assert "pipeline__swap" not in text(client.get(url("list") + "?name=number"))
    assert text(client.get(url("list") + "?state=nonsense")).count("<article") == 21


@pytest.mark.parametrize("name", ["list", "cards", "register"])
def test_pages_are_for_people_with_the_right(client, name):
    assert client.get(url(name)).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))

    response = client.get(url(name))

    assert response.status_code == 403
    assert "Manage Infrastructure and Users" in text(response)


# Synchronize now


def test_synchronize_now_queues_and_has_the_page_look_again(client, user):
    environment = create_environment(name="Production")

    response = client.post(url("synchronize", environment), headers=HTMX)

    assert response.status_code == 204
    assert "environments-changed" in response.headers["HX-Trigger"]
    run = SyncRun.objects.get()
    assert (run.status, run.trigger, run.requested_by) == ("queued", "manual", "Ada Lovelace")
    entry = AuditEvent.objects.get()
    assert (entry.message, entry.actor_username, entry.actor_address) == (
        "Requested synchronization of environment 'Production'",
        "ada",
        "127.0.0.1",
    )
    assert client.post(url("synchronize", environment)).url == environment.get_absolute_url()
    assert SyncRun.objects.count() == 1


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
def test_synchronizing_in_maintenance_is_refused_counted_and_audited(client, user, headers):
    environment = create_environment(name="Production")
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Replace the disks")

    response = client.post(url("synchronize", environment), headers=headers)

    assert response.status_code == 409
    html = text(response)
    assert "Grace Hopper enabled it: “Replace the disks”" in html
    assert ("<html" in html) == (not headers)
    assert response.headers.get("HX-Retarget") == ("#dialog" if headers else None)
    assert not SyncRun.objects.exists()
    refused = RefusedOperation.objects.get()
    assert (refused.operation, refused.count, refused.last_by) == ("synchronize", 1, "Ada Lovelace")
    entry = AuditEvent.objects.filter(succeeded=False).get()
    assert "Refused on environment 'Production'" in entry.message


def test_the_button_says_why_it_is_disabled(client, user):
    environment = create_environment(name="Production")
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Replace the disks")

    html = text(client.get(url("list")))

    assert 'role="tooltip">Synchronizing the environment is disabled: Production is in maintenance mode' in html
    assert url("synchronize", environment) not in html


# Order


def test_moving_is_audited_and_possible_in_maintenance(client, user):
    names = ["Development", "Test", "Production"]
    first, *_ = [create_environment(name=name, position=place) for place, name in enumerate(names)]
    maintenance.enable(first, by=actor(), reason="Upgrade")

    response = client.post(url("move", first), {"to": 1}, headers=HTMX)

    assert response.status_code == 204
    order = list(Environment.objects.in_order().values_list("name", flat=True))
    assert order == ["Test", "Development", "Production"]
    assert AuditEvent.objects.filter(
        message="Moved environment 'Development': the order is now Test → Development → Production"
    ).exists()
    client.post(url("move", first), {"to": 1}, headers=HTMX)  # pressed twice: the same place
    assert list(Environment.objects.in_order().values_list("name", flat=True)) == order


@pytest.mark.parametrize("to", ["", "-1", "left", "99999999999999999999"])
def test_a_place_that_is_none_is_refused(client, user, to):
    environment = create_environment(name="Production")

    assert client.post(url("move", environment), {"to": to}).status_code == 422
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("name", ["synchronize", "move"])
def test_writes_are_posts_of_people_with_the_right_only(client, name):
    environment = create_environment(name="Production")
    assert client.post(url(name, environment)).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.post(url(name, environment), {"to": 0}).status_code == 403
    client.force_login(create_user())
    assert client.get(url(name, environment)).status_code == 405
    unknown = reverse(f"environments:{name}", args=[uuid.uuid4()])
    assert client.post(unknown, {"to": 0}).status_code == 404
    assert not AuditEvent.objects.exists()
    assert not SyncRun.objects.exists()
