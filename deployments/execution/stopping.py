"""Stopping the deployment at the target: aborted by a person or by maintenance mode, and found out afterwards."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager

from audit import log
from deployments.execution import outcomes, progress
from deployments.execution.outcomes import Failed, GoOn, Outcome, Stopped
from deployments.execution.work import Work, in_database
from deployments.models import DeploymentPlan, PlanStatus, Remote, TargetState
from environments import gate, sync
from environments.environment_api import DeploymentState, canonical, read
from environments.models import SyncTrigger

logger = logging.getLogger(__name__)

PAUSE = 0.2
LINES = 2000
OUT_OF_REACH_SECONDS = 30.0  # after which a plan is over without word from its target, which is asked later


def contact(work: Work) -> AbstractAsyncContextManager[gate.Client]:
    """A contact with the target, whose last words are to stop the deployment when maintenance mode calls it off.

    They are part of the contact that they end, so the environment is quiet when they are over.
    """

    async def farewell(target: gate.Client) -> None:
        if await in_database(_is_to_be_stopped, work):
            state = await _tell(work, target)
            if state.is_over:
                await in_database(progress.store_state, work.plan.pk, work.host, state)
                await in_database(outcomes.store, work.plan.pk, work.host, of(state))

    return work.contact_target(farewell=farewell)


def _is_to_be_stopped(work: Work) -> bool:
    """Not when only the lease was lost: then another worker goes on."""
    aborted = DeploymentPlan.objects.filter(pk=work.plan.pk, status=PlanStatus.ABORTED, remote=Remote.STARTED).first()
    if aborted is not None:
        work.plan = aborted
    return aborted is not None


async def carry_out(work: Work) -> Outcome:
    """Stop what the plan has under way at the target, and find out what has become of it."""
    if work.plan.remote != Remote.STARTED:
        return Stopped(work.plan.abort_reason, TargetState(work.plan.target_state))
    try:
        async with work.contact_target() as target:
            state = await _end(work, target)
    except gate.Unreachable as trouble:
        if work.plan.status == PlanStatus.ABORTING and work.plan.trouble_since is not None:
            return Failed(str(trouble))
        return GoOn(seconds=OUT_OF_REACH_SECONDS, trouble=str(trouble))
    if state is None:
        return Stopped(work.plan.abort_reason, await in_database(_of_unknown, work.plan))
    outcome = of(state)
    if outcome.target_state == TargetState.CHANGED:
        await in_database(_synchronize, work)
    return outcome


async def _end(work: Work, target: gate.Client) -> DeploymentState | None:
    """Tell the target to stop and wait until its deployment is over; None when it knows none."""
    try:
        state = await _tell(work, target)
    except gate.Rejected as rejection:
        if rejection.code == "deployment-unknown":
            return None
        if rejection.code != "too-late":
            raise
        state = await work.ask(target, since="0", limit=LINES)
    await in_database(progress.store_state, work.plan.pk, work.host, state)
    while not state.is_over or state.more:
        if not state.more:
            await asyncio.sleep(PAUSE)
        state = await work.ask(target, since=state.cursor, limit=LINES)
        await in_database(progress.store_state, work.plan.pk, work.host, state)
    return state


def _of_unknown(plan: DeploymentPlan) -> TargetState:
    """The target knows no such deployment: it never began, or this is not the target any more that began it."""
    if plan.target_state == TargetState.CHANGED:
        return TargetState.CHANGED
    return TargetState.UNKNOWN if progress.has_begun(plan) else TargetState.UNCHANGED


def of(state: DeploymentState) -> Stopped:
    """The end of a plan whose deployment at the target ended like this."""
    is_changed = state.is_applied or state.status != "aborted"
    reason = state.reason or "The target aborted the deployment."
    return Stopped(reason, TargetState.CHANGED if is_changed else TargetState.UNCHANGED)


def _synchronize(work: Work) -> None:
    """What the target has now differs from what is shown."""
    try:
        sync.request(work.plan.target, trigger=SyncTrigger.DEPLOYMENT, by=log.SYSTEM, is_full=False)
    except gate.Refused as refusal:
        logger.info("%s is not synchronized: %s", work.plan.target, refusal)


async def _tell(work: Work, target: gate.Client) -> DeploymentState:
    by = {"name": work.plan.aborted_by or "System", "username": work.plan.aborted_by_username}
    body = {"reason": (work.plan.abort_reason or "The console stops it.")[:500], "by": by}
    answer = await target.post(f"{work.path}/abort", canonical(body))
    return read(answer, DeploymentState, step="POST abort")
