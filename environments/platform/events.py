"""Telling the console that something was published here: signed, repeated until it is heard, each event once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit
from uuid import uuid4

from environments.platform import clock
from environments.platform.canonical import canonical

if TYPE_CHECKING:
    from environments.platform.environment import Environment
    from environments.platform.store import Store

ANSWER_SECONDS = 10
LONGEST_PAUSE = 300.0
GIVEN_UP_SECONDS = 24 * 3600.0
AT_ONCE = 8
UNWANTED = (404, 409, 410)


class Due(NamedTuple):
    id: str
    environment: int
    body: bytes
    created_at: float
    attempts: int


def tell(environment: Environment, kind: str, application: Mapping[str, Any], *, by: str) -> None:
    """Inside `changes`: queue an event, instead of older news about the same application."""
    settings = environment.values["settings"]
    if not settings["lifetime_address"] or not settings.get("environment_key"):
        return
    event = {
        "id": str(uuid4()),
        "type": kind,
        "environment_key": settings["environment_key"],
        "at": clock.text(environment.now()),
        "application_key": application["key"],
        "application": application["name"],
        "by": by,
        "applications": environment.cursor(environment.sequence),
    }
    now = clock.now()
    environment.store.write(
        "UPDATE event SET outcome = 'replaced' WHERE environment = ? AND application = ? AND type = ? AND outcome = ''",
        environment.id,
        application["key"],
        kind,
    )
    environment.store.write(
        "INSERT INTO event (id, environment, application, type, body, created_at, next_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        event["id"],
        environment.id,
        application["key"],
        kind,
        canonical(event),
        now,
        now,
    )
    if environment.courier is not None:
        environment.courier.wake()


def signature(token: bytes, body: bytes, *, at: int) -> str:
    signed = hmac.new(token, b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


class Courier:
    """Carries the events of all environments of a process."""

    def __init__(self, store: Store, environments: Mapping[int, Environment], token: bytes) -> None:
        self._store = store
        self._environments = environments
        self._token = token
        self._woken = asyncio.Event()
        for environment in environments.values():
            environment.courier = self

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """For ever: deliver what is due, then sleep until something is, or until it is woken."""
        while True:
            self._woken.clear()
            due = self._due()
            if due:
                await asyncio.gather(*(self._deliver(event) for event in due))
                continue
            self._forget()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._woken.wait()

    def _due(self) -> list[Due]:
        rows = self._store.rows(
            "SELECT id, environment, body, created_at, attempts FROM event WHERE outcome = '' AND next_at <= ?"
            " ORDER BY next_at LIMIT ?",
            clock.now(),
            AT_ONCE,
        )
        return [Due(*row) for row in rows]

    def _pause(self) -> float:
        row = self._store.row("SELECT min(next_at) FROM event WHERE outcome = ''")
        return 60.0 if row is None or row[0] is None else min(60.0, max(0.01, row[0] - clock.now()))

    def _forget(self) -> None:
        self._store.write(
            "DELETE FROM event WHERE outcome != '' AND created_at < ?", clock.now() - 2 * GIVEN_UP_SECONDS
        )

    async def _deliver(self, event: Due) -> None:
        environment = self._environments.get(event.environment)
        address = environment.values["settings"]["lifetime_address"] if environment else ""
        if environment is None or not address:
            self._close(event, "unwanted")
            return
        key = json.loads(event.body)["environment_key"]
        url = f"{address.rstrip('/')}/environments/{quote(key, safe='')}/events/"
        signed = signature(self._token, event.body, at=int(environment.now()))
        try:
            status = await _post(url, event.body, signed)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            status = 0
        if 200 <= status < 300:
            self._close(event, "delivered")
        elif status in UNWANTED:
            self._close(event, "unwanted")
        elif clock.now() - event.created_at > GIVEN_UP_SECONDS:
            self._close(event, "given up")
        else:
            self._store.write(
                "UPDATE event SET attempts = attempts + 1, next_at = ? WHERE id = ? AND outcome = ''",
                clock.now() + min(LONGEST_PAUSE, 2.0 ** min(event.attempts, 16)),
                event.id,
            )

    def _close(self, event: Due, outcome: str) -> None:
        self._store.write("UPDATE event SET outcome = ? WHERE id = ?", outcome, event.id)


async def _post(url: str, body: bytes, signed: str) -> int:
    """The status of the answer. On the event loop, so that a console that never answers holds nothing else up."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch("[!-~]+", url):
        raise ValueError(f"{url!r} is no address")
    is_secure = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or (443 if is_secure else 80)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nLifetime-Signature: {signed}\r\nConnection: close\r\n\r\n"
    )
    async with asyncio.timeout(ANSWER_SECONDS):
        context = ssl.create_default_context() if is_secure else None
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
        try:
            writer.write(head.encode() + body)
            await writer.drain()
            found = re.match(rb"HTTP/1\.[01] ([2-5]\d\d)", await reader.readuntil(b"\r\n"))
            return int(found[1]) if found else 0
        finally:
            writer.close()
