import csv
import hashlib
import io
import json
import tracemalloc
import zipfile
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit import export, spreadsheet
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
    return b"".join(file_format.write(AuditEvent.objects.all() if events is None else events)).decode()


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


@pytest.mark.parametrize("file_format", [Format.CSV, Format.JSONL])
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


@pytest.mark.parametrize("file_format", [Format.CSV, Format.JSONL])
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


# Spreadsheets

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def sheet(content):
    """Rows of the first sheet as lists of (type, text), and whether there is a formula."""
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        tree = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - our own
    found = [
        [(cell.get("t", "n"), "".join(text for text in cell.itertext())) for cell in row]
        for row in tree.iter(f"{SHEET}row")
    ]
    return found, any(True for _ in tree.iter(f"{SHEET}f"))


def test_a_spreadsheet_has_every_column_and_no_formula():
    record("One", ON, by=SYSTEM, details={"a": 1})
    record("=HYPERLINK(1)", ON, by=Actor(name="+Ada", username="@ada", address="192.0.2.1"), reason="http://x.example/")
    record("Long", ON, by=SYSTEM, details={"text": "x" * 40_000, "control": "\x0b"})

    rows, has_formula = sheet(b"".join(Format.XLSX.write(AuditEvent.objects.all())))

    assert [text for _, text in rows[0]] == list(export.COLUMNS)
    assert [row[0] for row in rows[1:]] == [("n", "1"), ("n", "2"), ("n", "3")]
    assert {kind for row in rows for kind, _ in row[1:]} == {"inlineStr"}
    message, user, reason = (rows[2][list(export.COLUMNS).index(name)][1] for name in ("Message", "User", "Reason"))
    assert (message, user, reason) == ("'=HYPERLINK(1)", "'+Ada", "http://x.example/")
    assert not has_formula
    long = rows[3][list(export.COLUMNS).index("Details")][1]
    assert len(long) == 32_767
    assert long.endswith("(cut; it is whole in the other formats)")


def test_an_empty_spreadsheet_is_its_head():
    assert len(sheet(b"".join(Format.XLSX.write(AuditEvent.objects.all())))[0]) == 1


def test_a_long_spreadsheet_takes_little_memory(long_log):
    pieces = Format.XLSX.write(AuditEvent.objects.all().containing("rare"))
    assert len(sheet(b"".join(pieces))[0]) == 4
    tracemalloc.start()
    try:
        size = sum(len(piece) for piece in Format.XLSX.write(AuditEvent.objects.filter(number__lte=1_500)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 100_000
    assert peak < 12_000_000


def test_more_than_a_spreadsheet_takes_is_refused_for_it_alone(monkeypatch):
    monkeypatch.setattr(spreadsheet, "MOST_ENTRIES", 2)
    for number in range(3):
        record(f"Entry {number}", ON, by=SYSTEM)
    everything = AuditEvent.objects.all()
    with pytest.raises(export.TooMany, match=r"at most 2 entries.*CSV or JSON lines, which have no limit"):
        Format.XLSX.refuse_too_many(everything)
    Format.XLSX.refuse_too_many(everything.filter(number__gt=1))
    Format.CSV.refuse_too_many(everything)


def test_entries_written_meanwhile_are_left_out():
    record("One", ON, by=SYSTEM)
    events = export.oldest_first(AuditEvent.objects.all())
    assert next(events).message == "One"
    record("Two", ON, by=SYSTEM)

    assert list(events) == []
