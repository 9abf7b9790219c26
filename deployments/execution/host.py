"""Carrying out plans: which work a plan needs next, and the host that does it for many plans at once.

A plan advances by stages; a host claims it for one stage, carries that out, and stores what came of it. Every stage may
be done twice, so a worker that dies costs the stage that it was in. A host is one task of the queue: it takes whatever
has something to do, and gives way to another task before the queue would end it.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
import uvloop
from django.conf import settings
from django.db import DataError, IntegrityError
from django.db import Error as DatabaseError
from django.utils import timezone

from deployments import plans
from deployments.execution import claims, following, outcomes, retrieving, stopping, synchronizing
from deployments.execution.claims import LostClaim
from deployments.execution.outcomes import Failed, GoOn, Outcome
from deployments.execution.work import Work, in_database
from deployments.models import DeploymentPlan, PlanStatus, Remote, StepName
from environments import gate
from lifetime.queue import enqueue

logger = logging.getLogger(__name__)

TOGETHER = 25  # plans in the hands of one host
LOOK_SECONDS = 0.25
TAKEN_WITHIN = 1.0  # seconds; what nobody has taken up by then needs another host
TAKING_SECONDS = 60.0  # then the host takes no more, so that what is queued behind it gets its turn
LONGEST = 200.0  # seconds, then it lets go of what it has; the queue ends whoever takes 300
IDLE_SECONDS = 10.0  # that it waits for what is to be tried again in a moment
TROUBLE_SECONDS = 5.0  # until a target that cannot be reached is tried again
BUSY_SECONDS = 15.0  # until a target that has no room for another deployment is asked again
GIVEN_UP_AFTER = 900.0  # seconds of trouble, after which a plan is aborted

Stage = Callable[[Work], Awaitable[Outcome]]


def advance() -> None:
    """Carry out what there is to do with plans. Run twice at once, each plan is in one host's hands."""
    uvloop.run(_Host().run())


def stage(plan: DeploymentPlan) -> Stage:
    """What the plan needs next."""
    if plan.status in (PlanStatus.ABORTING, PlanStatus.ABORTED):
        return stopping.carry_out
    if plan.step == StepName.SYNCHRONIZING and plan.remote == Remote.ENDED:
        return synchronizing.carry_out
    if plan.remote == Remote.STARTED:
        return following.carry_out
    return retrieving.carry_out


@dataclass(frozen=True)
class _Hosted:
    """A plan in the host's hands: its state when it was taken. What is only followed, another host can go on with."""

    status: str
    only_follows: bool
    task: asyncio.Task[None]


class _Host:
    def __init__(self) -> None:
        self.key = uuid.uuid4()
        self._hosted: dict[int, _Hosted] = {}  # by plan
        self._began = time.monotonic()

    async def run(self) -> None:
        if not await self._is_needed():
            return
        self._began = time.monotonic()
        async with gate.session() as session:
            try:
                await self._look_after(session)
            finally:
                await self._let_go()
        if time.monotonic() - self._began >= TAKING_SECONDS and await in_database(claims.is_left):
            await in_database(enqueue, plans.ADVANCE)

    async def _is_needed(self) -> bool:
        """Whether the hosts that there are leave something undone; a worker is left for what is not about plans."""
        enough = max(1, int(settings.Q_CLUSTER["workers"]) - 1)
        ends = time.monotonic() + TAKEN_WITHIN
        while await in_database(claims.is_due):
            if await in_database(claims.count_hosts) < enough or time.monotonic() > ends:
                return True  # the others are full, about to end, or dead
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def _look_after(self, session: gate.Session) -> None:
        idle_since = time.monotonic()
        while (lasted := time.monotonic() - self._began) < LONGEST:
            try:
                if lasted < TAKING_SECONDS:
                    await self._take(session)
                await self._renew()
            except DatabaseError as error:
                logger.warning("The plans are left as they are for a moment: %s", error)
            if self._hosted:
                idle_since = time.monotonic()
                tasks = [one.task for one in self._hosted.values()]
                await asyncio.wait(tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            elif lasted >= TAKING_SECONDS or time.monotonic() - idle_since > IDLE_SECONDS:
                return
            elif await in_database(claims.is_left):  # what has to wait a moment
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return

    async def _take(self, session: gate.Session) -> None:
        for plan in await in_database(claims.take, self.key, limit=TOGETHER - len(self._hosted)):
            work = Work(plan=plan, host=self.key, session=session)
            task = asyncio.create_task(self._carry_out(work))
            self._hosted[plan.pk] = _Hosted(plan.status, stage(plan) is following.carry_out, task)

    async def _renew(self) -> None:
        """Renew the claims; what was lost or aborted meanwhile, or may be left to the next host, is cancelled."""
        if not self._hosted:
            return
        held = await in_database(claims.renew, self.key, list(self._hosted))
        is_over = time.monotonic() - self._began >= TAKING_SECONDS
        for plan_id, one in list(self._hosted.items()):
            if held.get(plan_id) != one.status or (is_over and one.only_follows):
                one.task.cancel()

    async def _carry_out(self, work: Work) -> None:
        plan = work.plan
        try:
            try:
                outcome = await _attempt(work)
            except asyncio.CancelledError:
                await in_database(claims.release, self.key, plan.pk)
                return
            await in_database(outcomes.store, plan.pk, self.key, outcome)
        except LostClaim:
            await in_database(claims.release, self.key, plan.pk)  # aborted meanwhile: its turn comes anew
        except Exception:
            logger.exception("What came of %s could not be stored", plan)
        finally:
            del self._hosted[plan.pk]

    async def _let_go(self) -> None:
        while self._hosted:
            for one in list(self._hosted.values()):
                one.task.cancel()
            await asyncio.wait([one.task for one in self._hosted.values()], timeout=LOOK_SECONDS)


async def _attempt(work: Work) -> Outcome:
    """One stage, with what stands in its way put into words."""
    plan = work.plan
    if plan.attempts > claims.TAKEN_UP_AT_MOST:
        times = claims.TAKEN_UP_AT_MOST
        return Failed(f"The workers that carried it out stopped answering, {times} times. Look at them, then retry.")
    try:
        return await stage(plan)(work)
    except LostClaim:
        raise
    except (DataError, IntegrityError):
        logger.exception("%s: something that cannot be stored", plan)
        return Failed("An environment answered something that cannot be stored; the console's log has the details.")
    except (DatabaseError, psycopg.Error) as error:
        logger.warning("%s is left for a moment: %s", plan, error)
        return GoOn(seconds=1.0)  # PostgreSQL was restarted, say; nothing can be said of the plan
    except gate.NotRegistered:
        return Failed(await in_database(_not_registered, plan), is_lost=not plan.target.is_registered)
    except (gate.Refused, gate.CalledOff):
        return GoOn(seconds=1.0)  # maintenance mode has aborted it by now; or only the lease was lost: again, then
    except retrieving.Busy as trouble:
        return _in_trouble(plan, str(trouble), seconds=BUSY_SECONDS)
    except gate.Unreachable as trouble:
        return _in_trouble(plan, str(trouble))
    except gate.Rejected as rejection:
        is_passing = rejection.is_about_contact or rejection.status >= 500
        return _in_trouble(plan, str(rejection)) if is_passing else Failed(str(rejection))
    except Exception:
        logger.exception("%s failed", plan)
        return Failed("The console made a mistake here; its log has the details. Report it.")


def _in_trouble(plan: DeploymentPlan, trouble: str, *, seconds: float | None = None) -> Outcome:
    since = plan.trouble_since
    if since is not None and (timezone.now() - since).total_seconds() > GIVEN_UP_AFTER:
        return Failed(f"{trouble} It was tried for {GIVEN_UP_AFTER / 60:.0f} minutes.")
    return GoOn(seconds=TROUBLE_SECONDS if seconds is None else seconds, trouble=trouble)


def _not_registered(plan: DeploymentPlan) -> str:
    for environment in plan.environments:
        environment.refresh_from_db(fields=["registration", "unregistered_at", "unregistered_by"])
    gone = [one for one in plan.environments if not one.is_registered]
    return " ".join(
        f"{one} is not registered any more: {one.unregistered_by} removed it on {one.unregistered_at:%d %b %H:%M} UTC."
        for one in gone
    )
