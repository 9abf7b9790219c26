"""The gate: the one way by which the console speaks to an environment.

A contact is a bounded conversation with one environment, for one purpose, by one worker, and a row of the ledger. The
gate admits it unless maintenance mode is on, renews its lease while it lives, and cancels it when it is called off.

A task opens one session and any number of contacts in it::

    async with gate.session() as session:
        async with session.contact(environment.pk, Purpose.SYNC, sync_run_id=run.pk) as client:
            answer = await client.get("/facts")
"""

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import cast

import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections, connection

from environments import ledger, quiet
from environments.batching import Batcher
from environments.client import LONGEST_PART, Answer, Client, GuardedResolver, Part, Rejected, Unreachable
from environments.ledger import InMaintenance, Ledger, NotRegistered, Refused, Standing, Wanted
from environments.models import Outcome, Purpose

__all__ = [
    "LONGEST_PART",
    "Answer",
    "CalledOff",
    "Client",
    "InMaintenance",
    "NotRegistered",
    "Part",
    "Refused",
    "Rejected",
    "Session",
    "Unreachable",
    "hang_up",
    "session",
]

logger = logging.getLogger(__name__)
Farewell = Callable[[Client], Awaitable[None]]

RENEW_SECONDS = 1.0
GRACE_SECONDS = 2.0  # how long a contact that was called off may take to tell the environment to stop
LET_GO_SECONDS = 0.1  # what a farewell gets that is cut, to put its things away
NAMED_AT_MOST = 500  # environments in one notification; more are told to look for themselves


class CalledOff(Exception):
    """This contact was cancelled: maintenance mode was enabled, or its lease was lost."""

    def __init__(self, environment_id: int) -> None:
        super().__init__("The contact was called off.")
        self.environment_id = environment_id


@dataclass
class _Live:
    client: Client
    task: asyncio.Task[object]
    farewell: Farewell | None = None
    is_called_off: bool = False
    is_ending: bool = False

    @property
    def environment_id(self) -> int:
        return self.client.opened.environment_id

    def call_off(self) -> None:
        if not self.is_called_off and not self.is_ending:
            self.is_called_off = True
            self.task.cancel()

    def standing(self, outcome: Outcome | str = "", rest: float = 0.0) -> Standing:
        client = self.client
        return Standing(
            id=client.opened.id,
            step=client.step,
            calls=client.calls,
            sent=client.sent,
            received=client.received,
            outcome=outcome,
            rest=rest,
        )


class Session:
    """One task's contacts, with what keeps them honest: a listener for hang-ups and a renewal every second."""

    def __init__(self, *, lease: float, ssl_context: ssl.SSLContext) -> None:
        self._ledger = Ledger(lease=lease)
        self._lease = lease
        self._ssl_context = ssl_context
        self._resolver = GuardedResolver()
        self._live: dict[int, _Live] = {}
        self._hang_ups: Counter[int] = Counter()  # by environment; under 0 those that named none
        self.is_listening = asyncio.Event()
        self._settlements: Batcher[int, None] = Batcher(_settle)

    @asynccontextmanager
    async def contact(
        self,
        environment_id: int,
        purpose: Purpose,
        *,
        sync_run_id: int | None = None,
        plan_number: int | None = None,
        farewell: Farewell | None = None,
    ) -> AsyncIterator[Client]:
        """Yield a client of an environment that the console may talk to now.

        Raises InMaintenance or NotRegistered without contact, CalledOff when the contact was cancelled in the body,
        and lets through Unreachable and Rejected, which the client's calls raise.

        `farewell` is awaited with the client when the contact is called off, or ends when it should have been, and then
        only: what goes on in the environment can be told to stop, within GRACE_SECONDS. Whether that was heard is for
        it to remember.
        """
        wanted = Wanted(
            environment_id=environment_id, purpose=purpose, sync_run_id=sync_run_id, plan_number=plan_number
        )
        hang_ups = self._heard_of(environment_id)
        opened = await self._ledger.open(wanted)
        task = cast("asyncio.Task[object]", asyncio.current_task())
        live = self._live[opened.id] = _Live(Client(opened, self._ssl_context, self._resolver), task, farewell)
        try:
            async with self._ending(live):
                if hang_ups != self._heard_of(environment_id):
                    await self.renew()  # a hang-up came between the admission and here: the ledger knows whom it meant
                yield live.client
            if live.is_called_off:
                raise CalledOff(environment_id)  # noqa: TRY301 - the body went on regardless of its cancellation
        except (asyncio.CancelledError, Exception):
            if not live.is_called_off or task.uncancel() > 0:
                raise
            raise CalledOff(environment_id) from None  # whatever the body made of its cancellation

    @asynccontextmanager
    async def _ending(self, live: _Live) -> AsyncIterator[None]:
        outcome = Outcome.COMPLETED
        try:
            yield
        except (asyncio.CancelledError, CalledOff):  # called off may be another contact of the same work
            outcome = Outcome.ABORTED
            raise
        except Exception:
            outcome = Outcome.FAILED
            raise
        finally:
            live.is_ending = True
            await _finish(self._end(live, outcome))

    async def _end(self, live: _Live, outcome: Outcome) -> None:
        """Close the sockets, make sure that the far side serves nothing more of this contact, close its row."""
        client = live.client
        try:
            await client.hang_up()
            is_called_off = live.is_called_off
            if live.farewell is not None and (is_called_off or await self._is_to_be_called_off(live)):
                is_called_off = True
                await self._say_farewell(client, live.farewell)
            if is_called_off:
                outcome = Outcome.ABORTED
            await client.end()
            standing = live.standing(outcome)
            if client.unanswered and not await self._say_goodbye(client):
                # What the far side does is unknown until the deadline of the last call; the row stays open until then.
                rest = max(0.0, max(client.unanswered.values()) - time.monotonic())
                standing = live.standing("", rest)
            is_awaited = await self._ledger.close(standing)
        except Exception as error:  # the contact's own outcome is what its caller hears
            logger.warning("Contact %s is left to its lease: %s", client.opened.id, error)
            is_awaited = False
        finally:
            del self._live[client.opened.id]
        if is_awaited and not any(one.environment_id == live.environment_id for one in self._live.values()):
            try:
                await self._settlements.submit(live.environment_id)
            except Exception as error:  # others settle, too
                logger.warning("Environment %s was not settled here: %s", live.environment_id, error)

    async def _is_to_be_called_off(self, live: _Live) -> bool:
        """Whether the news is only late: what enabling maintenance mode changes besides may be seen first, and lead the
        contact's owner to leave it."""
        try:
            return live.client.opened.id not in await self._ledger.renew([live.standing()])
        except psycopg.Error:
            return False

    async def _say_farewell(self, client: Client, farewell: Farewell) -> None:
        """Let the contact's owner tell the environment to stop; neither trouble nor slowness of it goes further."""
        step = client.step  # where the contact was cut
        seconds = min(GRACE_SECONDS, max(0.0, client.lease_left / 2))  # the goodbye needs some of the lease, too
        with client.within(seconds):
            task = asyncio.ensure_future(farewell(client))
            await asyncio.wait({task}, timeout=seconds)
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=LET_GO_SECONDS)
        if not task.done() or task.cancelled():
            logger.warning("Contact %s: its farewell took longer than %.1f s", client.opened.id, seconds)
        elif error := task.exception():
            logger.warning("Contact %s: its farewell failed: %s", client.opened.id, error)
        client.step = step
        await client.hang_up()

    async def _say_goodbye(self, client: Client) -> bool:
        try:
            await client.say_goodbye(seconds=GRACE_SECONDS)
        except Exception as error:  # whatever it is, nobody has confirmed anything
            logger.warning("Contact %s: no goodbye: %s", client.opened.id, error)
            return False
        finally:
            await client.hang_up()
        return True

    async def heard(self, payload: str) -> None:
        """A notification came: environments to hang up on, or "" to look at the ledger for oneself."""
        self.is_listening.set()
        named = {int(part) for part in payload.split(",")} if payload else {0}
        self._hang_ups.update(named)
        if payload:
            for live in list(self._live.values()):
                if live.environment_id in named:
                    live.call_off()
        else:
            await self.renew()

    def _heard_of(self, environment_id: int) -> tuple[int, int]:
        return self._hang_ups[environment_id], self._hang_ups[0]

    async def renew(self) -> None:
        """Renew every lease; call off each contact whose lease was not renewed, for the same news came this way."""
        standings = [live.standing() for live in self._live.values() if not live.is_called_off and not live.is_ending]
        asked_at = time.monotonic()
        remaining = await self._ledger.renew(standings)
        for standing in standings:
            live = self._live.get(standing.id)
            if live is None:
                continue
            if standing.id in remaining:
                live.client.renewed(asked_at=asked_at, lease=remaining[standing.id])
            else:
                live.call_off()

    async def keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew()
            except psycopg.Error as error:
                logger.warning("No lease could be renewed: %s", error)
                self._call_off_the_nearly_over()

    def _call_off_the_nearly_over(self) -> None:
        """Without the database nobody can renew: stop in time to say goodbye within the lease."""
        for live in list(self._live.values()):
            if live.client.lease_ends - time.monotonic() < 2 * GRACE_SECONDS:
                live.call_off()

    async def connect(self) -> None:
        """Connect to the ledger beforehand, so that the first contact need not wait for it."""
        await self._ledger.connect()

    async def aclose(self) -> None:
        """Call off what is left, wait until it has ended, then let go of the database."""
        while self._live:
            for live in list(self._live.values()):
                if not live.is_called_off:
                    live.farewell = None  # whoever opened the session leaves; nobody asked the environment to stop
                    live.call_off()
            await asyncio.sleep(0.01)
        await self._settlements.aclose()
        await self._ledger.aclose()


@asynccontextmanager
async def session(*, lease: float | None = None) -> AsyncIterator[Session]:
    """A worker's session at the gate; `lease` in seconds, from the settings when not given."""
    one = Session(lease=lease or float(settings.LEASE_SECONDS), ssl_context=_ssl_context())
    ears = [asyncio.create_task(ledger.listen(one.heard)), asyncio.create_task(one.keep_renewing())]
    try:
        await asyncio.gather(one.is_listening.wait(), one.connect())
        yield one
    finally:
        await _finish(one.aclose())
        for ear in ears:
            ear.cancel()
            with suppress(asyncio.CancelledError):
                await ear
        # The thread's connection is kept for the next session, which checks it: a new one costs as much as 20 contacts.
        await sync_to_async(close_old_connections)()


@cache
def _ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()  # reads every certificate of the machine: once a process


def hang_up(environment_ids: Iterable[int]) -> None:
    """Cut every contact with these environments: a notification to all workers that leaves with the commit."""
    ids = list(environment_ids)
    payload = ",".join(map(str, ids)) if len(ids) <= NAMED_AT_MOST else ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [ledger.CHANNEL, payload])


async def _settle(environment_ids: Sequence[int]) -> Sequence[None]:
    """Whoever closes the last contact certifies the quiet; contacts that end together are settled together."""
    await sync_to_async(quiet.settle)(environment_ids)
    return [None] * len(environment_ids)


async def _finish(work: Coroutine[object, object, None]) -> None:
    """Await a coroutine to its end even when this task is cancelled meanwhile; the cancellation follows afterwards."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled:
        raise cancelled
