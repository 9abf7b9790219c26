"""An uploaded form: its short fields, and its one file written to disk as it comes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

from environments.platform.answers import CLOSE, Problem

LARGEST_HEAD = 8 * 1024
LARGEST_FIELD = 8 * 1024
MOST_PARTS = 20


async def receive(content_type: str, pieces: AsyncIterator[bytes], target: Path) -> dict[str, str]:
    """Read multipart/form-data; the first part that names a file is written to `target`, others are answered."""
    found = re.search(r'multipart/form-data\s*;.*boundary="?([0-9A-Za-z\'()+_,./:=? -]{1,70})"?', content_type)
    if found is None:
        raise _bad("Send the form as multipart/form-data.")
    delimiter = b"\r\n--" + found[1].encode()
    reader = _Reader(pieces)
    await reader.until(delimiter[2:], most=LARGEST_HEAD)
    fields: dict[str, str] = {}
    has_file = False
    for _ in range(MOST_PARTS):
        if await reader.take(2) == b"--":
            return fields
        head = (await reader.until(b"\r\n\r\n", most=LARGEST_HEAD)).decode("utf-8", "replace")
        name = re.search(r'\bname="([^"]*)"', head)
        if name is None:
            raise _bad("A part has no name.")
        if re.search(r'\bfilename="', head) and not has_file:
            has_file = True
            with target.open("xb") as file:
                async for piece in reader.stream(delimiter):
                    file.write(piece)
        else:
            fields[name[1]] = (await reader.until(delimiter, most=LARGEST_FIELD)).decode("utf-8", "replace")
    raise _bad("The form has too many parts.")


class _Reader:
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = bytearray()

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._pieces)
        except StopAsyncIteration:
            raise _bad("The form is cut off.") from None

    async def take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def until(self, end: bytes, *, most: int) -> bytes:
        """What comes before an end, which is taken too."""
        while (place := self._buffer.find(end)) < 0:
            if len(self._buffer) > most:
                raise _bad("A part of the form is too long.")
            await self._more()
        taken = bytes(self._buffer[:place])
        del self._buffer[: place + len(end)]
        if len(taken) > most:
            raise _bad("A part of the form is too long.")
        return taken

    async def stream(self, end: bytes) -> AsyncIterator[bytes]:
        while True:
            place = self._buffer.find(end)
            if place >= 0:
                yield bytes(self._buffer[:place])
                del self._buffer[: place + len(end)]
                return
            if (safe := len(self._buffer) - len(end)) > 0:
                yield bytes(self._buffer[:safe])
                del self._buffer[:safe]
            await self._more()


def _bad(detail: str) -> Problem:
    return Problem(400, "bad-form", "The form cannot be read", detail, headers=[CLOSE])
