"""The first step: tag in the source what is to be tagged, bring the packages to the target, have it begin.

Safe to do again from the beginning: tags and the deployment have keys of ours, packages their digests.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from deployments import packages, transfer
from deployments.execution import following, progress, stopping
from deployments.execution.outcomes import Failed, Outcome
from deployments.execution.work import Work, in_database
from deployments.journal import Line
from deployments.models import PlanOperation, Remote, StepName
from deployments.words import counted
from environments import gate, tagging
from environments.environment_api import DeploymentState, VersionItem, canonical, read

REPORT_SECONDS = 0.5
ACCEPTED_WITH_ERRORS = "broken_reference"


class Busy(Exception):
    """The target has no room for another deployment now. The text is for people."""


async def carry_out(work: Work) -> Outcome:
    """Raises what the gate raises."""
    await in_database(progress.begin_step, work.plan.pk, work.host, StepName.RETRIEVING)
    operations = await in_database(_operations, work)
    if work.plan.source_id is not None:
        async with work.contact_source() as source, work.contact_target() as target:
            try:
                await _tag(work, source, operations)
                offered = [await _package(source, operation) for operation in operations]
                await in_database(progress.store_packages, work.plan.pk, work.host, operations)
                await _transfer(work, source, target, offered)
            except transfer.TransferRefused as refusal:
                return Failed(str(refusal))
    else:
        stored = [_stored(operation) for operation in operations]
        async with work.contact_target() as target:
            try:
                await _transfer(work, packages.Stored(work.plan.pk), target, stored)
            except transfer.TransferRefused as refusal:
                return Failed(str(refusal))
    return await _start(work, operations)


def _operations(work: Work) -> list[PlanOperation]:
    operations = work.plan.operations.select_related("application").order_by("position", "pk")
    return [operation for operation in operations if operation.is_deployed]


async def _tag(work: Work, source: gate.Client, operations: list[PlanOperation]) -> None:
    for operation in operations:
        if operation.is_tagged_first and operation.version_key is None:
            told = await tagging.ask(
                source,
                operation.application_key,
                key=operation.key,
                parameters=operation.tag_parameters,
                by=work.by,
            )
            await in_database(progress.store_tag, work.plan.pk, work.host, operation, told)


async def _package(source: gate.Client, operation: PlanOperation) -> transfer.Package:
    """Where the source offers the package of the operation's version."""
    path = f"/applications/{operation.application_key}/versions/{operation.version_key}"
    told = read(await source.get(path), VersionItem, step="GET version")
    if told.package is None:
        raise gate.Rejected(f"The source has no package of {operation.application_name} {told.version}.")
    operation.package_digest, operation.package_bytes = told.package.digest, told.package.bytes
    return transfer.Package(path=f"{path}/package", digest=told.package.digest, size=told.package.bytes)


def _stored(operation: PlanOperation) -> transfer.Package:
    """What was uploaded for the operation."""
    digest = operation.package_digest
    return transfer.Package(path=digest, digest=digest, size=operation.package_bytes)


async def _transfer(
    work: Work, source: transfer.Source, target: gate.Client, offered: Sequence[transfer.Package]
) -> None:
    arrived: dict[str, int] = {}
    total = sum(package.size or 0 for package in offered)
    if work.plan.trouble_since is None:  # else it was said when it was tried first
        what = f"Uploading {counted(len(offered), 'package')}, {counted(total, 'byte')},"
        line = Line(
            message=f"{what} from {work.plan.source or 'the console'} to {work.plan.target}.", step=StepName.RETRIEVING
        )
        await in_database(progress.write, work.plan.pk, work.host, line)
    reporting = asyncio.create_task(_report(work, arrived))
    try:
        sent = await transfer.transfer_all(
            source, target, offered, on_progress=lambda digest, there, size: arrived.update({digest: there})
        )
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
    await in_database(progress.store_transferred, work.plan.pk, work.host, dict(arrived))
    if sent or work.plan.trouble_since is None:
        there = f" {total - sent:,} were there already." if sent < total else ""
        done = Line(message=f"Uploaded {counted(sent, 'byte')}.{there}", step=StepName.RETRIEVING)
        await in_database(progress.write, work.plan.pk, work.host, done)


async def _report(work: Work, arrived: dict[str, int]) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        if arrived:
            told = dict(arrived)
            arrived.clear()
            await in_database(progress.store_transferred, work.plan.pk, work.host, told)


async def _start(work: Work, operations: list[PlanOperation]) -> Outcome:
    """Have the target begin. It is noted beforehand: from then on only the target knows what becomes of it."""
    order = await in_database(_order, work, operations)
    async with stopping.contact(work) as target:
        await in_database(progress.note_remote, work.plan.pk, work.host, Remote.STARTED)
        try:
            state = read(await target.post("/deployments", canonical(order)), DeploymentState, step="POST deployments")
        except gate.Rejected as rejection:
            return await _refused(work, rejection)
        await in_database(progress.store_state, work.plan.pk, work.host, state)
        return await following.follow(work, target)  # in the same contact, so that its last words can stop it


async def _refused(work: Work, rejection: gate.Rejected) -> Outcome:
    """It has not begun there. What only has to wait for others is tried again."""
    if rejection.is_about_contact or not 400 <= rejection.status < 500:
        raise rejection  # whether it has begun is found out by trying again
    if rejection.code == "key-taken":
        return Failed(str(rejection))
    await in_database(progress.note_remote, work.plan.pk, work.host, Remote.NONE)
    if rejection.code in ("deployment-busy", "module-busy"):
        raise Busy(f"{rejection} The plan waits for it.")
    return Failed(str(rejection))


def _order(work: Work, operations: list[PlanOperation]) -> dict[str, Any]:
    """The body of POST deployments: the same whenever it is made."""
    plan = work.plan
    accept = [ACCEPTED_WITH_ERRORS] if plan.continue_with_errors else []
    if plan.accept_module_removal:
        accept.append("module_removal")
    dependents = plan.dependents.filter(is_selected=True).order_by("application_key") if plan.redeploy_outdated else []
    return {
        "id": str(plan.key),
        "label": plan.audit_object.name,
        "by": work.by,
        "two_stage": plan.two_stage,
        "applications": [
            {
                "application_key": str(operation.application_key),
                "package": operation.package_digest,
                **({"settings": operation.settings} if operation.settings else {}),
                **({"deployment_zone": operation.zone_key} if operation.zone_key else {}),
            }
            for operation in operations
        ],
        "redeploy": [str(one.application_key) for one in dependents],
        "accept": accept,
    }
