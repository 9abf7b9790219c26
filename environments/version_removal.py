"""Removing a tagged version that nothing uses: from the environments that may have it, then from the console.

Each environment that has the application is asked by a task of its own. The console forgets the version when all of
them have done it; until then it can be asked for again, and who has removed it already has nothing more to do.
"""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q

from audit import log
from deployments.models import DeploymentPlan, PlanOperation, PlanStatus
from environments import application_tasks, gate
from environments.application_tasks import TaskRefused, Work
from environments.models import (
    Application,
    ApplicationStatus,
    ApplicationTask,
    ApplicationVersion,
    Environment,
    Purpose,
    TaskKind,
    TaskStatus,
)
from environments.operations import Operation

GONE = ("version-unknown", "application-unknown", "not-found")  # the last: an environment that keeps no versions


def places(version: ApplicationVersion) -> list[Environment]:
    """The registered environments that may have the version: those that have its application, and where it was made."""
    return places_of([version])[version.pk]


def places_of(versions: Sequence[ApplicationVersion]) -> dict[int, list[Environment]]:
    """As `places`, by the id of the version, for any number of versions of one application."""
    statuses = ApplicationStatus.objects.filter(application__in={one.application_id for one in versions})
    having = set(statuses.values_list("environment", flat=True))
    wanted = having.union(one.created_in_id for one in versions if one.created_in_id)
    found = Environment.objects.registered().filter(pk__in=wanted).select_related("maintenance_window").in_order()
    environments = list(found)
    return {
        version.pk: [one for one in environments if one.pk in having or one.pk == version.created_in_id]
        for version in versions
    }


def request(version: ApplicationVersion, *, by: log.Actor) -> list[ApplicationTask]:
    """Queue the removal in each of its places; raises gate.Refused."""
    with transaction.atomic():
        Environment.objects.filter(pk__in=[one.pk for one in places(version)]).lock()
        application = Application.objects.select_for_update(no_key=True).get(pk=version.application_id)
        asked = places(version)
        if why := problem(version, asked):
            raise TaskRefused(why)
        tasks = [_request(version, application, environment, by=by) for environment in asked]
        log.record(
            f"Requested removal of version {version.version} of application '{application}'",
            application.audit_object,
            by=by,
            details={"version": version.version, "environments": [one.name for one in asked]},
        )
    return tasks


def problem(version: ApplicationVersion, asked: Sequence[Environment]) -> str:
    """Why the version cannot be removed from these; "" when it can."""
    if why := _used(version):
        return f"{version} is in use and cannot be removed: {why}."
    return "" if asked else f"No registered environment has {version.application}; there is nobody to ask."


def _request(
    version: ApplicationVersion, application: Application, environment: Environment, *, by: log.Actor
) -> ApplicationTask:
    parameters = {"version": version.version, "version_key": str(version.key)}
    task, is_new = application_tasks.request(REMOVE, environment, application, by=by, parameters=parameters)
    if not is_new and task.parameters != parameters:
        raise TaskRefused(
            f"{task.requested_by} is removing version {task.parameters['version']} of {application} in {environment} "
            "right now. Wait until that has ended."
        )
    return task


def _used(version: ApplicationVersion) -> str:
    """What uses the version; "" for nothing."""
    running = ApplicationStatus.objects.filter(application=version.application_id, version_key=version.key)
    if names := list(running.order_by("environment__position").values_list("environment__name", flat=True)):
        return f"it runs in {', '.join(names)}"
    is_waiting = Q(plan__status=PlanStatus.SAVED) | Q(plan__in=DeploymentPlan.objects.in_progress())
    waiting = PlanOperation.objects.filter(is_waiting)
    used = waiting.filter(Q(version_key=version.key) | Q(base_version_key=version.key))
    if (number := used.order_by("plan__number").values_list("plan__number", flat=True).first()) is not None:
        return f"deployment plan #{number} uses it"
    tagging = ApplicationTask.objects.active().filter(application=version.application_id, kind=TaskKind.TAG)
    return (
        "a new version is being based on it"
        if tagging.filter(parameters__base_version_key=str(version.key)).exists()
        else ""
    )


async def _remove(client: gate.Client, task: ApplicationTask) -> bool:
    assert task.application is not None  # noqa: S101 - for the type checker
    try:
        await client.delete(f"/applications/{task.application.key}/versions/{task.parameters['version_key']}")
    except gate.Rejected as rejection:
        if rejection.code not in GONE:
            raise
        return False
    return True


def _removed(task: ApplicationTask, was_there: bool) -> list[log.Entry]:
    assert task.application is not None  # noqa: S101 - for the type checker
    # One after the other for an application, so that the last of the tasks sees the others ended.
    Application.objects.select_for_update(no_key=True).get(pk=task.application.pk)
    version = ApplicationVersion.objects.filter(key=task.parameters["version_key"]).first()
    entries = [_entry(task, "Removed")] if was_there else []
    if version is not None and not _is_elsewhere(version) and not _used(version):
        version.delete()
        message = f"Version {version.version} of application '{task.application}' is removed"
        entries.append(
            log.Entry(message=message, on=task.application.audit_object, by=task.by, details=task.parameters)
        )
    return entries


def _is_elsewhere(version: ApplicationVersion) -> bool:
    """Whether an environment that may have it was not heard to have removed it, at the last time of asking."""
    asked = ApplicationTask.objects.filter(
        application=version.application_id, kind=TaskKind.REMOVE_VERSION, parameters__version_key=str(version.key)
    )
    last = dict(asked.order_by("pk").values_list("environment", "status"))
    return any(last.get(one.pk) != TaskStatus.FINISHED for one in places(version))


def _failed(task: ApplicationTask, why: str) -> list[log.Entry]:
    return [_entry(task, "Did not remove", f": {why}", succeeded=False)]


def _entry(task: ApplicationTask, what: str, more: str = "", *, succeeded: bool = True) -> log.Entry:
    assert task.application is not None  # noqa: S101 - for the type checker
    return log.Entry(
        message=f"{what} version {task.parameters['version']} of application '{task.application}' in environment "
        f"'{task.environment}'{more}"[:2000],
        on=task.application.audit_object,
        by=task.by,
        succeeded=succeeded,
        details={"environment": task.environment.name, **task.parameters},
    )


REMOVE: Work[bool] = Work(
    kind=TaskKind.REMOVE_VERSION,
    operation=Operation.TAG_APPLICATIONS,
    purpose=Purpose.TAG,
    converse=_remove,
    store=_removed,
    failed=_failed,
)
