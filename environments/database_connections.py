"""Connections to databases that an environment keeps: read when somebody asks, saved, deleted and tested there.

The console keeps what the environment last said of them, never a password: that is sealed in the task that takes it
there, and wiped when the task ends. The environment refuses a change that is based on what is not so any more.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import TextChoices
from django.utils import timezone

from audit import log
from environments import application_tasks, gate
from environments.application_tasks import TaskRefused, Work, entry
from environments.database_details import Wanted, check, check_details
from environments.environment_api import (
    DatabaseConnection,
    DatabaseConnections,
    DatabaseProvider,
    DatabaseProviders,
    DatabaseTest,
    canonical,
    read,
)
from environments.models import ApplicationTask, Environment, Purpose, TaskKind, TaskStatus
from lifetime.models import Role, User

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Told = dict[str, Any]  # "connections" and "providers", as JSON

PATH = "/database-connections"
REMEMBERED = timedelta(days=1)
SHOWN_TASKS = 5
SAYING = (TaskKind.READ_DATABASES, TaskKind.SAVE_DATABASE, TaskKind.DELETE_DATABASE)


class Permission(TextChoices):
    """What somebody may do with a connection when they develop in the environment."""

    NO_ACCESS = "no-access", "No Access"
    READ_ONLY = "read-only", "Read-Only"
    FULL_CONTROL = "full-control", "Full Control"


class UnknownConnection(gate.Refused):
    """Nothing was queued: the environment did not name this connection when it was last asked."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What an environment said last, and what it is being asked."""

    connections: list[DatabaseConnection]
    providers: list[DatabaseProvider]
    read_at: datetime | None
    asked: list[ApplicationTask]  # since then, newest first: what goes on and what has not gone well
    tests: Mapping[str, ApplicationTask]  # the last of each connection as it is, by its key

    @property
    def is_moving(self) -> bool:
        return any(task.is_active for task in (*self.asked, *self.tests.values()))

    def find(self, key: UUID, revision: int | None = None) -> DatabaseConnection:
        """The connection, as it is by this revision; raises gate.Refused."""
        found = next((one for one in self.connections if one.key == key), None)
        if found is None:
            raise UnknownConnection("There is no such database connection any more. Look again.")
        if revision not in (None, found.revision):
            who = found.changed_by or "Somebody"
            raise TaskRefused(f"{who} changed {found.name} since you looked at it. Look at it as it is now.")
        return found


def of(environment: Environment) -> Known:
    tasks = ApplicationTask.objects.filter(environment=environment, requested_at__gt=timezone.now() - REMEMBERED)
    tasks = tasks.newest_first().defer("sealed_secrets")
    saying = tasks.filter(kind__in=SAYING)
    told = saying.filter(status=TaskStatus.FINISHED, result__isnull=False).order_by("-ended_at", "-pk").first()
    since = saying.filter(pk__gt=told.pk) if told else saying
    result: Any = told.result if told else {"connections": [], "providers": []}
    connections = DatabaseConnections.model_validate(result).connections
    revisions = {str(one.key): one.revision for one in connections}
    tests: dict[str, ApplicationTask] = {}
    for task in tasks.filter(kind=TaskKind.TEST_DATABASE, parameters__key__in=list(revisions)):
        if task.parameters["revision"] == revisions[task.parameters["key"]]:
            tests.setdefault(task.parameters["key"], task)
    return Known(
        connections=connections,
        providers=DatabaseProviders.model_validate(result).providers,
        read_at=told.ended_at if told else None,
        asked=list(since.exclude(status=TaskStatus.FINISHED)[:SHOWN_TASKS]),
        tests=tests,
    )


# What people want


def request(environment: Environment, *, by: log.Actor) -> ApplicationTask:
    """Have a worker ask the environment; raises gate.Refused."""
    with transaction.atomic():
        application_tasks.admit(READ, environment)
        active = ApplicationTask.objects.active().filter(environment=environment, kind=READ.kind)
        return active.first() or application_tasks.request(READ, environment, None, by=by)[0]


def save(
    environment: Environment, wanted: Wanted, *, by: log.Actor, key: UUID | None = None, revision: int | None = None
) -> ApplicationTask:
    """Have a worker add a connection, or change the one with this key as it is by this revision.

    Raises ValidationError by field, and gate.Refused.
    """
    with transaction.atomic():
        application_tasks.admit(SAVE, environment)
        known = of(environment)
        present = known.find(key, revision) if key else None
        provider = check(wanted, known.connections, known.providers, present)
        password = wanted.password if provider.has_login else ""  # one that is stored goes
        parameters: dict[str, Any] = {
            **_details(wanted),
            "description": wanted.description,
            "sets_password": password is not None,
        }
        if present:
            parameters |= {"key": str(present.key), "revision": present.revision, "was": present.name}
        return _queue(SAVE, environment, parameters, by=by, password=password)


def permit(
    environment: Environment, key: UUID, holder: Role | User, level: Permission | None, *, by: log.Actor
) -> ApplicationTask:
    """Have a worker give a role, or one person, a level on a connection, or with None take it; raises gate.Refused."""
    with transaction.atomic():
        application_tasks.admit(SAVE, environment)
        present = of(environment).find(key)
        member, said = ("roles", f"role '{holder}'") if isinstance(holder, Role) else ("users", f"user '{holder}'")
        levels = {name: value for name, value in getattr(present, member).items() if name != str(holder.key)}
        if level is not None:
            levels[str(holder.key)] = level.value
        parameters = {
            **present.model_dump(include={"name", "provider", "username", "parameters", "description", "revision"}),
            "key": str(key),
            "was": present.name,
            "sets_password": False,
            "permission": f"{said}: {level.label if level else 'revoked'}",
            member: levels,
        }
        return _queue(SAVE, environment, parameters, by=by)


def delete(environment: Environment, key: UUID, *, by: log.Actor, revision: int | None = None) -> ApplicationTask:
    """Have a worker delete a connection as it is by this revision; raises gate.Refused."""
    with transaction.atomic():
        application_tasks.admit(DELETE, environment)
        present = of(environment).find(key, revision)
        parameters = {"key": str(key), "revision": present.revision, "name": present.name}
        return _queue(DELETE, environment, parameters, by=by)


def request_test(
    environment: Environment, wanted: Wanted, *, by: log.Actor, key: UUID | None = None
) -> ApplicationTask:
    """Have a worker try details; those of the connection with this key, when nothing is changed, with its password.

    Raises ValidationError by field, and gate.Refused.
    """
    with transaction.atomic():
        application_tasks.admit(TEST, environment)
        known = of(environment)
        present = known.find(key) if key else None
        if present and wanted.password is None and not wanted.is_elsewhere(present):
            return request_test_of(environment, present.key, by=by)
        check_details(wanted, known.providers, present)
        return _queue(TEST, environment, _details(wanted), by=by, password=wanted.password)


def request_test_of(environment: Environment, key: UUID, *, by: log.Actor) -> ApplicationTask:
    """Have a worker try a connection as it is saved; raises gate.Refused."""
    with transaction.atomic():
        application_tasks.admit(TEST, environment)
        present = of(environment).find(key)
        parameters = {"key": str(key), "revision": present.revision, "name": present.name}
        return _queue(TEST, environment, parameters, by=by)


def outcome(task: ApplicationTask) -> DatabaseTest | None:
    """What came of a test; None while it goes on, and when the environment could not be asked."""
    return DatabaseTest.model_validate(task.result) if task.status == TaskStatus.FINISHED else None


def _details(wanted: Wanted) -> dict[str, Any]:
    parameters = dict(wanted.parameters)
    return {"name": wanted.name, "provider": wanted.provider, "username": wanted.username, "parameters": parameters}


def _queue(
    work: Work[Any], environment: Environment, parameters: dict[str, Any], *, by: log.Actor, password: str | None = None
) -> ApplicationTask:
    """The task, or the one that does the very same already. One of them at a time for each connection."""
    alike = [TaskKind.TEST_DATABASE] if work.kind == TaskKind.TEST_DATABASE else list(SAYING[1:])
    for other in ApplicationTask.objects.active().filter(environment=environment, kind__in=alike):
        names = {one["name"].casefold() for one in (other.parameters, parameters)}
        if len(names) > 1 and other.parameters.get("key", "") != parameters.get("key"):
            continue
        same = (other.kind, other.requested_by, other.parameters) == (work.kind, by.name, parameters)
        if same and other.secrets == (password or ""):
            return other
        if work.kind != TaskKind.TEST_DATABASE:
            raise TaskRefused(
                f"{other.requested_by} is changing {other.parameters['name']} in {environment} right now. "
                "Wait until that has ended, then look at it as it is."
            )
    return application_tasks.request(work, environment, None, by=by, parameters=parameters, secrets=password or "")[0]


# What the worker does


def _keeping_silent(
    converse: Callable[[gate.Client, ApplicationTask], Awaitable[Result]],
) -> Callable[[gate.Client, ApplicationTask], Awaitable[Result]]:
    """The same, but a refusal that repeats the password does not tell it on."""

    async def silent(client: gate.Client, task: ApplicationTask) -> Result:
        try:
            return await converse(client, task)
        except gate.Rejected as rejection:
            raise gate.Rejected(_hidden(str(rejection), task), status=rejection.status, code=rejection.code) from None

    return silent


def _hidden(text: str, task: ApplicationTask) -> str:
    password = task.secrets
    return text.replace(password, "***") if password else text


async def _told(client: gate.Client) -> Told:
    """What the environment has now."""
    providers = read(await client.get("/database-providers"), DatabaseProviders, step="GET database providers")
    connections = read(await client.get(PATH), DatabaseConnections, step="GET database connections")
    return {**providers.model_dump(mode="json"), **connections.model_dump(mode="json")}


async def _told_after(client: gate.Client) -> Told | None:
    """The same after something was done there, which is done though this may fail."""
    try:
        return await _told(client)
    except (gate.Unreachable, gate.Rejected) as trouble:
        logger.warning("What an environment has after a change is not known: %s", trouble)
        return None


async def _read(client: gate.Client, task: ApplicationTask) -> Told:
    return await _told(client)


@_keeping_silent
async def _save(client: gate.Client, task: ApplicationTask) -> Told | None:
    """Safe to ask twice: a new connection gets the task's own key, a changed one has a revision."""
    names = ("name", "provider", "description", "username", "parameters")
    body = {name: task.parameters[name] for name in names}
    body |= {name: task.parameters[name] for name in ("roles", "users") if name in task.parameters}
    body["by"] = {"name": task.requested_by, "username": task.by.username}
    if task.parameters["sets_password"]:
        body["password"] = task.secrets
    if key := task.parameters.get("key"):
        await client.put(f"{PATH}/{key}", canonical({**body, "revision": task.parameters["revision"]}))
    else:
        await client.post(PATH, canonical({**body, "key": str(task.key)}))
    return await _told_after(client)


async def _delete(client: gate.Client, task: ApplicationTask) -> Told | None:
    try:
        await client.delete(f"{PATH}/{task.parameters['key']}?revision={task.parameters['revision']}")
    except gate.Rejected as rejection:
        if rejection.code != "connection-unknown":
            raise
    return await _told_after(client)


@_keeping_silent
async def _test(client: gate.Client, task: ApplicationTask) -> DatabaseTest:
    if key := task.parameters.get("key"):
        answer = await client.post(f"{PATH}/{key}/test", b"{}")
    else:
        details = {name: task.parameters[name] for name in ("provider", "username", "parameters")}
        answer = await client.post(f"{PATH}/test", canonical({**details, "password": task.secrets}))
    told = read(answer, DatabaseTest, step="POST test of a database")
    return told.model_copy(update={"message": _hidden(told.message, task)})


def _keep(task: ApplicationTask, told: Told) -> list[log.Entry]:
    task.result = told
    return []


def _saved(task: ApplicationTask, told: Told | None) -> list[log.Entry]:
    task.result = told
    was, name = task.parameters.get("was"), task.parameters["name"]
    if was is None:
        return [entry(task, f"Added {_said(task)}")]
    if permission := task.parameters.get("permission"):
        return [entry(task, f"Changed the permissions on {_said(task)}: {permission}")]
    renamed = f", named '{was}' before" if was != name else ""
    password = ", with another password" if task.sealed_secrets else ""
    return [entry(task, f"Changed {_said(task)}{renamed}{password}")]


def _deleted(task: ApplicationTask, told: Told | None) -> list[log.Entry]:
    task.result = told
    return [entry(task, f"Deleted {_said(task)}")]


def _tested(task: ApplicationTask, told: DatabaseTest) -> list[log.Entry]:
    task.result = told.model_dump(mode="json")
    came = "it works" if told.succeeded else f"it does not work: {told.message}"
    return [entry(task, f"Tested {_said(task)}: {came}", succeeded=told.succeeded, kind=log.Kind.VIEW)]


def _failed(task: ApplicationTask, why: str) -> list[log.Entry]:
    doing = {TaskKind.SAVE_DATABASE: "save", TaskKind.DELETE_DATABASE: "delete", TaskKind.TEST_DATABASE: "test"}
    return [entry(task, f"Did not {doing[TaskKind(task.kind)]} {_said(task)}: {why}", succeeded=False)]


def _said(task: ApplicationTask) -> str:
    name = task.parameters["name"]
    what = f"database connection '{name}'" if name else "details of a database connection"
    return f"{what} in environment '{task.environment}'"


READ: Work[Told] = Work(
    kind=TaskKind.READ_DATABASES, operation=None, purpose=Purpose.APPLICATION, converse=_read, store=_keep
)
SAVE: Work[Told | None] = Work(
    kind=TaskKind.SAVE_DATABASE,
    operation=None,
    purpose=Purpose.APPLICATION,
    converse=_save,
    store=_saved,
    failed=_failed,
)
DELETE: Work[Told | None] = Work(
    kind=TaskKind.DELETE_DATABASE,
    operation=None,
    purpose=Purpose.APPLICATION,
    converse=_delete,
    store=_deleted,
    failed=_failed,
)
TEST: Work[DatabaseTest] = Work(
    kind=TaskKind.TEST_DATABASE,
    operation=None,
    purpose=Purpose.APPLICATION,
    converse=_test,
    store=_tested,
    failed=_failed,
)
