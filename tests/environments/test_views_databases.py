"""The page of database connections: what it shows and offers, and to whom; nothing that was typed is lost or told."""

import uuid

import pytest
from django.urls import reverse

from environments import application_work, database_connections, maintenance
from environments.models import ApplicationTask
from lifetime.models import RoleLevel
from tests.factories import actor, create_environment, create_user
from tests.lifetime.factories import create_manager, create_role
from tests.platforms import place_or_process

pytestmark = pytest.mark.django_db(transaction=True)
TYPED = {
    "name": "Orders",
    "provider": "postgresql",
    "parameters": "host=127.0.0.1\r\nport=1\r\ndatabase=orders",
    "username": "app",
    "password": "s3cret-word",
    "description": "",
}
HTMX = {"headers": {"HX-Request": "true"}}


@pytest.fixture
def platform(request):
    yield from place_or_process(request)


@pytest.fixture
def environment(platform):
    return create_environment(platform=platform, name="Development")


@pytest.fixture
def user(client):
    user = create_user(name="Ada Lovelace", username="ada")
    client.force_login(user)
    return user


def url(name, *args):
    return reverse(f"settings:{name}", args=args)


def carry_out():
    for task in ApplicationTask.objects.filter(status="queued").order_by("pk"):
        application_work.carry_out(task.pk)


def looked(client, environment):
    client.post(url("read-databases", environment.key))
    carry_out()


def added(client, environment):
    """A connection that was added by the form."""
    looked(client, environment)
    assert client.post(url("add-database", environment.key), TYPED).status_code == 302
    carry_out()
    [found] = database_connections.of(environment).connections
    return found


def html(client, path):
    return client.get(path).content.decode()


def test_a_connection_is_added_changed_and_deleted(client, user, environment):
    page = url("databases", environment.key)
    assert client.get(url("database-connections")).url == page
    assert "Not asked yet" in html(client, page)
    assert "Look again first" in html(client, url("add-database", environment.key))
    looked(client, environment)
    assert "No database connections" in html(client, page)

    there = added(client, environment)
    edit = url("edit-database", environment.key, there.key)
    assert all(text in html(client, page) for text in ("Orders", "host=127.0.0.1", "with a password", edit))
    form = client.get(edit)
    assert "s3cret-word" not in form.content.decode()
    assert form.context["form"].initial["parameters"] == "database=orders\nhost=127.0.0.1\nport=1"

    typed = {**TYPED, "password": "", "description": "Where orders are", "revision": "1", "connection": str(there.key)}
    assert client.post(edit, typed).status_code == 302
    carry_out()
    assert "Where orders are" in html(client, page)

    delete = url("delete-database", environment.key, there.key)
    assert client.post(delete, {"revision": "1"}).status_code == 409  # as it is no more
    assert "Delete Orders?" in client.get(url("delete-database-dialog", environment.key, there.key), **HTMX).text
    assert client.post(delete, {"revision": "2"}).status_code == 302
    carry_out()
    assert "No database connections" in html(client, page)
    assert client.get(edit).status_code == 404


def test_what_goes_on_is_asked_for_until_it_is_over(client, user, environment):
    there = added(client, environment)
    client.post(url("test-database", environment.key, there.key))
    state = url("databases-state", environment.key)

    assert all(text in html(client, state) for text in ("Being tested", 'hx-trigger="every 1s"'))
    carry_out()
    over = html(client, state)
    assert all(text in over for text in ("It does not work", "Connection refused"))
    assert "hx-trigger" not in over


def test_details_are_tested_beside_the_form(client, user, environment):
    looked(client, environment)
    test = url("test-database-details", environment.key)

    asked = client.post(test, TYPED, **HTMX)
    [task] = ApplicationTask.objects.filter(kind="test_database")
    state = url("database-test-state", environment.key, task.key)
    assert state in asked.content.decode()
    carry_out()
    over = html(client, state)
    wrong = client.post(test, {**TYPED, "parameters": "host"}, **HTMX)
    plain = client.post(test, TYPED)

    assert "Connection refused" in over
    assert state not in over
    assert (wrong.status_code, "write name=value" in wrong.content.decode()) == (422, True)
    assert (plain.status_code, "<form" in plain.content.decode()) == (200, True)
    assert "s3cret-word" not in asked.content.decode() + over + plain.content.decode()


def test_what_is_wrong_stands_beside_its_field(client, user, environment):
    added(client, environment)
    add = url("add-database", environment.key)
    for typed, text in (
        ({}, "has this name"),
        ({"name": "two words"}, "Begin with a letter"),
        ({"name": "Other", "parameters": "host=a;host=b"}, "there twice"),
        ({"name": "Other", "provider": "oracle"}, "Select a valid choice"),
    ):
        answer = client.post(add, {**TYPED, **typed})
        assert (answer.status_code, text in answer.content.decode()) == (422, True), text
    assert not ApplicationTask.objects.filter(status="queued").exists()


def test_maintenance_mode_greys_and_refuses(client, user, environment, platform):
    there = added(client, environment)
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Upgrade")
    before = len(platform.log())

    for name, *of in (("databases",), ("add-database",), ("edit-database", there.key)):
        shown = html(client, url(name, environment.key, *of))
        assert all(text in shown for text in ("Grace Hopper enabled it", 'aria-disabled="true"')), name
    for name, *of in (
        ("read-databases",),
        ("add-database",),
        ("edit-database", there.key),
        ("test-database", there.key),
        ("test-database-details",),
        ("delete-database", there.key),
    ):
        answer = client.post(url(name, environment.key, *of), TYPED)
        assert (answer.status_code, "Grace Hopper" in answer.content.decode()) == (409, True), name
    assert "host=127.0.0.1" in client.post(url("add-database", environment.key), TYPED).content.decode()
    carry_out()
    assert not ApplicationTask.objects.filter(status="queued").exists()
    assert len(platform.log()) == before


def test_it_takes_full_control_of_that_environment(client, environment):
    other = create_environment(name="Production")
    role = create_role("Database Administrator", level=5)
    client.force_login(create_user(role=role))
    page = url("databases", environment.key)
    assert client.get(url("database-connections")).status_code == 403
    assert client.get(page).status_code == 403

    RoleLevel.objects.update_or_create(role=role, environment=environment, defaults={"level": 6})
    client.force_login(create_user(role=role))
    assert client.get(url("database-connections")).url == page
    assert "Production" not in html(client, page)
    assert client.get(url("databases", other.key)).status_code == 403
    assert client.get(url("databases", uuid.uuid4())).status_code == 404


def test_the_page_of_the_environment_leads_there_or_says_why_not(client, user, environment):
    assert url("databases", environment.key) in html(client, environment.get_absolute_url())
    client.force_login(create_user(role=create_manager("Operator", level=3)))
    shown = html(client, environment.get_absolute_url())
    assert url("databases", environment.key) not in shown
    assert "Managing database connections needs “Full Control”" in shown


def test_the_page_costs_the_same_for_any_number(client, user, environment, django_assert_num_queries):
    there = added(client, environment)
    database_connections.request_test_of(environment, there.key, by=actor())
    carry_out()
    page = url("databases-state", environment.key)
    client.get(page)
    with django_assert_num_queries(9):
        client.get(page)
    for number in range(4):
        client.post(url("add-database", environment.key), {**TYPED, "name": f"Orders{number}"})
    carry_out()
    with django_assert_num_queries(9):
        client.get(page)
