"""The last step: the console takes over what the target has now. Only then is a plan finished."""

import asyncio
import time

from audit import log
from deployments.execution import progress
from deployments.execution.outcomes import Done, Outcome
from deployments.execution.work import Work, in_database
from deployments.models import StepName
from environments import ledger, sync
from environments.models import SyncRun, SyncStatus, SyncTrigger

PAUSE = 0.1
LOOK_FOR_DEAD = 2.0  # seconds between two looks whether the other worker still lives
ACTIVE = (SyncStatus.QUEUED, SyncStatus.RUNNING)
AT_MOST = 3  # synchronizations that were under way already and may have looked too early


async def carry_out(work: Work) -> Outcome:
    await in_database(progress.begin_step, work.plan.pk, work.host, StepName.SYNCHRONIZING)
    run = await in_database(_request, work)
    for _ in range(AT_MOST):
        looked_too_early = run.status == SyncStatus.RUNNING
        run = await _ended(work, run)
        if not looked_too_early:
            break
        run = await in_database(_request, work)
    if run.status == SyncStatus.FINISHED:
        return Done()
    return Done(f"{work.plan.target} was deployed to, but not synchronized: {run.message} Synchronize it again.")


def _request(work: Work) -> SyncRun:
    by = log.Actor(name=work.plan.started_by, username=work.plan.started_by_username)
    return sync.request(work.plan.target, trigger=SyncTrigger.DEPLOYMENT, by=by, is_full=False)


async def _ended(work: Work, run: SyncRun) -> SyncRun:
    """Carry it out, unless another worker was faster; wait until it is over, or that worker's lease."""
    await sync.carry_out(work.session, [run.pk])
    looked = time.monotonic()
    while run.status in ACTIVE:
        await asyncio.sleep(PAUSE)
        if time.monotonic() - looked > LOOK_FOR_DEAD:
            await in_database(_give_up_dead)
            looked = time.monotonic()
        run = await in_database(SyncRun.objects.get, pk=run.pk)
    return run


def _give_up_dead() -> None:
    ledger.close_lost()
    sync.give_up_orphans()
