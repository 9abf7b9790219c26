"""The log of an application in one environment, as far as the environment tells it."""

from audit import log
from environments import application_tasks, gate
from environments.application_tasks import Work
from environments.environment_api import Logs, read
from environments.models import Application, ApplicationTask, Environment, Purpose, TaskKind, TaskStatus
from environments.operations import Operation

LINES = 200


def request(environment: Environment, application: Application, *, by: log.Actor) -> ApplicationTask:
    """Queue the reading of the newest lines; the one that is queued or running already when there is one."""
    entry = application_tasks.asked_for("the log", environment, application, by=by)
    return application_tasks.request(READ, environment, application, by=by, entry=entry)[0]


def newest(environment: Environment, application: Application) -> ApplicationTask | None:
    """The last reading, whatever came of it."""
    found = ApplicationTask.objects.filter(environment=environment, application=application, kind=TaskKind.READ_LOGS)
    return found.newest_first().first()


def last_read(environment: Environment, application: Application) -> ApplicationTask | None:
    """The last reading that went well, with its lines."""
    found = ApplicationTask.objects.filter(environment=environment, application=application, kind=TaskKind.READ_LOGS)
    return found.filter(status=TaskStatus.FINISHED).newest_first().first()


async def _read(client: gate.Client, task: ApplicationTask) -> Logs:
    assert task.application is not None  # noqa: S101 - for the type checker
    return read(await client.get(f"/applications/{task.application.key}/logs?last={LINES}"), Logs, step="GET logs")


def _store(task: ApplicationTask, told: Logs) -> list[log.Entry]:
    task.result = told.model_dump(mode="json")["lines"][-LINES:]
    return []


READ: Work[Logs] = Work(
    kind=TaskKind.READ_LOGS,
    operation=Operation.OPEN_SERVICE_CENTER,
    purpose=Purpose.APPLICATION,
    converse=_read,
    store=_store,
)
