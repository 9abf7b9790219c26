"""Plugins: pages that people add to the console, registered by name, entry point and developer.

One is created from a template in a development environment, or registered where it exists already.
"""

from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from audit import log
from environments import addresses, application_tasks, applications, gate, links
from environments.application_tasks import TaskRefused, Work
from environments.environment_api import ApplicationItem, ApplicationsPage, Templates, canonical, read
from environments.models import (
    Application,
    ApplicationTask,
    Environment,
    EnvironmentPurpose,
    Plugin,
    Purpose,
    TaskKind,
)
from environments.operations import Operation

TEMPLATE = "plugin"
LONGEST_NAME = 80


@dataclass(frozen=True, kw_only=True)
class Wanted:
    name: str
    entry_point: str
    developer: str
    for_managers_only: bool = False


def visible(*, is_manager: bool) -> QuerySet[Plugin]:
    """The plugins that a person sees, by name."""
    found = Plugin.objects.order_by("name", "pk")
    return found if is_manager else found.filter(for_managers_only=False)


def register(wanted: Wanted, *, by: log.Actor) -> Plugin:
    """Register a plugin that exists; raises ValidationError by field."""
    values = _clean(wanted)
    plugin = Plugin(**values, registered_by=by.name)
    try:
        with transaction.atomic():
            plugin.save()
            log.record(
                f"Registered plugin '{plugin}' of {plugin.developer} at {plugin.entry_point}",
                plugin.audit_object,
                by=by,
            )
    except IntegrityError:
        raise ValidationError({"name": "Another plugin has this name."}) from None
    return plugin


def unregister(plugin: Plugin, *, by: log.Actor) -> None:
    """Take a plugin out of the console. Its application stays."""
    with transaction.atomic():
        locked = Plugin.objects.select_for_update().filter(pk=plugin.pk).first()
        if locked is not None:
            log.record(f"Unregistered plugin '{locked}'", locked.audit_object, by=by)
            locked.delete()


def _clean(wanted: Wanted) -> dict[str, str | bool]:
    errors: dict[str, str] = {}
    values: dict[str, str | bool] = {"for_managers_only": wanted.for_managers_only}
    for field, text, longest in (("name", wanted.name, LONGEST_NAME), ("developer", wanted.developer, 120)):
        try:
            values[field] = _line(text, longest)
        except ValidationError as refusal:
            errors[field] = refusal.messages[0]
    try:
        values["entry_point"] = addresses.normalise(wanted.entry_point)
        if len(str(values["entry_point"])) > 300:
            errors["entry_point"] = "An entry point has at most 300 characters."
    except ValidationError as refusal:
        errors["entry_point"] = refusal.messages[0]
    if errors:
        raise ValidationError(errors)
    return values


def _line(text: str, longest: int) -> str:
    line = text.strip()
    if not line or len(line) > longest or not line.isprintable():
        raise ValidationError(f"Write 1 to {longest} characters in one line.")
    return line


def request(environment: Environment, name: str, *, by: log.Actor) -> ApplicationTask:
    """Queue making a plugin in a development environment; raises ValidationError, TaskRefused and gate.Refused."""
    try:
        name = _line(name, LONGEST_NAME)
    except ValidationError as refusal:
        raise ValidationError({"name": refusal.messages[0]}) from None
    if environment.purpose != EnvironmentPurpose.DEVELOPMENT:
        raise TaskRefused(f"{environment} is no development environment: plugins are created in one.")
    with transaction.atomic():
        Environment.objects.filter(pk=environment.pk).lock()
        if Plugin.objects.filter(name__iexact=name).exists():
            raise ValidationError({"name": "Another plugin has this name."})
        creating = ApplicationTask.objects.active().filter(kind=TaskKind.CREATE_PLUGIN)
        if other := creating.filter(parameters__name__iexact=name).first():
            raise TaskRefused(f"{other.requested_by} is creating {name} right now.")
        task, _ = application_tasks.request(
            CREATE,
            environment,
            None,
            by=by,
            parameters={"name": name},
            entry=log.Entry(
                message=f"Requested plugin '{name}' in environment '{environment}'",
                on=log.AuditObject(type="plugin", key="", name=name),
                by=by,
                details={"environment": environment.name},
            ),
        )
    return task


def recent_tasks() -> QuerySet[ApplicationTask]:
    found = ApplicationTask.objects.filter(kind=TaskKind.CREATE_PLUGIN).select_related("environment")
    return found.defer("sealed_secrets", "result").newest_first()[:5]


async def _create(client: gate.Client, task: ApplicationTask) -> ApplicationItem:
    """Safe to ask twice: the application gets the task's own key."""
    offered = read(await client.get("/templates"), Templates, step="GET templates")
    if TEMPLATE not in {one.key for one in offered.templates}:
        raise gate.Rejected("The environment offers no template for plugins. Register an existing one instead.")
    body = {
        "key": str(task.key),
        "template_key": TEMPLATE,
        "team_key": None,
        "name": task.parameters["name"],
        "description": "",
        "colour": "",
        "by": {"name": task.requested_by, "username": task.by.username},
    }
    answer = read(await client.post("/applications", canonical(body)), ApplicationItem, step="POST applications")
    if answer.key != task.key:
        raise gate.Rejected("The environment created another application than it was asked for.")
    return answer


def _store(task: ApplicationTask, told: ApplicationItem) -> list[log.Entry]:
    page = ApplicationsPage(cursor="-", more=False, applications=[told])
    applications.take_over(task.environment_id, page, applications.Changes())
    application = Application.objects.get(key=told.key)
    name, number = task.parameters["name"], 1
    while Plugin.objects.filter(name__iexact=name).exists():  # registered by somebody meanwhile
        number += 1
        name = f"{task.parameters['name'][: LONGEST_NAME - 4]} {number}"
    plugin = Plugin.objects.create(
        name=name,
        entry_point=links.pages(task.environment, application)[:300],
        developer=task.requested_by[:120],
        application=application,
        registered_by=task.requested_by,
    )
    return [
        log.Entry(
            message=f"Created plugin '{plugin}' in environment '{task.environment}'",
            on=plugin.audit_object,
            by=task.by,
            details={"environment": task.environment.name, "entry_point": plugin.entry_point},
        )
    ]


def _failed(task: ApplicationTask, why: str) -> list[log.Entry]:
    name = task.parameters["name"]
    return [
        log.Entry(
            message=f"Did not create plugin '{name}' in environment '{task.environment}': {why}",
            on=log.AuditObject(type="plugin", key="", name=name),
            by=task.by,
            succeeded=False,
            details={"environment": task.environment.name},
        )
    ]


CREATE: Work[ApplicationItem] = Work(
    kind=TaskKind.CREATE_PLUGIN,
    operation=Operation.CREATE_PLUGINS,
    purpose=Purpose.APPLICATION,
    converse=_create,
    store=_store,
    failed=_failed,
)
