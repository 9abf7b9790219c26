"""The log as files, oldest entry first: CSV and XLSX for spreadsheets, JSON lines for programs."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator

from django.db import models

from audit import spreadsheet
from audit.log import canonical, to_json
from audit.models import AuditEvent, AuditEventQuerySet, Kind, instant

CHUNK = 1_000
WIDEST = 64 * CHUNK

COLUMNS: dict[str, Callable[[AuditEvent], object]] = {
    "Number": lambda event: event.number,
    "Time (UTC)": lambda event: instant(event.at),
    "User": lambda event: event.actor_name,
    "Username": lambda event: event.actor_username,
    "Address": lambda event: event.actor_address,
    "Message": lambda event: event.message,
    "Reason": lambda event: event.reason,
    "Kind": lambda event: Kind(event.kind).label,
    "Outcome": lambda event: "Succeeded" if event.succeeded else "Failed",
    "Changes to": lambda event: event.object_type,
    "Object": lambda event: event.object_name,
    "Object key": lambda event: event.object_key,
    "Details": lambda event: to_json(event.details) if event.details else "",
    "Key": lambda event: event.key,
    "Cause": lambda event: event.cause or "",
    "Previous hash": lambda event: event.previous_hash,
    "Hash": lambda event: event.hash,
}
# A spreadsheet takes a cell that begins so for a formula; in other countries' settings a semicolon begins a cell.
_FORMULA = re.compile(r"(^|[;\t])([^\S\t]*)(?=[=+\-@\r\n＝＋－＠])")  # noqa: RUF001 - the full-width ones count too

CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class TooMany(Exception):
    """There are more entries than the format takes. The text is for people."""


class Format(models.TextChoices):
    CSV = "csv", "CSV"
    JSONL = "jsonl", "JSON lines"
    XLSX = "xlsx", "XLSX"

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.value]

    def refuse_too_many(self, events: AuditEventQuerySet) -> None:
        """Raise TooMany when the file could not have all of them. The other formats have no limit."""
        if self is Format.XLSX:
            most = spreadsheet.MOST_ENTRIES
            if events.order_by("number").values("number")[: most + 1].count() > most:
                raise TooMany(
                    f"A spreadsheet takes at most {most:,} entries, and these are more. Choose fewer days, "
                    "or download CSV or JSON lines, which have no limit."
                )

    def write(self, events: AuditEventQuerySet) -> Iterator[bytes]:
        """The file in pieces, in constant memory."""
        found = oldest_first(events)
        if self is Format.XLSX:
            return spreadsheet.pieces(found, COLUMNS, harmless=harmless)
        return (text.encode() for text in (_csv(found) if self is Format.CSV else _json_lines(found)))


def oldest_first(events: AuditEventQuerySet) -> Iterator[AuditEvent]:
    """The entries up to the one that is last now, read by many short queries: a slow reader holds nothing open.

    Each query looks at a window of numbers, wider where few entries match, so its cost is bounded whatever the filter.
    """
    numbers = AuditEvent.objects.values_list("number", flat=True)
    last = numbers.order_by("-number").first() or 0
    done = (numbers.order_by("number").first() or 1) - 1
    width = CHUNK
    while done < last:
        end = min(done + width, last)
        found = list(events.filter(number__gt=done, number__lte=end).order_by("number")[:CHUNK])
        yield from found
        full = len(found) == CHUNK
        done = found[-1].number if full else end
        width = CHUNK if full else min(width * 2, WIDEST)


def _csv(events: Iterable[AuditEvent]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write("\ufeff")  # spreadsheets take the file for UTF-8 only with this mark
    writer.writerow(COLUMNS)
    for number, event in enumerate(events, start=1):
        cells = [value(event) for value in COLUMNS.values()]
        writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in cells])
        if number % CHUNK == 0:
            yield _drain(buffer)
    yield _drain(buffer)


def _json_lines(events: Iterable[AuditEvent]) -> Iterator[str]:
    buffer = io.StringIO()
    for number, event in enumerate(events, start=1):
        buffer.write(to_json(canonical(event) | {"hash": event.hash}) + "\n")
        if number % CHUNK == 0:
            yield _drain(buffer)
    yield _drain(buffer)


def harmless(text: str) -> str:
    """A cell that no spreadsheet runs as a formula."""
    if text[:1].isalnum() and ";" not in text and "\t" not in text:
        return text
    return _FORMULA.sub(r"\1'\2", text)


def _drain(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
