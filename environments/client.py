"""HTTP to one environment, for the length of one contact. Only the gate makes a client.

A client owns its sockets and closes them when the contact ends. It counts what it says, never says anything past the
contact's lease, and measures how the environment's clock differs from the database's.
"""

import asyncio
import ipaddress
import json
import logging
import re
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings
from multidict import CIMultiDict

from environments.addresses import refusal_of, refusal_of_ip
from environments.ledger import Opened
from environments.models.sealed import unseal
from environments.printable import printable

logger = logging.getLogger(__name__)
Read = TypeVar("Read")

API = "/environment/v1"
MARGIN = 0.5  # seconds by which everything said ends before the lease does
LONGEST_ANSWER = 64 * 1024 * 1024
CONNECT_SECONDS = 5
SMALL_ANSWER = 256 * 1024
LONGEST_PART = 4 * 1024 * 1024  # of a file; a large one goes in parts, and memory stays flat
PIECE = 256 * 1024  # of a part, handed to the network at once
LONGEST_ETAG = 100
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)  # a call's own is its deadline
HEADERS = CIMultiDict({"Accept": "application/json", "User-Agent": "lifetime-console"})
ZIP = "application/zip"
RESET = struct.pack("ii", 1, 0)  # linger for no time: closing resets the connection
DATE_RESOLUTION = 2.0  # a Date header tells whole seconds, and may be cached for one
FURTHEST_OFF = 10 * 365 * 86_400.0  # seconds; a Date header that tells of more tells of no clock


class Unreachable(Exception):
    """The environment did not answer. The text tells a person what to look at."""


class Rejected(Exception):
    """The environment answered, but not as the Environment API says. The text tells a person what came."""

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def is_about_contact(self) -> bool:
        """Whether this contact was too late, not what it asked for wrong."""
        return self.code in ("contact-ended", "epoch-passed", "deadline-passed")


@dataclass(frozen=True)
class Answer:
    """An answer that the contract allows: 200 or 201 with a body, 204 or 304 without."""

    status: int
    body: bytes
    etag: str

    @property
    def is_unchanged(self) -> bool:
        return self.status == 304


@dataclass(frozen=True)
class Part:
    """Bytes of a file from `start` on. `total` is the size of all of it."""

    start: int
    data: bytes
    total: int

    @property
    def end(self) -> int:
        return self.start + len(self.data)


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
        self._token = ""
        self._http: aiohttp.ClientSession | None = None
        self._sockets: list[socket.socket] = []
        self._is_over = False

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

    async def end(self) -> None:
        """Hang up for good: whoever still has this client can say nothing by it any more, but for the goodbye."""
        self._is_over = True
        await self.hang_up()

    def _socket(self, where: AddrInfoType) -> socket.socket:
        made = socket.socket(family=where[0], type=where[1], proto=where[2])
        made.setblocking(False)
        self._sockets.append(made)
        return made

    def renewed(self, *, asked_at: float, lease: float) -> None:
        self.lease_ends = asked_at + lease

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """For a while, have every call end within so many seconds from now. The lease is not renewed meanwhile."""
        lease_ends = self.lease_ends
        self.lease_ends = min(lease_ends, time.monotonic() + seconds + MARGIN)
        try:
            yield
        finally:
            self.lease_ends = lease_ends

    async def get(self, path: str, *, etag: str = "", seconds: float | None = None) -> Answer:
        headers = {"If-None-Match": etag} if etag else {}
        return await self._call("GET", path, read=self._read, headers=headers, seconds=seconds)

    async def put(self, path: str, body: bytes, *, seconds: float | None = None) -> Answer:
        return await self._call("PUT", path, read=self._read, body=body, seconds=seconds)

    async def post(self, path: str, body: bytes, *, seconds: float | None = None) -> Answer:
        return await self._call("POST", path, read=self._read, body=body, seconds=seconds)

    async def delete(self, path: str, *, seconds: float | None = None) -> Answer:
        return await self._call("DELETE", path, read=self._read, seconds=seconds)

    async def get_part(self, path: str, *, start: int, end: int, etag: str, seconds: float | None = None) -> Part:
        """The bytes of a zip file from `start` to before `end`, or to its end: at most LONGEST_PART.

        `etag` names the file. When it is another one now, or the answer is another part, that is Rejected.
        """
        if not 0 <= start < end <= start + LONGEST_PART:
            raise ValueError(f"{start} to {end} is no part")
        headers = {
            "Accept": ZIP,
            "Accept-Encoding": "identity",
            "Range": f"bytes={start}-{end - 1}",
            "If-Range": etag,
        }

        async def read(response: aiohttp.ClientResponse) -> Part:
            return await self._read_part(response, start, end, etag)

        return await self._call("GET", path, read=read, headers=headers, seconds=seconds)

    async def put_part(self, path: str, data: bytes, *, start: int, total: int, seconds: float | None = None) -> Answer:
        """Send the bytes of a zip file from `start` on: 202 when more is to come, 200 or 201 when it is whole."""
        if not 0 < len(data) <= min(LONGEST_PART, total - start):
            raise ValueError(f"{len(data)} bytes from {start} are no part of {total}")
        headers = {"Content-Type": ZIP, "Content-Range": f"bytes {start}-{start + len(data) - 1}/{total}"}

        async def read(response: aiohttp.ClientResponse) -> Answer:
            return await self._read(response, good=(200, 201, 202))

        return await self._call("PUT", path, read=read, body=data, headers=headers, seconds=seconds)

    async def say_goodbye(self, *, seconds: float) -> None:
        """Have the environment end every request of this contact; it answers when none is served any more."""
        await self._call("DELETE", f"/contacts/{self.opened.id}", read=self._read, seconds=seconds)
        self.unanswered.clear()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        read: Callable[[aiohttp.ClientResponse], Awaitable[Read]],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Read:
        """One call; once more when the environment's clock turned out to differ from what was thought."""
        try:
            return await self._attempt(method, path, read, body, headers or {}, seconds)
        except Rejected as rejection:
            if rejection.code != "deadline-passed" or self.lease_left < 1:
                raise
        return await self._attempt(method, path, read, body, headers or {}, seconds)

    async def _attempt(
        self,
        method: str,
        path: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[Read]],
        body: bytes | None,
        headers: Mapping[str, str],
        seconds: float | None,
    ) -> Read:
        is_goodbye = path.startswith("/contacts/")
        if self._is_over and not is_goodbye:
            raise Unreachable("The contact is over; nothing was sent.")
        allowed = min(seconds or settings.CALL_TIMEOUT_SECONDS, self.lease_left)
        if allowed <= 0:
            raise Unreachable("The contact's lease is over; nothing was sent.")
        step = f"{method} {path.partition('?')[0]}"
        if not is_goodbye:
            self.step = step
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
            sent_headers.setdefault("Content-Type", "application/json")
            sent_headers["Content-Length"] = str(len(body))
            self.sent += len(body)
        try:
            async with asyncio.timeout(allowed):
                async with self._session().request(
                    method,
                    self.opened.address + API + path,
                    data=_data(body),
                    headers=sent_headers,
                    allow_redirects=False,
                ) as response:
                    self._measure_clock(response.headers.get("Date", ""), began)
                    try:
                        return await read(response)
                    finally:
                        if response.content.at_eof():
                            self.unanswered.pop(call, None)
        except aiohttp.ConnectionTimeoutError:
            self.unanswered.pop(call, None)
            raise Unreachable(f"{self._who()} did not take the connection within {CONNECT_SECONDS} s.") from None
        except TimeoutError:
            raise Unreachable(f"{self._who()} did not answer {step} within {allowed:.0f} s.") from None
        except aiohttp.ClientConnectorCertificateError as error:
            self.unanswered.pop(call, None)
            raise Unreachable(f"{self._who()} has a bad certificate: {error.certificate_error}") from None
        except aiohttp.ClientConnectorError as error:
            self.unanswered.pop(call, None)
            raise Unreachable(f"{self._who()} cannot be reached: {error.os_error.strerror or error}") from None
        except (aiohttp.ClientError, OSError) as error:
            detail = str(error) or type(error).__name__
            raise Unreachable(f"{self._who()} broke the connection at {step}: {detail}") from None

    async def _read(self, response: aiohttp.ClientResponse, *, good: tuple[int, ...] = (200, 201)) -> Answer:
        """The answer's body, or Rejected. A small answer is read to its end, so that the call counts as answered."""
        if response.status in {204, 304}:
            await self._body(response, SMALL_ANSWER)
            return Answer(response.status, b"", _etag(response))
        if response.status in good and response.content_type == "application/json":
            return Answer(response.status, await self._body(response, LONGEST_ANSWER), _etag(response))
        raise await self._refusal(response, "JSON")

    async def _read_part(self, response: aiohttp.ClientResponse, start: int, end: int, etag: str) -> Part:
        if response.status not in {200, 206} or response.content_type != ZIP:
            raise await self._refusal(response, "a zip file")
        if (found := response.headers.get("ETag", etag)) != etag:
            raise Rejected(
                f"{self._who()} has another file at {_step(response)}: {printable(found[:LONGEST_ETAG])}.",
                status=response.status,
                code="another-file",
            )
        if response.status == 200:
            part = (0, (response.content_length or 0) - 1, response.content_length or 0)
        else:
            part = _content_range(response.headers.get("Content-Range", ""))
        first, last, total = part
        if first != start or not start <= last == min(end, total) - 1:
            raise Rejected(
                f"{self._who()} answered {_step(response)} with another part of the file than was asked for."
            )
        data = await self._body(response, last + 1 - start)
        if len(data) != last + 1 - start:
            raise Rejected(f"{self._who()} sent {len(data):,} bytes at {_step(response)}, not {last + 1 - start:,}.")
        return Part(start, data, total)

    async def _refusal(self, response: aiohttp.ClientResponse, expected: str) -> Rejected:
        body = await self._body(response, SMALL_ANSWER)
        if response.status >= 400:
            return self._worded(response, _problem(body) if "json" in response.content_type else {})
        if 300 <= response.status < 400:
            return Rejected(f"{self._who()} answered {_step(response)} with a redirect; register the final address.")
        return Rejected(
            f"{self._who()} answered {response.content_type} at {_step(response)}, not {expected}. "
            "Is the address right?"
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
            raise Rejected(f"{self._who()} sent more than {longest:,} bytes at {_step(response)}.")
        return b"".join(chunks)

    def _worded(self, response: aiohttp.ClientResponse, problem: Mapping[str, Any]) -> Rejected:
        status = response.status
        code = str(problem.get("type", "")).rpartition(":")[2]
        if status == 401:
            text = f"{self._who()} does not accept the token."
        else:
            detail = printable(str(problem.get("detail") or problem.get("title") or "")[:200]).rstrip(".")
            text = f"{self._who()} answered {status} at {_step(response)}{': ' + detail if detail else ''}."
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
            connector = aiohttp.TCPConnector(
                resolver=self.resolver,
                ssl=self.ssl_context,
                limit=0,
                use_dns_cache=False,
                socket_factory=self._socket,
            )
            self._http = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=True,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=TIMEOUT,
                headers=HEADERS,
            )
        return self._http

    def _who(self) -> str:
        return self.opened.address

    @property
    def lease_left(self) -> float:
        """Seconds in which something may still be said."""
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
        there = _date(date)
        if there is None:
            return
        now = time.monotonic()
        lower = (there - self._database_time(now)).total_seconds()
        if abs(lower) > FURTHEST_OFF:
            return
        upper = (there - self._database_time(began)).total_seconds() + DATE_RESOLUTION
        known = self.clock_offset
        if known is None or not lower <= known <= upper:
            self.clock_offset = lower


@lru_cache(maxsize=64)  # whoever answers within the same second says the same
def _date(header: str) -> datetime | None:
    """The instant of a Date header, or None when it is none."""
    try:
        told = parsedate_to_datetime(header)
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _step(response: aiohttp.ClientResponse) -> str:
    """The call that this answers. Several calls of one contact may be under way at once."""
    return f"{response.method} {response.url.path.partition(API)[2]}"


def _data(body: bytes | None) -> bytes | AsyncIterator[bytes] | None:
    """A body as it is sent: a large one piece by piece, so that others on this event loop have their turn."""
    return body if body is None or len(body) <= PIECE else _pieces(body)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), PIECE):
        yield view[start : start + PIECE]  # type: ignore[misc]  # aiohttp takes any buffer


def _content_range(given: str) -> tuple[int, int, int]:
    """First byte, last byte and size of the whole, or what is no part of anything."""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", given, re.ASCII)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (-1, -1, 0)


def _etag(response: aiohttp.ClientResponse) -> str:
    """The answer's ETag, or "" when it is none that could be kept."""
    etag = response.headers.get("ETag", "")
    return etag if len(etag) <= LONGEST_ETAG and etag.isascii() and etag.isprintable() else ""


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
