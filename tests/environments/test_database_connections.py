"""Database connections: asked for and changed by workers, never with a password left behind, refused in maintenance."""

import json

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from audit.models import AuditEvent
from environments import application_work, database_connections, gate, maintenance
from environments.application_tasks import TaskRefused
from environments.database_details import Wanted, parameters_of
from environments.models import ApplicationTask, TaskStatus
from tests.databases import listening
from tests.factories import actor, create_environment
from tests.platforms import OWN_PROCESS, place_or_process

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "s3cret-word"
NOWHERE = {"host": "127.0.0.1", "port": "1", "database": "orders"}


@pytest.fixture
def platform(request):
    yield from place_or_process(request)


@pytest.fixture
def environment(platform):
    found = create_environment(platform=platform, name="Development")
    database_connections.request(found, by=actor())
    carry_out()
    return found


def wanted(**changes):
    orders = {"name": "Orders", "provider": "postgresql", "username": "app", "password": PASSWORD}
    return Wanted(**{**orders, "parameters": NOWHERE, **changes})


def carry_out():
    for task in ApplicationTask.objects.filter(status="queued").order_by("pk"):
        application_work.carry_out(task.pk)


def save(environment, **changes):
    """Add it; answer it as the environment has it."""
    database_connections.save(environment, wanted(**changes), by=actor())
    carry_out()
    return database_connections.of(environment).connections[-1]


def heard(platform):
    return [(line["method"], line["path"]) for line in platform.log() if line["path"].startswith("/database")]


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


def everything():
    """All that the console's database has, as text."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')  # noqa: S608
            found += [row for (row,) in cursor.fetchall()]
    return "\n".join(found)


def test_a_connection_is_added_changed_and_deleted(environment, platform):
    first = save(environment)
    assert (first.name, first.username, first.has_password, first.revision) == ("Orders", "app", True, 1)

    change = wanted(name="Sales", description="Since 2026", password=None)
    database_connections.save(environment, change, by=actor(), key=first.key, revision=1)
    carry_out()
    [second] = database_connections.of(environment).connections
    assert "password" not in messages()[-1]
    assert (second.name, second.description, second.has_password, second.revision) == ("Sales", "Since 2026", True, 2)

    database_connections.delete(environment, second.key, by=actor(), revision=2)
    carry_out()
    assert database_connections.of(environment).connections == []
    assert platform.call("GET", "/database-connections").json == {"connections": []}
    assert messages() == [
        "Added database connection 'Orders' in environment 'Development'",
        "Changed database connection 'Sales' in environment 'Development', named 'Orders' before",
        "Deleted database connection 'Sales' in environment 'Development'",
    ]


def test_a_password_stays_nowhere(environment, caplog):
    task = database_connections.save(environment, wanted(), by=actor())
    assert task.secrets == PASSWORD
    assert PASSWORD not in everything()
    carry_out()
    database_connections.request_test(environment, wanted(name="Unsaved"), by=actor())
    carry_out()

    assert PASSWORD not in everything() + caplog.text
    assert not ApplicationTask.objects.exclude(sealed_secrets="").exists()
    details = AuditEvent.objects.order_by("number").first().details
    assert (details["username"], details["parameters"]) == ("app", NOWHERE)


def test_what_repeats_the_password_does_not_tell_it_on(environment, platform):
    task = database_connections.save(environment, wanted(password="orders"), by=actor())
    ApplicationTask.objects.filter(pk=task.pk).update(parameters={**task.parameters, "provider": "orders"})
    carry_out()

    task.refresh_from_db()
    assert task.status == TaskStatus.FAILED
    assert "'***' is none of" in task.message
    assert "***" in messages()[-1]


def test_saved_connections_and_details_are_really_tested(environment):
    with listening() as (parameters, username):
        there = save(environment, parameters=parameters, username=username)
        fine = database_connections.request_test_of(environment, there.key, by=actor())
        same = wanted(parameters=parameters, username=username, password=None)
        kept = database_connections.request_test(environment, same, by=actor(), key=there.key)
        wrong = database_connections.request_test(environment, wanted(), by=actor())
        carry_out()

    assert kept == fine  # nothing was changed, so it is the saved connection that is tested
    [fine, wrong] = [ApplicationTask.objects.get(pk=one.pk) for one in (fine, wrong)]
    assert database_connections.outcome(fine).succeeded
    assert "Connection refused" in database_connections.outcome(wrong).message
    assert database_connections.of(environment).tests == {str(there.key): fine}
    said = "Tested database connection 'Orders' in environment 'Development': it"
    assert messages()[-2:] == [f"{said} works", f"{said} does not work: {wrong.result['message']}"]
    save_again = wanted(parameters=parameters, username=username, description="Later")
    database_connections.save(environment, save_again, by=actor(), key=there.key)
    carry_out()
    assert database_connections.of(environment).tests == {}  # it was tested as it is no more


def test_the_same_asked_twice_is_done_once(environment, platform):
    first = database_connections.save(environment, wanted(), by=actor())
    assert database_connections.save(environment, wanted(), by=actor()) == first
    with pytest.raises(TaskRefused, match="is changing Orders in Development right now"):
        database_connections.save(environment, wanted(description="Other"), by=actor())
    with pytest.raises(TaskRefused, match="Ada Lovelace"):
        database_connections.save(environment, wanted(), by=actor("Grace Hopper"))
    carry_out()
    application_work.carry_out(first.pk)

    assert heard(platform).count(("POST", "/database-connections")) == 1
    assert len(database_connections.of(environment).connections) == 1


def test_who_has_not_seen_a_change_is_refused_here_and_there(environment, platform):
    first = save(environment)
    path = f"/database-connections/{first.key}"
    order = {**first.model_dump(mode="json", include={"name", "provider", "username", "parameters", "revision"})}
    platform.call("PUT", path, {**order, "description": "By hand", "by": {"name": "Somebody else", "username": "x"}})

    task = database_connections.save(environment, wanted(description="Mine"), by=actor(), key=first.key, revision=1)
    carry_out()
    task.refresh_from_db()
    assert task.status == TaskStatus.FAILED
    assert "Somebody else changed Orders" in task.message
    assert messages()[-1].startswith("Did not save database connection 'Orders' in environment 'Development'")
    assert database_connections.of(environment).asked == [task]

    database_connections.request(environment, by=actor())
    carry_out()
    with pytest.raises(TaskRefused, match="Somebody else changed Orders since"):
        database_connections.save(environment, wanted(), by=actor(), key=first.key, revision=1)
    with pytest.raises(TaskRefused, match="Somebody else changed Orders since"):
        database_connections.delete(environment, first.key, by=actor(), revision=1)
    [now] = platform.call("GET", "/database-connections").json["connections"]
    assert now["description"] == "By hand"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "two words"}, "name"),
        ({"name": "orders"}, "name"),
        ({"provider": "oracle"}, "provider"),
        ({"username": ""}, "username"),
        ({"parameters": {"host": "db.example.com"}}, "parameters"),
        ({"parameters": {**NOWHERE, "options": "x"}}, "parameters"),
        ({"parameters": {**NOWHERE, "Password": "x"}}, "parameters"),
        ({"provider": "sqlite", "parameters": {"file": "x.db"}}, "username"),
        ({"description": "x" * 4001}, "description"),
        ({"parameters": {**NOWHERE, "database": "x" * 501}}, "parameters"),
    ],
)
def test_what_could_not_be_is_refused_beside_its_field(environment, changes, field):
    save(environment)
    with pytest.raises(ValidationError) as refusal:
        database_connections.save(environment, wanted(**{"name": "Others", **changes}), by=actor())
    assert list(refusal.value.message_dict) == [field]


def test_a_stored_password_is_not_sent_elsewhere(environment):
    there = save(environment)
    elsewhere = wanted(password=None, parameters={**NOWHERE, "host": "203.0.113.5"})
    for ask in (database_connections.save, database_connections.request_test):
        with pytest.raises(ValidationError, match="Give it again"):
            ask(environment, elsewhere, by=actor(), key=there.key)


def test_a_provider_without_log_in_takes_the_stored_password_away(environment):
    there = save(environment)
    file = wanted(provider="sqlite", username="", password=None, parameters={"file": "orders.sqlite3"})
    database_connections.save(environment, file, by=actor(), key=there.key)
    carry_out()

    [now] = database_connections.of(environment).connections
    assert (now.provider, now.has_password) == ("sqlite", False)


def test_parameters_are_read_in_lines_and_with_semicolons():
    assert parameters_of("host = db ; port=5432\r\n\ndatabase=a=b") == {"host": "db", "port": "5432", "database": "a=b"}
    for text in ("host", "=x", "host=", "host=a;host=b"):
        with pytest.raises(ValidationError):
            parameters_of(text)


def test_maintenance_mode_refuses_and_nothing_is_heard(environment, platform):
    there = save(environment)
    queued = database_connections.request_test_of(environment, there.key, by=actor())
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Upgrade")
    before = heard(platform)

    for ask in (
        lambda: database_connections.request(environment, by=actor()),
        lambda: database_connections.save(environment, wanted(name="Others"), by=actor()),
        lambda: database_connections.delete(environment, there.key, by=actor()),
        lambda: database_connections.request_test(environment, wanted(), by=actor()),
        lambda: database_connections.request_test_of(environment, there.key, by=actor()),
    ):
        with pytest.raises(gate.InMaintenance, match="Grace Hopper enabled it: “Upgrade”"):
            ask()
    carry_out()

    queued.refresh_from_db()
    assert queued.status == TaskStatus.ABORTED
    assert heard(platform) == before


def test_a_password_is_wiped_when_maintenance_mode_aborts(environment):
    task = database_connections.save(environment, wanted(), by=actor())
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    task.refresh_from_db()
    assert (task.status, task.sealed_secrets) == (TaskStatus.ABORTED, "")


@OWN_PROCESS
def test_what_was_done_counts_though_the_environment_does_not_say_what_it_has(environment, platform):
    platform.behave(paths=["/database-providers"], fail="status:503")
    task = database_connections.save(environment, wanted(), by=actor())
    carry_out()

    task.refresh_from_db()
    assert (task.status, task.result) == (TaskStatus.FINISHED, None)
    assert messages() == ["Added database connection 'Orders' in environment 'Development'"]
    assert database_connections.of(environment).connections == []  # as it said last
    assert len(platform.call("GET", "/database-connections").json["connections"]) == 1


@OWN_PROCESS
def test_what_an_environment_cannot_do_it_says(platform):
    found = create_environment(platform=platform, name="Development")
    platform.behave(paths=["/database-providers"], fail="status:404")
    task = database_connections.request(found, by=actor())
    carry_out()
    task.refresh_from_db()
    known = database_connections.of(found)
    assert (known.read_at, known.asked, known.is_moving) == (None, [task], False)
    assert "404 at GET /database-providers" in json.dumps(task.message)
