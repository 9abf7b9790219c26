import csv
import hashlib
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit import export
from audit.export import Format
from audit.log import SYSTEM, Actor, AuditObject, record
from audit.models import AuditEvent
from tests.audit import chains

pytestmark = pytest.mark.django_db

ON = AuditObject(type="environment", key="k", name="Production")


def rows(text):
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline="")))


def write(file_format, events=None):
    return "".join(file_format.write(AuditEvent.objects.all() if events is None else events))


def test_csv_has_every_column_oldest_first():
    record("One", ON, by=SYSTEM, details={"a": 1})
    record('Two, "quoted"', ON, by=Actor(name="Ada", username="ada", address="192.0.2.1"), succeeded=False, reason="r")

    first, second = rows(write(Format.CSV))

    event = AuditEvent.objects.get(number=2)
    assert (first["Number"], first["Message"], first["User"], first["Details"]) == ("1", "One", "System", '{"a":1}')
    assert second["Message"] == 'Two, "quoted"'
    assert (second["Username"], second["Address"], second["Reason"]) == ("ada", "192.0.2.1", "r")
    assert (second["Outcome"], second["Kind"], second["Object"]) == ("Failed", "Update", "Production")
    assert second["Time (UTC)"] == event.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert second["Previous hash"] == first["Hash"]


WIDE = "\uff1d\uff0b\uff0d\uff20"  # = + - @ as wide as a Chinese character


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "  =1+1",
        *(sign + "1" for sign in WIDE),
        "a;=1",
        "a;  @x",
        "a\t-1",
    ],
)
def test_no_cell_is_a_formula(text):
    cell = export.harmless(text)

    for part in [cell, *cell.split(";"), *cell.split("\t")]:
        assert not part.strip().startswith(tuple("=+-@" + WIDE))
    assert cell.replace("'", "") == text


@pytest.mark.parametrize("text", ["", "a=1", "Deployed 'x' - done", "5 - 3", "1;2", "'quoted'", "#12"])
def test_ordinary_text_stays_as_it_is(text):
    assert export.harmless(text) == text


def test_names_messages_and_reasons_are_harmless_in_the_file():
    bad = '=HYPERLINK("http://evil","x")'
    record(bad, AuditObject(type="environment", key=bad, name=bad), by=Actor(name=bad, username=bad), reason=bad)

    (row,) = rows(write(Format.CSV))

    for column in ("Message", "Reason", "User", "Username", "Object", "Object key"):
        assert row[column] == "'" + bad


def test_a_line_of_json_is_what_the_hash_covers():
    record("Größe", ON, by=SYSTEM, details={"b": [1, None], "a": "x"})
    record("Two", ON, by=SYSTEM)

    previous = "0" * 64
    for line in write(Format.JSONL).splitlines():
        entry = json.loads(line)
        own = entry.pop("hash")
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == own
        assert entry["previous_hash"] == previous
        previous = own


def test_an_empty_log_is_a_header_or_nothing():
    assert rows(write(Format.CSV)) == []
    assert write(Format.JSONL) == ""


@pytest.fixture
def long_log():
    begin = datetime.now(UTC) - timedelta(days=100)
    rare = range(7, 12_000, 4_999)
    chains.append(
        chains.event(begin + timedelta(minutes=n), message=f"Entry {n} rare" if n in rare else f"Entry {n}")
        for n in range(12_000)
    )


@pytest.mark.parametrize("file_format", Format)
def test_all_entries_come_once_and_in_order(long_log, file_format):
    text = write(file_format)
    numbers = (
        [int(row["Number"]) for row in rows(text)]
        if file_format is Format.CSV
        else [json.loads(line)["number"] for line in text.splitlines()]
    )

    assert numbers == list(range(1, 12_001))


def test_a_sparse_filter_takes_few_queries(long_log):
    with CaptureQueriesContext(connection) as queries:
        found = rows(write(Format.CSV, AuditEvent.objects.all().containing("rare")))

    assert [row["Message"] for row in found] == ["Entry 7 rare", "Entry 5006 rare", "Entry 10005 rare"]
    assert len(queries) < 8


@pytest.mark.parametrize("file_format", Format)
def test_a_long_export_takes_little_memory(long_log, file_format):
    pieces = file_format.write(AuditEvent.objects.all())
    next(pieces)
    tracemalloc.start()
    try:
        size = sum(len(piece) for piece in pieces)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert size > 2_500_000
    assert peak < 12_000_000


def test_entries_written_meanwhile_are_left_out():
    record("One", ON, by=SYSTEM)
    events = export.oldest_first(AuditEvent.objects.all())
    assert next(events).message == "One"
    record("Two", ON, by=SYSTEM)

    assert list(events) == []
