"""What operators see when nothing gets done, and what people see when the database is away."""

import signal
import time
from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError, ProgrammingError, connection
from django.test import RequestFactory
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from lifetime import health, outage, processes
from lifetime.api import answers
from lifetime.views import errors
from tests.factories import create_user
from tests.processes import Process

pytestmark = pytest.mark.django_db


def make_late(seconds):
    Schedule.objects.filter(func="environments.tasks.tick").update(next_run=timezone.now() - timedelta(seconds=seconds))


def wait(seconds, number=1):
    """Messages that came so long ago and nobody has taken."""
    came = timezone.now() - timedelta(seconds=seconds)
    OrmQ.objects.bulk_create([OrmQ(key="lifetime", payload="x", lock=came)] * number)


def test_all_is_well(client):
    wait(5)
    for name in ("health", "health-of-workers"):
        response = client.get(reverse(f"lifetime:{name}"))
        assert response.status_code == 200
        assert response.headers["Cache-Control"].startswith("max-age=0, no-cache")
        assert response.json()["status"] == "ok"
        assert response.json()["problems"] == []
        assert response.json()["waiting_messages"] == 1


def test_dead_workers_are_told_to_monitoring_and_keep_the_web_in_service(client):
    make_late(300)
    wait(290, number=3)

    assert client.get("/health/").status_code == 200
    response = client.get("/health/workers/")
    assert response.status_code == 503
    assert response.json()["longest_wait_seconds"] == pytest.approx(290, abs=5)
    [problem] = response.json()["problems"]
    assert problem.startswith("No worker is at work: what is due every minute is 5 min late, and 3 messages wait.")
    assert "manage.py work" in problem


def test_workers_that_are_behind_are_told_apart_from_dead_ones(client):
    wait(400, number=2)
    response = client.get("/health/workers/")
    assert response.status_code == 503
    assert response.json()["problems"][0].startswith("The workers are behind: 2 messages wait, the oldest for 7 min.")


def test_a_message_that_somebody_has_claimed_does_not_wait():
    wait(-600)
    assert health.look().waiting == 0


@pytest.mark.parametrize(("skew", "said"), [(40, "40 s ahead of"), (-40, "40 s behind"), (1, "")])
def test_a_clock_that_is_off_is_said(skew, said):
    found = health.Health(schedule_delay=0, waiting=0, longest_wait=0, clock_skew=skew)
    assert found.is_working
    assert said in "".join(found.problems)
    assert bool(found.problems) == bool(said)


def test_the_database_and_this_host_agree_on_the_time():
    assert abs(health.look().clock_skew) < 1


@pytest.mark.parametrize("manages", [True, False])
def test_who_can_do_something_about_it_is_told_on_every_page(client, manages):
    make_late(300)
    client.force_login(create_user(manages_infrastructure=manages))
    assert ("No worker is at work" in client.get(reverse("lifetime:settings")).content.decode()) == manages


def test_who_is_not_logged_in_is_not_told(client):
    make_late(300)
    assert "No worker is at work" not in client.get(reverse("lifetime:login")).content.decode()


# A database that is away


def nowhere():
    """Django's error of a database that nobody serves."""
    try:
        psycopg.connect(host="127.0.0.1", port=processes.free_port(9000), connect_timeout=5)
    except psycopg.OperationalError as cause:
        error = OperationalError(str(cause))
        error.__cause__ = cause
        return error


def of_server(statement):
    """Django's error of a statement."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except Exception as error:
        return error


def raised_by_server(state):
    return of_server(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")


def test_people_get_a_page_and_programs_a_503(rf):
    try:
        raise nowhere()
    except OperationalError as error:
        page = errors.failed(RequestFactory().get("/"))
        call = rf.get("/lifetimeapi/rest/v2/environments")
        call.request_id = "r1"
        answer = answers.refuse(call, error)
    for response, said in ((page, "Not available right now"), (answer, '"Code":"unavailable"')):
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "10"
        assert said in response.content.decode()
        assert "127.0.0.1" not in response.content.decode()


def test_a_mistake_is_still_a_500():
    try:
        int("mistake")
    except ValueError:
        assert errors.failed(RequestFactory().get("/")).status_code == 500


@pytest.mark.parametrize("state", ["53100", "57P01", "57P03", "08006", "53300"])
def test_a_full_disk_and_a_server_that_stops_are_outages(state):
    assert outage.explain(raised_by_server(state)).startswith("The database does not answer: no")


@pytest.mark.parametrize("state", ["40P01", "57014", "23505", "42601"])
def test_a_deadlock_a_deadline_and_a_mistake_are_none(state):
    assert outage.explain(raised_by_server(state)) == ""


def test_missing_tables_are_an_outage_only_while_migrations_are_missing():
    error = of_server("SELECT * FROM no_such_table")
    assert isinstance(error, ProgrammingError)
    assert outage.explain(error) == ""


def test_missing_migrations_are_named_with_what_to_do(client):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'audit'")
    outage.require_current_schema.cache_clear()

    with pytest.raises(outage.NotMigrated, match=r"Run: manage\.py migrate"):
        outage.require_current_schema()
    for path in ("/health/", "/health/workers/"):
        response = client.get(path)
        assert response.status_code == 503
        assert "manage.py migrate" in response.json()["problems"][0]


def test_workers_wait_for_a_database_and_let_themselves_be_stopped(tmp_path):
    address = f"postgres://nobody@127.0.0.1:{processes.free_port(9000)}/nothing"
    with Process("manage.py", "work", log=tmp_path / "log", DATABASE_URL=address) as work:
        until = time.monotonic() + 30
        while "The workers wait. The database does not answer" not in work.output() and time.monotonic() < until:
            time.sleep(0.05)
        work.signal(signal.SIGTERM)
        assert work.wait() == 0
    assert work.output().count("\n") == 1
