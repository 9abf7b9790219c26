"""The server under test, and how to speak to it, rightly or wrongly."""

import http.client
import json
import random
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from environments.platform.canonical import canonical

TIMEOUT_SECONDS = 10
LARGEST_ANSWER = 64 * 1024 * 1024


class Failed(Exception):
    """The server breaks the rule; the message is what came instead."""


@dataclass(frozen=True)
class Reply:
    request: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __str__(self) -> str:
        start = self.body[:160].decode(errors="replace")
        return f"{self.request}: {self.status} {self.headers.get_content_type()} {start!r}"

    def expect(self, status: int) -> "Reply":
        if self.status != status:
            raise Failed(str(self))
        return self

    def expect_problem(self, status: int, code: str) -> None:
        self.expect(status)
        if self.headers.get_content_type() != "application/problem+json":
            raise Failed(f"{self}; the content type must be application/problem+json")
        problem = self.json()
        if not isinstance(problem, dict) or problem.get("type") != f"urn:lifetime:problem:{code}":
            raise Failed(f"{self}; the type must be urn:lifetime:problem:{code}")
        if problem.get("status") != status or not isinstance(problem.get("title"), str):
            raise Failed(f"{self}; the problem must have its title and its status")

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Failed(f"{self}; that is no JSON: {error}") from None

    @property
    def etag(self) -> str:
        return str(self.headers.get("ETag", ""))


class Subject:
    def __init__(self, address: str, token: str, *, epoch: int, may_write: bool) -> None:
        parts = urlsplit(address)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise ValueError(f"{address!r} is no address such as https://dev.example.com")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/") + "/environment/v1"
        self._token = token
        self.epoch = epoch
        self.may_write = may_write
        self.clock_difference = 0.0
        self._contact = random.randrange(2**61, 2**62)  # noqa: S311 - far from the console's own

    def contact(self) -> int:
        """A contact that nobody has used."""
        self._contact += 1
        return self._contact

    def headers(self, changes: dict[str, str | None] | None = None, *, seconds: float = 60) -> dict[str, str]:
        deadline = datetime.now(UTC) + timedelta(seconds=seconds + self.clock_difference)
        right: dict[str, str | None] = {
            "Authorization": f"Bearer {self._token}",
            "Lifetime-Contact": str(self._contact),
            "Lifetime-Deadline": deadline.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "Lifetime-Epoch": str(self.epoch),
        }
        return {name: value for name, value in (right | (changes or {})).items() if value is not None}

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        seconds: float = 60,
        headers: dict[str, str | None] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        """One request on a connection of its own; header changes with None leave one out."""
        connection = self._connection()
        content = canonical(body) if body is not None else raw
        sent = self.headers(headers, seconds=seconds)
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, self._base + path, body=content, headers=sent)
            response = connection.getresponse()
            received = response.read(LARGEST_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{method} {path}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if len(received) > LARGEST_ANSWER:
            raise Failed(f"{method} {path}: an answer of more than {LARGEST_ANSWER} bytes")
        return Reply(f"{method} {path}", response.status, response.headers, received)

    def begin(self, method: str, path: str, *, seconds: float, headers: dict[str, str | None]) -> socket.socket:
        """Send the beginning of a request whose body never comes; answer the connection."""
        connection = self._connection()
        connection.connect()
        connection.putrequest(method, self._base + path)
        for name, value in self.headers(headers, seconds=seconds).items():
            connection.putheader(name, value)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"{")
        return connection.sock

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
