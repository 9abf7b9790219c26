"""Steps two to six are the target's own: the console asks how far it is, and passes on what people answer."""

import asyncio
from typing import Any

from deployments.execution import progress, stopping
from deployments.execution.outcomes import Failed, GoOn, Outcome, Waits
from deployments.execution.work import Work, in_database
from deployments.journal import Line
from deployments.models import LineType, OperationKind, PlanOperation
from environments import gate
from environments.environment_api import DeploymentState, canonical

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
LINES = 500


async def carry_out(work: Work) -> Outcome:
    async with stopping.contact(work) as target:
        answer = work.plan.answer
        if answer and not answer.get("is_delivered"):
            await _answer(work, target)
        return await follow(work, target)


async def follow(work: Work, target: gate.Client) -> Outcome:
    """Until the target waits for somebody, or is done."""
    cursor, pause, before = "0", FIRST_PAUSE, None
    while True:
        try:
            state = await work.ask(target, since=cursor, limit=LINES)
        except gate.Rejected as rejection:
            if rejection.code == "deployment-unknown":
                return await _unknown(work, rejection)
            raise
        cursor = state.cursor
        if state.more and not state.log:
            raise gate.Rejected("The log of the deployment does not advance: GET deployment tells of more, and none.")
        told = (state.status, state.step, state.cursor)
        if told != before:
            await in_database(progress.store_state, work.plan.pk, work.host, state)
            pause = FIRST_PAUSE
        if not state.more:
            if outcome := await _outcome(work, state):
                return outcome
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5) if told == before else pause
        before = told


async def _outcome(work: Work, state: DeploymentState) -> Outcome | None:
    """What follows from the state, once it is no longer only running."""
    if state.status == "needs_user_intervention":
        return Waits(state)
    if state.status == "aborted":
        return stopping.of(state)
    if state.is_over:
        await in_database(progress.note_finished_there, work.plan.pk, work.host, state.status)
        return GoOn()
    return None


async def _unknown(work: Work, rejection: gate.Rejected) -> Outcome:
    """The request that was to start it never arrived; or the target has lost it, or is another one by now."""
    if await in_database(progress.note_unknown_there, work.plan.pk, work.host):
        return GoOn()
    return Failed(f"{work.plan.target} does not know the deployment any more: {rejection}", is_lost=True)


async def _answer(work: Work, target: gate.Client) -> None:
    """Tell the target what somebody answered. Told twice, it is one answer."""
    body = await in_database(_body, work)
    try:
        await target.post(f"{work.path}/continue", canonical(body))
    except gate.Rejected as rejection:
        if rejection.code not in ("setting-missing", "not-waiting", "setting-unknown", "bad-value"):
            raise
        line = Line(message=str(rejection), type=LineType.WARNING, step=work.plan.step)
        await in_database(progress.write, work.plan.pk, work.host, line)  # it waits on, for another answer
    else:
        await in_database(progress.note_answered, work.plan.pk, work.host)


def _body(work: Work) -> dict[str, Any]:
    deployed = PlanOperation.objects.filter(plan=work.plan).exclude(kind=OperationKind.NOTHING)
    operations = deployed.exclude(sealed_settings_text="")
    return {
        "information": work.plan.answer["information"],
        "by": work.plan.answer["by"],
        "settings": {str(one.application_key): one.settings for one in operations.order_by("application_key")},
    }
