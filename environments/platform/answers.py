"""What the server says: answers, problems (RFC 9457) and documents whose answers are ready before anybody asks."""

from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

from environments.platform.canonical import canonical, digest

Headers = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")


@dataclass(slots=True, frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=list)

    def closing(self) -> "Answer":
        """The same answer as the last one of its connection."""
        return Answer(self.status, self.body, [*self.headers, CLOSE])


@dataclass(slots=True, frozen=True)
class FileAnswer:
    """A part of a file, streamed from disk."""

    status: int
    path: Path
    start: int
    length: int
    headers: Headers


class Problem(Exception):
    """An error answer: `code` is stable for programs, `detail` is for the person who reads it."""

    def __init__(self, status: int, code: str, title: str, detail: str = "", *, headers: Headers | None = None) -> None:
        super().__init__(detail or title)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail or title
        self.headers = headers or []

    def answer(self) -> Answer:
        body = canonical(
            {
                "type": f"urn:lifetime:problem:{self.code}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
            }
        )
        return Answer(
            self.status,
            body,
            [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body)), *self.headers],
        )


class Document:
    """A JSON document with its digest, its entity tag and both its answers."""

    __slots__ = ("body", "digest", "etag", "full", "unchanged")

    def __init__(self, body: bytes, *, true_digest: str = "") -> None:
        self.body = body
        self.digest = true_digest or digest(body)
        self.etag = f'"{self.digest}"'.encode()
        self.full = Answer(200, body, [JSON, (b"content-length", b"%d" % len(body)), (b"etag", self.etag)])
        self.unchanged = Answer(304, b"", [(b"etag", self.etag)])

    def answer(self, if_none_match: bytes | None) -> Answer:
        if if_none_match is None:
            return self.full
        if if_none_match == self.etag or self._matches(if_none_match):
            return self.unchanged
        return self.full

    def _matches(self, if_none_match: bytes) -> bool:
        tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
        return self.etag in tags or tags == [b"*"]


def json_answer(value: Any, status: int = 200) -> Answer:
    body = canonical(value)
    return Answer(status, body, [JSON, (b"content-length", b"%d" % len(body))])


def not_found(path: str) -> Problem:
    return Problem(404, "not-found", "There is nothing here", f"This server has no {path}.")


def method_not_allowed(method: str, path: str, allowed: list[str]) -> Problem:
    return Problem(
        405,
        "method-not-allowed",
        "Wrong method",
        f"{path} does not take {method}.",
        headers=[(b"allow", ", ".join(sorted(allowed)).encode())],
    )


class _Date:
    """The Date header of this very second, formatted once a second (and per clock, when a test sets one wrong)."""

    __slots__ = ("header", "second")

    def __init__(self) -> None:
        self.second = -1
        self.header = (b"date", b"")

    def at(self, now: float) -> tuple[bytes, bytes]:
        second = int(now)
        if second != self.second:
            self.header = (b"date", formatdate(second, usegmt=True).encode())
            self.second = second
        return self.header


date = _Date()
