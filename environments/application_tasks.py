"""Remote work on applications: who asked, who carries it out, what came of it.

A task is queued by a person; a worker claims it by a conditional UPDATE, speaks to its one environment through the
gate, and stores the outcome in one transaction with what it means. Other environments never matter to it.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import uvloop
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from audit import log
from environments import gate
from environments.models import (
    Application,
    ApplicationTask,
    Environment,
    MaintenanceWindow,
    Purpose,
    TaskKind,
    TaskStatus,
)
from environments.operations import Operation, explain
from lifetime.queue import enqueue

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

ORPHANED_AFTER = 330  # seconds: by then the queue has ended whatever carried it out
FORGOTTEN_AFTER = 120


class TaskRefused(gate.Refused):
    """Nothing was queued. The text says why."""


@dataclass(frozen=True, kw_only=True)
class Work(Generic[Result]):
    """How one kind of task is carried out.

    `converse` speaks to the environment. `store` keeps what came of it and answers the audit entries; it runs in the
    transaction that ends the task. `failed` answers those of a failure. Without an `operation` it is none of those that
    maintenance mode disables by name, and is disabled all the same.
    """

    kind: TaskKind
    operation: Operation | None
    purpose: Purpose
    converse: Callable[[gate.Client, ApplicationTask], Awaitable[Result]]
    store: Callable[[ApplicationTask, Result], list[log.Entry]]
    failed: Callable[[ApplicationTask, str], list[log.Entry]] = lambda task, why: []

    @property
    def label(self) -> str:
        return str(self.operation.label if self.operation else self.kind.label)


def request(
    work: Work[Any],
    environment: Environment,
    application: Application | None,
    *,
    by: log.Actor,
    parameters: dict[str, Any] | None = None,
    secrets: str = "",
    entry: log.Entry | None = None,
) -> tuple[ApplicationTask, bool]:
    """Queue a task; with one of its kind active already, answer that one and False. Raises gate.Refused."""
    with transaction.atomic():
        locked = admit(work, environment)
        active = ApplicationTask.objects.active().filter(environment=locked, application=application, kind=work.kind)
        if application is not None and (found := active.first()):
            return found, False
        task = ApplicationTask(
            kind=work.kind,
            environment=locked,
            application=application,
            requested_by=by.name,
            actor={"username": by.username, "key": str(by.key) if by.key else None, "address": by.address},
            parameters=parameters or {},
        )
        task.secrets = secrets
        task.save()
        enqueue("environments.tasks.work_on_application", task.pk)
        if entry:
            log.record_all([entry])
    return task, True


def admit(work: Work[Any], environment: Environment) -> Environment:
    """The environment's row, locked in the caller's transaction; raises gate.Refused when it may not be asked now."""
    [locked] = Environment.objects.filter(pk=environment.pk).lock()
    if locked.maintenance_window:
        raise gate.InMaintenance(explain(locked.name, locked.maintenance_window, work.label))
    if not locked.is_registered:
        raise gate.NotRegistered(f"{locked} is not registered.")
    return locked


def in_progress(environment_ids: list[int]) -> list[ApplicationTask]:
    """Tasks queued or running in these environments: what enabling maintenance mode would abort."""
    tasks = ApplicationTask.objects.active().filter(environment__in=environment_ids)
    return list(tasks.select_related("environment", "application").defer("sealed_secrets", "result").order_by("pk"))


def abort_queued_for(windows: Mapping[int, MaintenanceWindow], *, by: log.Actor) -> list[log.Entry]:
    """Abort what is queued in these environments (by id), in the caller's transaction; answers the audit entries.

    What is running is cut by the gate, and its worker stores how it ended.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM environments_applicationtask "
            "WHERE environment_id = ANY(%s) AND status = 'queued' ORDER BY id FOR UPDATE",
            [list(windows)],
        )
        ids = [task_id for (task_id,) in cursor.fetchall()]
    if not ids:
        return []
    queued = ApplicationTask.objects.filter(pk__in=ids).select_related("environment", "application")
    tasks = list(queued.order_by("pk"))
    for task in tasks:
        window = windows[task.environment_id]
        task.status, task.ended_at, task.sealed_secrets = TaskStatus.ABORTED, window.enabled_at, ""
        task.message = explain(task.environment.name, window, task.get_kind_display())[:500]
    ApplicationTask.objects.bulk_update(tasks, ["status", "ended_at", "sealed_secrets", "message"])
    return [
        log.Entry(
            message=f"Aborted {task.get_kind_display().lower()} in environment '{task.environment}': "
            "maintenance mode was enabled",
            on=task.application.audit_object if task.application else task.environment.audit_object,
            by=by,
            reason=windows[task.environment_id].reason,
            cause=windows[task.environment_id].audit_key,
        )
        for task in tasks
    ]


def asked_for(
    what: str, environment: Environment, application: Application, *, by: log.Actor, kind: log.Kind = log.Kind.VIEW
) -> log.Entry:
    """The audit entry of a request that only reads, unless told otherwise."""
    return log.Entry(
        message=f"Requested {what} of application '{application}' in environment '{environment}'",
        on=application.audit_object,
        by=by,
        kind=kind,
        details={"environment": environment.name},
    )


def not_done(what: str, task: ApplicationTask, why: str) -> list[log.Entry]:
    """The audit entry of a task that failed, for `Work.failed`."""
    assert task.application is not None  # noqa: S101 - for the type checker
    return [
        log.Entry(
            message=f"Did not {what} of application '{task.application}' in environment '{task.environment}': {why}",
            on=task.application.audit_object,
            by=task.by,
            succeeded=False,
            details={"environment": task.environment.name},
        )
    ]


def entry(
    task: ApplicationTask, message: str, *, succeeded: bool = True, kind: log.Kind = log.Kind.UPDATE
) -> log.Entry:
    """The audit entry of a task that is about its environment, with what was asked for."""
    return log.Entry(
        message=message[:2000],
        on=task.environment.audit_object,
        by=task.by,
        kind=kind,
        succeeded=succeeded,
        details=task.parameters,
    )


def run(work: Work[Any], task: ApplicationTask) -> None:
    """Carry out a task that `claim` gave; store what came of it."""
    status, message, result = uvloop.run(_attempt(work, task))
    _finish(work, task, status, message, result)


def claim(task_id: int) -> ApplicationTask | None:
    """The task, from now on the caller's to carry out; None when it is another's or over."""
    queued = ApplicationTask.objects.filter(pk=task_id, status=TaskStatus.QUEUED)
    if not queued.update(status=TaskStatus.RUNNING, started_at=Now()):
        return None
    return ApplicationTask.objects.select_related("environment", "application").get(pk=task_id)


async def _attempt(work: Work[Any], task: ApplicationTask) -> tuple[TaskStatus, str, Any]:
    try:
        async with gate.session() as session, session.contact(task.environment_id, work.purpose) as client:
            return TaskStatus.FINISHED, "", await work.converse(client, task)
    except (gate.Refused, gate.CalledOff) as refusal:
        return TaskStatus.ABORTED, str(refusal), None
    except (gate.Unreachable, gate.Rejected) as trouble:
        return TaskStatus.FAILED, str(trouble), None
    except Exception:
        logger.exception("Application task %s failed", task.pk)
        message = "The console made a mistake here; its log has the details. Try again, then report it."
        return TaskStatus.FAILED, message, None


def _finish(work: Work[Any], task: ApplicationTask, status: TaskStatus, message: str, result: Any) -> None:
    if status == TaskStatus.ABORTED:
        message = _aborted_by(task, work.label) or message
    message = message[:500]
    with transaction.atomic():
        running = ApplicationTask.objects.filter(pk=task.pk, status=TaskStatus.RUNNING)
        if not running.update(status=status, message=message, ended_at=Now(), sealed_secrets=""):
            return  # given up meanwhile
        if status == TaskStatus.FINISHED:
            entries = work.store(task, result)
            if task.result is not None:
                ApplicationTask.objects.filter(pk=task.pk).update(result=task.result)
        else:
            entries = work.failed(task, message)
        if entries:
            log.record_all(entries)


def _aborted_by(task: ApplicationTask, what: str) -> str:
    environment = Environment.objects.select_related("maintenance_window").get(pk=task.environment_id)
    window = environment.maintenance_window
    return explain(environment.name, window, what) if window else ""


def latest(application: Application, kinds: Iterable[TaskKind]) -> dict[tuple[int, str], ApplicationTask]:
    """The newest task of each kind in each environment, by environment id and kind, without secrets and results."""
    found = (
        ApplicationTask.objects.filter(application=application, kind__in=list(kinds))
        .order_by("environment", "kind", "-pk")
        .distinct("environment", "kind")
        .defer("sealed_secrets", "result")
    )
    return {(task.environment_id, task.kind): task for task in found}


def recover() -> None:
    """End what a dead worker left behind, enqueue again what was forgotten. Twice does no harm."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE environments_applicationtask "
            "SET status = 'failed', ended_at = clock_timestamp(), sealed_secrets = '', message = "
            "'The worker that carried it out stopped answering. Look whether it was done, then try again.' "
            "WHERE status = 'running' AND started_at < clock_timestamp() - make_interval(secs => %s)",
            [ORPHANED_AFTER],
        )
        cursor.execute(
            "SELECT id FROM environments_applicationtask WHERE status = 'queued' "
            "AND requested_at < clock_timestamp() - make_interval(secs => %s) ORDER BY id",
            [FORGOTTEN_AFTER],
        )
        forgotten = [pk for (pk,) in cursor.fetchall()]
    for pk in forgotten:
        enqueue("environments.tasks.work_on_application", pk)


def prune() -> None:
    """Forget tasks after `LEDGER_DAYS`; what was read, after a day."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM environments_applicationtask WHERE ended_at < clock_timestamp() - make_interval(days => %s) "
            "OR ended_at < clock_timestamp() - interval '1 day' "
            "AND kind IN ('read_logs', 'read_templates', 'read_blocked', 'read_databases', 'test_database')",
            [settings.LEDGER_DAYS],
        )
