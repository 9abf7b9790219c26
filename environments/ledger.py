"""The ledger of contacts, as the gate writes it: admission, renewal and closing, each one statement for a whole batch.

Every statement commits by itself, on the database's clock. Admission takes the environment's row `FOR SHARE`; enabling
maintenance mode takes it `FOR NO KEY UPDATE`. So a contact is either committed before the window, and seen by it, or
refused.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from django.db import connection

from environments.batching import Batcher
from environments.models import Outcome, Purpose

logger = logging.getLogger(__name__)

CHANNEL = "environments_gate"
WORKER = socket.gethostname()[:120]
Result = TypeVar("Result")

OPEN = """
WITH wanted AS (
    SELECT *, nextval('environments_contact_id_seq') AS id
    FROM unnest(%(environments)s::bigint[], %(purposes)s::text[], %(sync_runs)s::bigint[], %(plans)s::int[])
        WITH ORDINALITY AS w(environment_id, purpose, sync_run_id, plan_number, item)
), locked AS (
    SELECT id, epoch, address, sealed_token, registration, maintenance_window_id FROM environments_environment
    WHERE id = ANY(%(environments)s) ORDER BY id FOR SHARE
), opened AS (
    INSERT INTO environments_contact
        (id, environment_id, epoch, purpose, sync_run_id, plan_number, worker, pid, opened_at, expires_at)
    SELECT w.id, w.environment_id, l.epoch, w.purpose, w.sync_run_id, w.plan_number, %(worker)s, %(pid)s,
           clock_timestamp(), clock_timestamp() + make_interval(secs => %(lease)s)
    FROM wanted w JOIN locked l ON l.id = w.environment_id
    WHERE l.maintenance_window_id IS NULL
      AND (l.registration = 'registered' OR w.purpose = 'register' AND l.registration = 'checking')
    RETURNING id, epoch, opened_at
)
SELECT w.item, o.id, o.epoch, o.opened_at, l.address, l.sealed_token, l.maintenance_window_id, s.clock_offset
FROM wanted w
LEFT JOIN locked l ON l.id = w.environment_id
LEFT JOIN opened o ON o.id = w.id
LEFT JOIN environments_syncstate s ON s.environment_id = w.environment_id
"""

RENEW = """
UPDATE environments_contact c
SET expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
    step = v.step, calls = v.calls, bytes_sent = v.sent, bytes_received = v.received
FROM unnest(%(ids)s::bigint[], %(steps)s::text[], %(calls)s::int[], %(sent)s::bigint[], %(received)s::bigint[])
         AS v(id, step, calls, sent, received),
     environments_environment e
WHERE c.id = v.id AND e.id = c.environment_id AND c.closed_at IS NULL AND e.epoch = c.epoch
RETURNING c.id, extract(epoch FROM c.expires_at - clock_timestamp())::float8 AS remaining
"""

CLOSE = """
UPDATE environments_contact c
SET closed_at = CASE WHEN v.outcome = '' THEN NULL ELSE clock_timestamp() END, outcome = v.outcome,
    expires_at = CASE WHEN v.outcome = '' THEN LEAST(c.expires_at, clock_timestamp() + make_interval(secs => v.rest))
                      ELSE c.expires_at END,
    step = v.step, calls = v.calls, bytes_sent = v.sent, bytes_received = v.received
FROM unnest(%(ids)s::bigint[], %(outcomes)s::text[], %(steps)s::text[], %(calls)s::int[], %(sent)s::bigint[],
            %(received)s::bigint[], %(rests)s::float8[]) AS v(id, outcome, step, calls, sent, received, rest),
     environments_environment e
WHERE c.id = v.id AND c.closed_at IS NULL AND e.id = c.environment_id
RETURNING c.id, e.maintenance_window_id IS NOT NULL AS is_awaited
"""


# PostgreSQL had ended the connection before it heard the statement: to say it again says it once.
ENDED_BEFORE = (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown, psycopg.errors.CannotConnectNow)


class Refused(Exception):
    """The gate does not admit this contact now. The text is for people."""


class InMaintenance(Refused):
    """The environment is in maintenance mode."""


class NotRegistered(Refused):
    """The environment is not, or no longer, registered."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    environment_id: int
    purpose: Purpose
    sync_run_id: int | None = None
    plan_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An admitted contact. `asked_at` is this machine's monotonic clock before it was asked for: counting the lease
    from there can only make it seem shorter than it is."""

    id: int
    environment_id: int
    epoch: int
    opened_at: datetime
    lease: float
    asked_at: float
    address: str
    sealed_token: str
    clock_offset: float | None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a contact has done so far, for the ledger."""

    id: int
    step: str
    calls: int
    sent: int
    received: int
    outcome: Outcome | str = ""
    rest: float = 0.0  # seconds that the far side may still be serving an unanswered request; with outcome ""


class Ledger:
    """One worker's connections to the ledger. Admission may wait for a row lock, so it has a connection of its own:
    renewing and closing never wait behind it."""

    def __init__(self, *, lease: float) -> None:
        self._lease = lease
        self._connections: dict[str, psycopg.AsyncConnection[dict[str, Any]]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._openings: Batcher[Wanted, Opened] = Batcher(self._open)
        self._closings: Batcher[Standing, bool] = Batcher(self._close)

    async def open(self, wanted: Wanted) -> Opened:
        """Admit one contact; raises InMaintenance or NotRegistered."""
        return await self._openings.submit(wanted)

    async def close(self, standing: Standing) -> bool:
        """End a contact, or with outcome "" leave it to its lease; answers whether a window may be waiting for it."""
        return await self._closings.submit(standing)

    async def renew(self, standings: Sequence[Standing]) -> dict[int, float]:
        """Renew the leases of contacts that may go on; answers their seconds left. One not named was called off."""
        if not standings:
            return {}
        parameters = {**_columns(standings), "lease": self._lease}
        rows = await self._execute("desk", RENEW, parameters, attempts=1)
        return {row["id"]: row["remaining"] for row in rows}

    async def connect(self) -> None:
        """Connect beforehand; what fails now is tried again when it is needed."""
        with suppress(psycopg.OperationalError):
            names = ("door", "desk")
            made = await asyncio.gather(*(connect(name) for name in names))
            self._connections.update(zip(names, made, strict=True))

    async def aclose(self) -> None:
        await self._openings.aclose()
        await self._closings.aclose()
        for held in self._connections.values():
            await held.close()

    async def _open(self, wanted: Sequence[Wanted]) -> list[Opened | Exception]:
        parameters = {
            "environments": [one.environment_id for one in wanted],
            "purposes": [one.purpose for one in wanted],
            "sync_runs": [one.sync_run_id for one in wanted],
            "plans": [one.plan_number for one in wanted],
            "worker": WORKER,
            "pid": os.getpid(),
            "lease": self._lease,
        }
        asked_at = time.monotonic()
        # An INSERT whose connection broke may have been committed: it is not repeated, its row ends as lost.
        rows = await self._execute("door", OPEN, parameters, attempts=1)
        answers = {row["item"]: row for row in rows}
        return [self._admit(answers[item], one, asked_at) for item, one in enumerate(wanted, start=1)]

    def _admit(self, row: dict[str, Any], wanted: Wanted, asked_at: float) -> Opened | Exception:
        if row["id"] is None:
            if row["maintenance_window_id"] is not None:
                return InMaintenance("The environment is in maintenance mode.")
            return NotRegistered("The environment is not registered.")
        return Opened(
            id=row["id"],
            environment_id=wanted.environment_id,
            epoch=row["epoch"],
            opened_at=row["opened_at"],
            lease=self._lease,
            asked_at=asked_at,
            address=row["address"],
            sealed_token=row["sealed_token"],
            clock_offset=row["clock_offset"],
        )

    async def _close(self, standings: Sequence[Standing]) -> list[bool | Exception]:
        rows = await self._execute("desk", CLOSE, _columns(standings), attempts=8)
        awaited = {row["id"] for row in rows if row["is_awaited"]}
        return [standing.id in awaited for standing in standings]

    async def _execute(self, name: str, sql: str, parameters: dict[str, Any], *, attempts: int) -> list[dict[str, Any]]:
        """Run one statement, again on a new connection when the old one broke (the server was restarted)."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        for attempt in range(1, max(attempts, 2) + 1):
            try:
                async with lock:
                    held = self._connections.get(name)
                    if held is None or held.closed:
                        held = self._connections[name] = await connect(name)
                    cursor = await held.execute(sql, parameters)
                    return await cursor.fetchall()
            except psycopg.OperationalError as error:
                if broken := self._connections.pop(name, None):
                    await broken.close()
                if attempt >= attempts and not (attempt == 1 and isinstance(error, ENDED_BEFORE)):
                    raise
                logger.warning("The ledger's database connection broke (%s); trying again", error)
                await asyncio.sleep(min(0.1 * 2**attempt, 2.0))
        raise AssertionError("unreachable")


def _columns(standings: Sequence[Standing]) -> dict[str, list[Any]]:
    return {
        "ids": [one.id for one in standings],
        "outcomes": [str(one.outcome) for one in standings],
        "steps": [one.step[:200] for one in standings],
        "calls": [one.calls for one in standings],
        "sent": [one.sent for one in standings],
        "received": [one.received for one in standings],
        "rests": [one.rest for one in standings],
    }


def close_lost() -> None:
    """Close every contact whose lease has run out; its worker died or hangs."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE environments_contact SET closed_at = clock_timestamp(), outcome = 'lost' WHERE id IN "
            "(SELECT id FROM environments_contact WHERE closed_at IS NULL AND expires_at < clock_timestamp() "
            "ORDER BY id FOR UPDATE SKIP LOCKED)"
        )


def prune() -> None:
    """Forget contacts after `LEDGER_DAYS`, some thousands at a time. Those with any instant inside a window are kept:
    the window's certificate counts them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM environments_contact WHERE id IN (SELECT c.id FROM environments_contact c "
            "WHERE c.opened_at < clock_timestamp() - make_interval(days => %s) AND c.closed_at IS NOT NULL "
            "AND NOT EXISTS (SELECT FROM environments_maintenancewindow w WHERE w.environment_id = c.environment_id "
            "AND c.closed_at >= w.enabled_at AND c.opened_at < coalesce(w.disabled_at, 'infinity')) "
            "ORDER BY c.id LIMIT 10000)",
            [settings.LEDGER_DAYS],
        )


async def connect(name: str) -> psycopg.AsyncConnection[dict[str, Any]]:
    """A direct connection of this worker, outside Django's, in autocommit; `name` is seen in pg_stat_activity."""
    parameters = connection.get_connection_params()
    known = ("dbname", "user", "password", "host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "options")
    return await psycopg.AsyncConnection[dict[str, Any]].connect(
        **{name: parameters[name] for name in known if parameters.get(name)},
        autocommit=True,
        row_factory=psycopg.rows.dict_row,
        application_name=f"lifetime gate {name} {os.getpid()}",
        connect_timeout=5,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
    )


async def listen(heard: Callable[[str], Awaitable[None]]) -> None:
    """Call `heard` with the payload of each notification of the gate, for ever; reconnects. "" after each connect:
    what was said while nobody listened is unknown."""
    while True:
        try:
            async with await connect("ear") as ear:
                await ear.execute(f"LISTEN {CHANNEL}")
                await heard("")
                async for notification in ear.notifies():
                    await heard(notification.payload)
        except psycopg.OperationalError as error:
            logger.warning("The gate's listening connection broke (%s)", error)
        await asyncio.sleep(0.2)
