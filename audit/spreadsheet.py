"""The log as a spreadsheet, row by row: memory does not grow with it. Cells are texts, never formulas."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO

import xlsxwriter

from audit.models import AuditEvent

MOST_ENTRIES = 50_000  # six megabytes, and ten seconds before the first of them leaves; CSV has no limit
LONGEST_CELL = 32_767  # what spreadsheets take
CUT = " … (cut; it is whole in the other formats)"
PIECE = 256 * 1024
WIDTHS = {"Message": 70, "Time (UTC)": 28, "Details": 40, "Object": 24, "User": 24, "Key": 38, "Object key": 38}
OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
}

Columns = Mapping[str, Callable[[AuditEvent], object]]


def pieces(events: Iterable[AuditEvent], columns: Columns, *, harmless: Callable[[str], str]) -> Iterator[bytes]:
    """The file in pieces, from a temporary one that is deleted with the last of them."""
    with tempfile.TemporaryFile() as file:
        write(file, events, columns, harmless=harmless)
        file.seek(0)
        while piece := file.read(PIECE):
            yield piece


def write(file: IO[bytes], events: Iterable[AuditEvent], columns: Columns, *, harmless: Callable[[str], str]) -> None:
    with xlsxwriter.Workbook(file, OPTIONS) as book:
        head = book.add_format({"bold": True, "bottom": 1})
        sheet = book.add_worksheet("Audit log")
        sheet.freeze_panes(1, 0)
        for column, name in enumerate(columns):
            sheet.set_column(column, column, WIDTHS.get(name, 16))
            sheet.write_string(0, column, name, head)
        row = 0
        for row, event in enumerate(events, start=1):
            for column, value in enumerate(columns.values()):
                cell = value(event)
                if isinstance(cell, int):
                    sheet.write_number(row, column, cell)
                else:
                    sheet.write_string(row, column, _fitting(harmless(str(cell))))
        sheet.autofilter(0, 0, row, len(columns) - 1)


def _fitting(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - len(CUT)] + CUT
