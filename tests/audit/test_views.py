import csv
import io
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit import paging
from audit.log import SYSTEM, Actor, AuditObject, Kind, record
from audit.models import AuditEvent, known_actors, known_object_types
from tests.audit import chains
from tests.factories import create_user

pytestmark = pytest.mark.django_db

PRODUCTION = AuditObject(type="environment", key=str(uuid.uuid4()), name="Production")
EVENTS, EXPORT = "/audit/", "/audit/export/"
ADA = Actor(name="Ada Lovelace", username="ada", address="192.0.2.1")


@pytest.fixture
def reader(client):
    user = create_user(username="reader", time_zone="Europe/Lisbon")
    client.force_login(user)
    return user


def messages(response):
    return [event.message for event in response.context["page"].events]


def errors(response):
    assert response.status_code == 422
    assert response.context["page"] is None
    return response.context["form"].errors


def test_the_addresses_are_where_they_should_be():
    key = uuid.uuid4()
    assert reverse("audit:events") == EVENTS
    assert reverse("audit:event", args=[key]) == f"/audit/{key}/"
    assert reverse("audit:export") == EXPORT


# Who


@pytest.mark.parametrize("address", [EVENTS, EXPORT + "?format=csv", "/audit/actors/", f"/audit/{uuid.UUID(int=7)}/"])
def test_people_without_the_right_are_told_why_not(client, address):
    client.force_login(create_user(manages_infrastructure=False))

    response = client.get(address)

    assert response.status_code == 403
    assert "Manage Infrastructure and Users" in response.content.decode()


@pytest.mark.parametrize("address", [EVENTS, EXPORT + "?format=csv", "/audit/actors/", f"/audit/{uuid.UUID(int=7)}/"])
def test_strangers_have_to_log_in_and_nobody_posts(client, address):
    assert client.get(address).status_code == 302
    client.force_login(create_user())
    assert client.post(address).status_code == 405


# The page


def test_the_page_shows_time_user_and_message(client, reader):
    event = record("Enabled maintenance mode of 'Production'", PRODUCTION, by=ADA, reason="Upgrade of the platform")

    page = client.get(EVENTS).content.decode()

    assert "Enabled maintenance mode of &#x27;Production&#x27;" in page
    assert "Ada Lovelace" in page
    assert "Reason: Upgrade of the platform" in page
    assert f'href="{event.get_absolute_url()}"' in page
    assert event.at.isoformat().replace("+00:00", "Z") in page


def test_events_that_change_nothing_are_grey_and_failures_say_so(client, reader):
    record("Logged in", PRODUCTION, by=ADA, kind=Kind.LOGIN)
    page = client.get(EVENTS).content.decode()
    assert "table__row--quiet" in page
    assert "badge--failed" not in page

    record("Could not do it", PRODUCTION, by=ADA, succeeded=False)
    page = client.get(EVENTS).content.decode()
    assert re.search(r"badge--failed.*Failed</span> <a [^>]*>Could not do it</a>", page)


def test_what_was_recorded_cannot_run_in_the_page(client, reader):
    bad = "<script>alert(1)</script>"
    event = record(bad, AuditObject(type=bad, key=bad, name=bad), by=Actor(name=bad, username=bad), details={bad: bad})

    for address in (EVENTS, event.get_absolute_url(), "/audit/actors/"):
        assert bad not in client.get(address).content.decode()


def test_an_empty_log_says_so(client, reader):
    page = client.get(EVENTS)

    assert page.status_code == 200
    assert "Nothing was done in the last seven days" in page.content.decode()
    assert "Download" not in page.content.decode()


def test_a_filter_that_lets_nothing_pass_says_so(client, reader):
    record("One", PRODUCTION, by=ADA)

    assert "No entry of the log passes this filter" in client.get(EVENTS, {"message": "two"}).content.decode()


# Filters


@pytest.fixture
def mixed():
    record("Created role 'Tester'", AuditObject(type="role", key="r", name="Tester"), by=ADA)
    record("Logged in", AuditObject(type="user", key="u", name="Ada"), by=ADA, kind=Kind.LOGIN)
    record("Cannot reach 100% of Test_1", PRODUCTION, by=SYSTEM, succeeded=False)
    record("Viewed 'Production'", PRODUCTION, by=Actor(name="Bob Ross", username="bob"), kind=Kind.VIEW)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["Viewed", "Cannot", "Logged", "Created"]),
        ({"message": "ROLE"}, ["Created"]),
        ({"message": "  role  "}, ["Created"]),
        ({"message": "100%"}, ["Cannot"]),
        ({"message": "st_1"}, ["Cannot"]),
        ({"message": "%"}, ["Cannot"]),
        ({"message": "\\"}, []),
        ({"updates": "on"}, ["Cannot", "Created"]),
        ({"failed": "on"}, ["Cannot"]),
        ({"user": "System"}, ["Cannot"]),
        ({"user": "system"}, ["Cannot"]),
        ({"user": "ada"}, ["Logged", "Created"]),
        ({"user": "ADA"}, ["Logged", "Created"]),
        ({"user": "ada lovelace"}, ["Logged", "Created"]),
        ({"user": "Ada Lovelace (ada)"}, ["Logged", "Created"]),
        ({"user": "bob", "updates": "on"}, []),
        ({"type": "environment"}, ["Viewed", "Cannot"]),
        ({"type": "environment", "key": PRODUCTION.key}, ["Viewed", "Cannot"]),
        ({"key": "r"}, ["Created"]),
        ({"user": "ada", "type": "role", "updates": "on", "message": "tester"}, ["Created"]),
        ({"from": "", "to": ""}, ["Viewed", "Cannot", "Logged", "Created"]),
        ({"from": "2001-01-01", "to": "2001-12-31"}, []),
        ({"from": "2190-01-01", "to": ""}, []),
    ],
)
def test_filters(client, reader, mixed, filters, expected):
    response = client.get(EVENTS, filters)

    assert response.status_code == 200
    assert [message.split()[0] for message in messages(response)] == expected


@pytest.mark.parametrize(
    ("filters", "field", "message"),
    [
        ({"from": "yesterday"}, "from", "year-month-day"),
        ({"to": "2026-02-30"}, "to", "year-month-day"),
        ({"from": "0001-01-01"}, "from", "between 1970 and 2199"),
        ({"to": "9999-12-31"}, "to", "between 1970 and 2199"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from", "before To"),
        ({"user": "nobody"}, "user", "Nobody called “nobody”"),
        ({"user": "Nobody (no)"}, "user", "Nobody called"),
        ({"type": "planet"}, "type", "no entry about “planet”"),
        ({"message": "m" * 201}, "message", "at most 200"),
        ({"message": "a\0b"}, "message", "Null characters"),
        ({"user": "a\0b"}, "user", "Null characters"),
        ({"before": "x"}, "__all__", "does not exist"),
        ({"before": "0"}, "__all__", "does not exist"),
        ({"after": "9" * 30}, "__all__", "does not exist"),
    ],
)
def test_a_bad_filter_is_told_in_place(client, reader, mixed, filters, field, message):
    response = client.get(EVENTS, filters)

    assert message in str(errors(response)[field])
    assert message in response.content.decode()


def test_the_form_shows_the_filter_in_force_and_the_default(client, reader, mixed):
    today = timezone.localdate(timezone=ZoneInfo("Europe/Lisbon"))
    page = client.get(EVENTS).content.decode()
    assert re.search(f'name="from" value="{today - timedelta(days=7)}"', page)
    assert re.search(f'name="to" value="{today}"', page)

    page = client.get(
        EVENTS, {"message": "role", "from": "", "to": "", "failed": "on", "type": "role"}
    ).content.decode()
    assert re.search(r'name="message" value="role"', page)
    assert re.search(r'name="failed"[^>]*checked', page)
    assert re.search(r'<option value="role" selected>Role</option>', page)
    assert re.search(r'name="from" value=""', page)


def test_the_default_is_the_last_seven_days(client, reader):
    now = datetime.now(UTC)
    chains.append([chains.event(now - timedelta(days=9), message="Old"), chains.event(now, message="New")])

    assert messages(client.get(EVENTS)) == ["New"]
    assert messages(client.get(EVENTS, {"from": ""})) == ["New", "Old"]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", ["23:30", "00:30"]),
        ("Pacific/Auckland", ["00:30", "11:30"]),  # 13 hours ahead
        ("America/New_York", ["23:30", "11:30"]),  # 5 hours behind
    ],
)
def test_days_begin_in_the_viewers_zone(client, zone, expected):
    client.force_login(create_user(time_zone=zone))
    times = ["2026-01-09T11:30", "2026-01-10T00:30", "2026-01-10T11:30", "2026-01-10T23:30", "2026-01-11T05:30"]
    chains.append(chains.event(datetime.fromisoformat(f"{each}:00+00:00"), message=each[-5:]) for each in times)

    found = messages(client.get(EVENTS, {"from": "2026-01-10", "to": "2026-01-10"}))

    assert found[0] == expected[0]
    assert found[-1] == expected[-1]


def test_the_same_act_before_and_after_the_hour_that_comes_twice(client):
    client.force_login(create_user(time_zone="Europe/Lisbon"))
    begin = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)  # that Sunday has 25 hours
    chains.append(chains.event(begin + timedelta(hours=hour), message=str(hour)) for hour in range(28))

    found = messages(client.get(EVENTS, {"from": "2026-10-25", "to": "2026-10-25"}))

    assert [found[0], found[-1]] == ["25", "1"]


# Pages


@pytest.fixture
def many():
    now = datetime.now(UTC) - timedelta(hours=1)
    chains.append(chains.event(now, message=f"{n}", succeeded=n % 2 == 0, object_key="k") for n in range(1, 131))


def shown(response):
    return [int(message) for message in messages(response)]


def link(response, rel):
    found = re.search(rf'href="([^"]+)" rel="{rel}"', response.content.decode())
    return EVENTS + found[1].replace("&amp;", "&") if found else None


def test_paging_goes_through_all_and_back(client, reader, many):
    first = client.get(EVENTS, {"type": "environment"})
    second = client.get(link(first, "next"))
    third = client.get(link(second, "next"))

    assert shown(first) == list(range(130, 80, -1))
    assert shown(second) == list(range(80, 30, -1))
    assert shown(third) == list(range(30, 0, -1))
    assert (link(first, "prev"), link(third, "next")) == (None, None)
    assert shown(client.get(link(third, "prev"))) == shown(second)
    back = client.get(link(second, "prev"))
    assert shown(back) == shown(first)
    assert link(back, "prev") is None
    assert "50 of 130 events" in first.content.decode()


def test_paging_keeps_the_filter(client, reader, many):
    first = client.get(EVENTS, {"failed": "on", "user": "System", "message": ""})
    second = client.get(link(first, "next"))

    assert shown(first) == list(range(129, 29, -2))
    assert shown(second) == list(range(29, 0, -2))
    assert "50 of 65 events" in first.content.decode()


def test_new_entries_do_not_move_the_pages(client, reader, many):
    first = client.get(EVENTS)
    record("131", PRODUCTION, by=SYSTEM)

    assert shown(client.get(link(first, "next"))) == list(range(80, 30, -1))


def test_a_page_beyond_the_ends_is_empty_or_the_newest(client, reader, many):
    assert shown(client.get(EVENTS, {"before": "1"})) == []
    assert shown(client.get(EVENTS, {"after": "1000"})) == list(range(130, 80, -1))
    assert shown(client.get(EVENTS, {"after": "0"})) == list(range(50, 0, -1))


def test_more_than_a_thousand_are_not_counted(monkeypatch, many):
    monkeypatch.setattr(paging, "COUNTED", 100)

    assert paging.total(AuditEvent.objects.all()) == "100+"
    assert paging.total(AuditEvent.objects.failed()) == "65"


@pytest.mark.parametrize("filters", [{}, {"message": "1", "user": "System", "failed": "on", "type": "environment"}])
def test_the_number_of_queries_is_constant(client, reader, filters):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(EVENTS, filters).status_code == 200
        return len(captured)

    now = datetime.now(UTC) - timedelta(hours=1)
    chains.append(chains.event(now, message=f"{n}1", succeeded=False) for n in range(60))
    few = queries()
    chains.append(
        chains.event(now, message=f"{n}1", succeeded=False, actor_name=f"P{n}", actor_username=f"p{n}")
        for n in range(60)
    )
    chains.append(chains.event(now, message=f"{n}1", succeeded=False) for n in range(60))

    assert queries() == few < 14


def test_a_search_that_takes_too_long_is_given_up_and_explained(client, reader, many, monkeypatch):
    from audit import views

    monkeypatch.setattr(views, "LONGEST_SEARCH_MS", 50)
    monkeypatch.setattr(paging, "total", lambda events: connection.cursor().execute("SELECT pg_sleep(10)"))

    assert "takes too long" in str(errors(client.get(EVENTS)))


# People and types on offer


def test_the_user_field_offers_people_of_the_log(client, reader, mixed):
    page = client.get(EVENTS).content.decode()
    assert '<option value="System"></option><option value="Ada Lovelace (ada)"></option>' in page

    found = client.get("/audit/actors/", {"user": "ROSS"}).content.decode().strip()
    assert found == '<option value="Bob Ross (bob)"></option>'


def test_people_and_types_are_found_without_reading_the_log():
    assert (known_actors(), known_object_types()) == ([("", "System")], [])
    now = datetime.now(UTC)
    chains.append(
        chains.event(now, actor_name=f"Name {n % 300} {n}", actor_username=f"u{n % 300:03}", object_type=f"t{n % 3}")
        for n in range(900)
    )

    assert len(known_actors()) == 101
    assert known_actors("NAME 7 ") == [("u007", "Name 7 607")]
    assert known_actors("100%") == []
    assert known_object_types() == ["t0", "t1", "t2"]


# One entry


def test_the_page_of_an_entry_tells_everything(client, reader):
    cause = record("Enabled maintenance mode", PRODUCTION, by=ADA)
    event = record(
        "Aborted plan",
        PRODUCTION,
        by=ADA,
        reason="Window",
        details={"step": "upload"},
        cause=cause.key,
        succeeded=False,
    )

    page = client.get(event.get_absolute_url()).content.decode()
    for text in (
        event.hash,
        event.previous_hash,
        str(event.key),
        "192.0.2.1",
        "Ada Lovelace (ada)",
        "Window",
        "upload",
    ):
        assert text in page
    assert f'href="{cause.get_absolute_url()}"' in page
    assert "Failed" in page
    assert "Aborted plan" in client.get(cause.get_absolute_url()).content.decode()


def test_an_entry_survives_its_cause(client, reader):
    event = record("Aborted plan", PRODUCTION, by=ADA, cause=uuid.uuid4())

    assert "an entry that retention has deleted" in client.get(event.get_absolute_url()).content.decode()


def test_an_unknown_entry_is_not_found(client, reader):
    assert client.get(f"/audit/{uuid.uuid4()}/").status_code == 404
    assert client.get("/audit/nonsense/").status_code == 404


# History of an object


def test_the_history_of_an_object(rf, reader):
    from django.template.loader import render_to_string

    for number in range(12):
        record(f"Act {number}", PRODUCTION, by=ADA)
    record("Elsewhere", AuditObject(type="environment", key="other", name="Test"), by=ADA)

    history = paging.history(PRODUCTION)
    page = render_to_string("audit/_history.html", {"history": history})

    assert [event.message for event in history.events] == [f"Act {number}" for number in range(11, 1, -1)]
    assert f"type=environment&amp;key={PRODUCTION.key}" in page
    assert page.count("<tr") == 11
    nothing = paging.history(AuditObject(type="environment", key="none", name="None"))
    assert "Nothing was recorded yet" in render_to_string("audit/_history.html", {"history": nothing})


# Download


def test_the_download_has_the_filter_in_force_and_is_recorded(client, reader, mixed):
    page = client.get(EVENTS, {"user": "ada"}).content.decode()
    address = re.search(r'href="(/audit/export/\?format=csv[^"]*)"', page)[1].replace("&amp;", "&")

    response = client.get(address)

    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="audit-[\d-]+\.csv"', response["Content-Disposition"])
    assert response.streaming
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    assert [row["Message"] for row in csv.DictReader(io.StringIO(text))] == ["Created role 'Tester'", "Logged in"]
    event = AuditEvent.objects.get(message="Downloaded audit events as CSV")
    assert (event.actor_username, event.kind, event.actor_address) == ("reader", "view", "127.0.0.1")
    assert event.details["filter"]["user"] == "ada"


def test_json_lines_can_be_downloaded(client, reader, mixed):
    response = client.get(EXPORT, {"format": "jsonl", "failed": "on"})

    (line,) = b"".join(response.streaming_content).decode().splitlines()
    assert json.loads(line)["message"] == "Cannot reach 100% of Test_1"
    assert response["Content-Type"] == "application/jsonl"


def test_spreadsheets_can_be_downloaded_up_to_a_limit_that_is_said(client, reader, mixed, monkeypatch):
    assert "format=xlsx" in client.get(EVENTS).content.decode()

    response = client.get(EXPORT, {"format": "xlsx", "user": "ada"})

    assert response["Content-Type"].endswith("spreadsheetml.sheet")
    assert re.search(r'filename="audit-[\d-]+\.xlsx"', response["Content-Disposition"])
    assert b"".join(response.streaming_content).startswith(b"PK")
    assert AuditEvent.objects.filter(message="Downloaded audit events as XLSX").count() == 1

    monkeypatch.setattr("audit.spreadsheet.MOST_ENTRIES", 1)
    refused = client.get(EXPORT, {"format": "xlsx"})
    assert refused.status_code == 422
    assert "at most 1 entries" in refused.content.decode()
    assert AuditEvent.objects.filter(message="Downloaded audit events as XLSX").count() == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [({}, "format=csv"), ({"format": "xml"}, "format=csv"), ({"format": "csv", "user": "nobody"}, "Nobody called")],
)
def test_a_bad_download_is_refused_and_not_recorded(client, reader, mixed, data, message):
    response = client.get(EXPORT, data)

    assert response.status_code == 422
    assert message in response.content.decode()
    assert not AuditEvent.objects.filter(message__startswith="Downloaded").exists()
