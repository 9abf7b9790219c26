"""HTTP to one environment, for the length of one contact. Only the gate makes a client.

A client owns its sockets and closes them when the contact ends. It counts what it says, never says anything past the
contact's lease, and measures how the environment's clock differs from the database's.
"""

import asyncio
import ipaddress
import json
import logging
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings

from environments.addresses import refusal_of, refusal_of_ip
from environments.ledger import Opened
from environments.models.sealed import unseal

logger = logging.getLogger(__name__)

API = "/environment/v1"
MARGIN = 0.5  # seconds by which everything said ends before the lease does
LONGEST_ANSWER = 64 * 1024 * 1024
CONNECT_SECONDS = 5
SMALL_ANSWER = 256 * 1024
LONGEST_ETAG = 100
RESET = struct.pack("ii", 1, 0)  # linger for no time: closing resets the connection
DATE_RESOLUTION = 2.0  # a Date header tells whole seconds, and may be cached for one


class Unreachable(Exception):
    """The environment did not answer. The text tells a person what to look at."""


class Rejected(Exception):
    """The environment answered, but not as the Environment API says. The text tells a person what came."""

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Answer:
    """An answer that the contract allows: 200 or 201 with a body, 204 or 304 without."""

    status: int
    body: bytes
    etag: str

    @property
    def is_unchanged(self) -> bool:
        return self.status == 304


class GuardedResolver(AbstractResolver):
    """Resolves names as usual, then leaves out addresses that no environment may have, whatever its name says."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        allowed = [one for one in found if not refusal_of_ip(ipaddress.ip_address(one["host"].split("%")[0]))]
        if found and not allowed:
            raise Unreachable(f"{host} is a link-local or metadata address; no environment is there.")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


@dataclass
class Client:
    opened: Opened
    ssl_context: ssl.SSLContext
    resolver: AbstractResolver
    step: str = ""
    calls: int = 0
    sent: int = 0
    received: int = 0
    clock_offset: float | None = None
    unanswered: dict[int, float] = field(default_factory=dict)  # call number -> monotonic end of its deadline

    def __post_init__(self) -> None:
        self.lease_ends = self.opened.asked_at + self.opened.lease
        self.clock_offset = self.opened.clock_offset
        self._measured: float | None = None
        self._token = ""
        self._http: aiohttp.ClientSession | None = None
        self._sockets: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close every socket of this contact. What an unanswered call still had to send is dropped, not flushed."""
        if self.unanswered:
            for one in self._sockets:
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()
        if self._http is not None:
            http, self._http = self._http, None
            await http.close()

    def _socket(self, where: AddrInfoType) -> socket.socket:
        made = socket.socket(family=where[0], type=where[1], proto=where[2])
        made.setblocking(False)
        self._sockets.append(made)
        return made

    def renewed(self, *, asked_at: float, lease: float) -> None:
        self.lease_ends = asked_at + lease

    async def get(self, path: str, *, etag: str = "", seconds: float | None = None) -> Answer:
        return await self._call("GET", path, headers={"If-None-Match": etag} if etag else {}, seconds=seconds)

    async def put(self, path: str, body: bytes, *, seconds: float | None = None) -> Answer:
        return await self._call("PUT", path, body=body, seconds=seconds)

    async def post(self, path: str, body: bytes, *, seconds: float | None = None) -> Answer:
        return await self._call("POST", path, body=body, seconds=seconds)

    async def delete(self, path: str, *, seconds: float | None = None) -> Answer:
        return await self._call("DELETE", path, seconds=seconds)

    async def say_goodbye(self, *, seconds: float) -> None:
        """Have the environment end every request of this contact; it answers when none is served any more."""
        await self._call("DELETE", f"/contacts/{self.opened.id}", seconds=seconds)
        self.unanswered.clear()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """One call; once more when the environment's clock turned out to differ from what was thought."""
        try:
            return await self._attempt(method, path, body, headers or {}, seconds)
        except Rejected as rejection:
            if rejection.code != "deadline-passed" or self._lease_left() < 1:
                raise
        return await self._attempt(method, path, body, headers or {}, seconds)

    async def _attempt(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], seconds: float | None
    ) -> Answer:
        allowed = min(seconds or settings.CALL_TIMEOUT_SECONDS, self._lease_left())
        if allowed <= 0:
            raise Unreachable("The contact's lease is over; nothing was sent.")
        if not path.startswith("/contacts/"):
            self.step = f"{method} {path.partition('?')[0]}"
        call, began = self.calls + 1, time.monotonic()
        sent_headers = {
            **headers,
            "Authorization": f"Bearer {self._open_token()}",
            "Lifetime-Contact": str(self.opened.id),
            "Lifetime-Epoch": str(self.opened.epoch),
            "Lifetime-Deadline": self._deadline(began + allowed),
        }
        self.calls = call
        self.unanswered[call] = began + allowed
        if body is not None:
            sent_headers["Content-Type"] = "application/json"
            self.sent += len(body)
        try:
            async with asyncio.timeout(allowed):
                async with self._session().request(
                    method, self.opened.address + API + path, data=body, headers=sent_headers, allow_redirects=False
                ) as response:
                    self._measure_clock(response.headers.get("Date", ""), began)
                    try:
                        return await self._read(response)
                    finally:
                        if response.content.at_eof():
                            del self.unanswered[call]
        except aiohttp.ConnectionTimeoutError:
            del self.unanswered[call]
            raise Unreachable(f"{self._who()} did not take the connection within {CONNECT_SECONDS} s.") from None
        except TimeoutError:
            raise Unreachable(f"{self._who()} did not answer {self.step} within {allowed:.0f} s.") from None
        except aiohttp.ClientConnectorCertificateError as error:
            del self.unanswered[call]
            raise Unreachable(f"{self._who()} has a bad certificate: {error.certificate_error}") from None
        except aiohttp.ClientConnectorError as error:
            del self.unanswered[call]
            raise Unreachable(f"{self._who()} cannot be reached: {error.os_error.strerror or error}") from None
        except (aiohttp.ClientError, OSError) as error:
            detail = str(error) or type(error).__name__
            raise Unreachable(f"{self._who()} broke the connection at {self.step}: {detail}") from None

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        """The answer's body, or Rejected. A small answer is read to its end, so that the call counts as answered."""
        if response.status in {204, 304}:
            await self._body(response, SMALL_ANSWER)
            return Answer(response.status, b"", _etag(response))
        if response.status in {200, 201} and response.content_type == "application/json":
            return Answer(response.status, await self._body(response, LONGEST_ANSWER), _etag(response))
        body = await self._body(response, SMALL_ANSWER)
        if response.status >= 400:
            raise self._worded(response.status, _problem(body) if "json" in response.content_type else {})
        if 300 <= response.status < 400:
            raise Rejected(f"{self._who()} answered {self.step} with a redirect; register the final address.")
        raise Rejected(
            f"{self._who()} answered {response.content_type} at {self.step}, not JSON. Is the address right?"
        )

    async def _body(self, response: aiohttp.ClientResponse, longest: int) -> bytes:
        chunks = []
        size = response.content_length or 0
        if size <= longest:
            size = 0
            async for chunk in response.content.iter_any():
                size += len(chunk)
                self.received += len(chunk)
                if size > longest:
                    break
                chunks.append(chunk)
        if size > longest:
            raise Rejected(f"{self._who()} sent more than {longest:,} bytes at {self.step}.")
        return b"".join(chunks)

    def _worded(self, status: int, problem: Mapping[str, Any]) -> Rejected:
        code = str(problem.get("type", "")).rpartition(":")[2]
        if status == 401:
            text = f"{self._who()} does not accept the token."
        else:
            detail = _printable(str(problem.get("detail") or problem.get("title") or "")[:200])
            text = f"{self._who()} answered {status} at {self.step}{': ' + detail if detail else ''}."
        return Rejected(text, status=status, code=code)

    def _open_token(self) -> str:
        try:
            self._token = self._token or unseal(self.opened.sealed_token)
        except ValueError as error:
            raise Rejected(f"The token of {self._who()} cannot be read: {error} Enter it again.") from None
        return self._token

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            host = self.opened.address.partition("://")[2].partition("/")[0]
            bare = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
            if refusal := refusal_of(bare):
                raise Unreachable(refusal)
            connector = aiohttp.TCPConnector(resolver=self.resolver, ssl=self.ssl_context, limit=0, use_dns_cache=False)
            self._http = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=True,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers={"Accept": "application/json", "User-Agent": "lifetime-console"},
            )
        return self._http

    def _who(self) -> str:
        return self.opened.address

    def _lease_left(self) -> float:
        return self.lease_ends - MARGIN - time.monotonic()

    def _database_time(self, instant: float) -> datetime:
        """The database's clock at a monotonic instant, never earlier than it is."""
        return self.opened.opened_at + timedelta(seconds=instant - self.opened.asked_at)

    def _deadline(self, instant: float) -> str:
        """A monotonic instant on the environment's clock, never later than it is there."""
        there = self._database_time(instant) + timedelta(seconds=self.clock_offset or 0.0)
        return there.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    def _measure_clock(self, date: str, began: float) -> None:
        """Narrow the lower bound of (environment's clock - database's clock) by an answer's Date header."""
        try:
            there = parsedate_to_datetime(date)
            there = there.replace(tzinfo=UTC) if there.tzinfo is None else there.astimezone(UTC)
        except (ValueError, OverflowError):
            return
        now = time.monotonic()
        lower = (there - self._database_time(now)).total_seconds()
        upper = (there - self._database_time(began)).total_seconds() + DATE_RESOLUTION
        known = self.clock_offset
        if known is None or not lower <= known <= upper:
            self.clock_offset = lower


def _etag(response: aiohttp.ClientResponse) -> str:
    """The answer's ETag, or "" when it is none that could be kept."""
    etag = response.headers.get("ETag", "")
    return etag if len(etag) <= LONGEST_ETAG and etag.isascii() and etag.isprintable() else ""


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
