"""The access log: every request of the Environment API, what became of it, and when. One line each, never changed.

The newest lines are kept in memory, so a reader sees a line the moment its request is over; the file follows within
50 ms and at exit.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from environments.platform import clock

FLUSH_SECONDS = 0.05
IN_MEMORY = 100_000
LARGEST_FILE = 256 * 1024 * 1024


class Line(NamedTuple):
    line: int
    prefix: str
    environment: str
    contact: int | None
    epoch: int | None
    deadline: str | None
    method: str
    path: str
    began_at: float
    ended_at: float
    status: int | None
    outcome: str
    bytes_in: int
    bytes_out: int

    def json(self) -> str:
        return (
            f'{{"line":{self.line},"prefix":{_quoted(self.prefix)},"environment":{_quoted(self.environment)}'
            f',"contact":{_number(self.contact)},"epoch":{_number(self.epoch)}'
            f',"deadline":{"null" if self.deadline is None else json.dumps(self.deadline)}'
            f',"method":{_quoted(self.method)},"path":{_quoted(self.path)}'
            f',"began_at":"{clock.text(self.began_at)}","ended_at":"{clock.text(self.ended_at)}"'
            f',"status":{_number(self.status)},"outcome":"{self.outcome}"'
            f',"bytes_in":{self.bytes_in},"bytes_out":{self.bytes_out}}}'
        )


class AccessLog:
    def __init__(self, path: Path, *, in_memory: int = IN_MEMORY, largest_file: int = LARGEST_FILE) -> None:
        self.path = path
        self.previous_path = path.with_suffix(".1" + path.suffix)
        self._largest_file = largest_file
        self._recent: deque[Line] = deque(maxlen=in_memory)
        self._unwritten: list[Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self.last = max(_last_line(self.path), _last_line(self.previous_path))
        self._file = path.open("ab")
        if self._file.tell() and not _ends_with_newline(path):  # a killed process may have left half a line
            self._file.write(b"\n")

    def append(self, *values: object) -> None:
        """Everything of a Line but its number."""
        self.last += 1
        line = Line(self.last, *values)  # type: ignore[arg-type]
        self._recent.append(line)
        self._unwritten.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        self._timer = None
        if not self._unwritten:
            return
        self._file.write("".join(line.json() + "\n" for line in self._unwritten).encode())
        self._file.flush()
        self._unwritten.clear()
        if self._file.tell() > self._largest_file:
            self._file.close()
            self.path.replace(self.previous_path)
            self._file = self.path.open("ab")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.flush()
        self._file.close()

    def since(self, line: int, *, prefix: str | None, limit: int) -> tuple[list[str], bool]:
        """Lines after a number, oldest first, of one environment (or of all), and whether there are more."""
        found: list[str] = []
        for text in self._after(line, prefix):
            if len(found) == limit:
                return found, True
            found.append(text)
        return found, False

    def _after(self, line: int, prefix: str | None) -> Iterator[str]:
        if line >= self.last:
            return
        first = self._recent[0].line if self._recent else self.last + 1
        if line + 1 < first:
            self.flush()
            for path in (self.previous_path, self.path):
                yield from _older(path, line, first, prefix)
        for entry in islice(self._recent, max(0, line + 1 - first), None):
            if prefix is None or entry.prefix == prefix:
                yield entry.json()


def _older(path: Path, after: int, before: int, prefix: str | None) -> Iterator[str]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for text in file:
            try:
                entry = json.loads(text)
            except ValueError:
                continue
            if after < entry["line"] < before and (prefix is None or entry["prefix"] == prefix):
                yield text.rstrip("\n")


def _last_line(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_536))
        for text in reversed(file.read().splitlines()):
            try:
                return int(json.loads(text)["line"])
            except (ValueError, KeyError, TypeError):
                continue
    return 0


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"


@lru_cache(maxsize=8192)
def _quoted(text: str) -> str:
    return json.dumps(text)


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)
