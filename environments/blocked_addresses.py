"""Addresses that an environment blocks after failed log-ins: read from it when somebody asks, unblocked there."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from audit import log
from environments import application_tasks, gate
from environments.application_tasks import Work, entry
from environments.environment_api import BlockedAddress, BlockedAddresses, read
from environments.models import ApplicationTask, Environment, Purpose, TaskKind, TaskStatus


class UnknownBlock(gate.Refused):
    """Nothing was queued: the environment did not name this address when it was last asked."""


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """What an environment said when it was last asked, without what is over or was unblocked since."""

    addresses: list[BlockedAddress]
    read_at: datetime | None
    asked: ApplicationTask | None  # the last time that it was asked
    unblocking: list[ApplicationTask]

    @property
    def is_moving(self) -> bool:
        return bool(self.asked and self.asked.is_active) or any(task.is_active for task in self.unblocking)


def of(environment: Environment) -> Blocked:
    tasks = ApplicationTask.objects.filter(environment=environment).newest_first()
    asked = tasks.filter(kind=TaskKind.READ_BLOCKED)
    told = asked.filter(status=TaskStatus.FINISHED).first()
    unblocking = tasks.filter(kind=TaskKind.UNBLOCK)
    since = unblocking.filter(requested_at__gte=told.requested_at) if told else unblocking.none()
    gone = {task.parameters["key"] for task in since.filter(status=TaskStatus.FINISHED)}
    found = [BlockedAddress.model_validate(one) for one in (told.result or [])] if told else []
    now = timezone.now()
    return Blocked(
        addresses=[one for one in found if one.blocked_until > now and str(one.key) not in gone],
        read_at=told.ended_at if told else None,
        asked=asked.first(),
        unblocking=list(since.exclude(status=TaskStatus.FINISHED)[:5]),
    )


def request(environment: Environment, *, by: log.Actor) -> ApplicationTask:
    """Have a worker ask the environment; raises gate.Refused."""
    with transaction.atomic():
        application_tasks.admit(READ, environment)
        active = ApplicationTask.objects.active().filter(environment=environment, kind=TaskKind.READ_BLOCKED)
        return active.first() or application_tasks.request(READ, environment, None, by=by)[0]


def unblock(environment: Environment, key: UUID, *, by: log.Actor) -> ApplicationTask:
    """Have a worker unblock an address that the environment named; raises gate.Refused."""
    with transaction.atomic():
        application_tasks.admit(UNBLOCK, environment)
        block = next((one for one in of(environment).addresses if one.key == key), None)
        if block is None:
            raise UnknownBlock(f"{environment} does not block this address any more. Look again.")
        active = ApplicationTask.objects.active().filter(environment=environment, kind=TaskKind.UNBLOCK)
        known = active.filter(parameters__key=str(key)).first()
        parameters = {"key": str(key), "address": block.address, "username": block.username}
        return known or application_tasks.request(UNBLOCK, environment, None, by=by, parameters=parameters)[0]


async def _read(client: gate.Client, task: ApplicationTask) -> BlockedAddresses:
    return read(await client.get("/blocked-addresses"), BlockedAddresses, step="GET blocked addresses")


def _keep(task: ApplicationTask, told: BlockedAddresses) -> list[log.Entry]:
    task.result = told.model_dump(mode="json")["blocked"]
    return []


async def _unblock(client: gate.Client, task: ApplicationTask) -> bool:
    try:
        await client.delete(f"/blocked-addresses/{task.parameters['key']}")
    except gate.Rejected as rejection:
        if rejection.code != "block-unknown":
            raise
        return False
    return True


def _unblocked(task: ApplicationTask, was_blocked: bool) -> list[log.Entry]:
    over = "" if was_blocked else ", which was over already"
    return [entry(task, f"Unblocked {_said(task)} in environment '{task.environment}'{over}")]


def _failed(task: ApplicationTask, why: str) -> list[log.Entry]:
    message = f"Did not unblock {_said(task)} in environment '{task.environment}': {why}"
    return [entry(task, message, succeeded=False)]


def _said(task: ApplicationTask) -> str:
    address, username = task.parameters["address"], task.parameters["username"]
    return f"user '{username}' from address {address}" if username else f"address {address}"


READ: Work[BlockedAddresses] = Work(
    kind=TaskKind.READ_BLOCKED,
    operation=None,
    purpose=Purpose.APPLICATION,
    converse=_read,
    store=_keep,
)
UNBLOCK: Work[bool] = Work(
    kind=TaskKind.UNBLOCK,
    operation=None,
    purpose=Purpose.APPLICATION,
    converse=_unblock,
    store=_unblocked,
    failed=_failed,
)
