"""Creating an application for a team, in one environment, from a template that the environment offers."""

from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction

from audit import log
from environments import application_tasks, applications, gate, icons
from environments.application_tasks import TaskRefused, Work
from environments.environment_api import ApplicationItem, ApplicationsPage, Template, Templates, canonical, read
from environments.models import (
    Application,
    ApplicationStatus,
    ApplicationTask,
    Environment,
    Purpose,
    TaskKind,
    TaskStatus,
)
from environments.operations import Operation
from lifetime.models import Team, TeamApplication

LONGEST_NAME = 100
OBJECT = "application"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    template: str
    name: str
    description: str = ""
    colour: str = ""
    icon: icons.Picture | None = None


def templates(environment: Environment) -> tuple[list[Template], ApplicationTask | None]:
    """What the environment offered when it was last asked, and the last time that it was asked."""
    asked = ApplicationTask.objects.filter(environment=environment, kind=TaskKind.READ_TEMPLATES).newest_first()
    told = asked.filter(status=TaskStatus.FINISHED).first()
    found = [Template.model_validate(one) for one in told.result] if told and told.result else []
    return found, asked.first()


def request_templates(environment: Environment, *, by: log.Actor) -> ApplicationTask:
    with transaction.atomic():
        Environment.objects.filter(pk=environment.pk).lock()
        active = ApplicationTask.objects.active().filter(environment=environment, kind=TaskKind.READ_TEMPLATES)
        if found := active.first():
            return found
        entry = log.Entry(
            message=f"Requested the templates of environment '{environment}'",
            on=environment.audit_object,
            by=by,
            kind=log.Kind.VIEW,
        )
        return application_tasks.request(READ_TEMPLATES, environment, None, by=by, entry=entry)[0]


def request(environment: Environment, team: Team, wanted: Wanted, *, by: log.Actor) -> ApplicationTask:
    """Queue the creation; raises ValidationError by field, TaskRefused, and gate.Refused."""
    name = wanted.name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValidationError({"name": f"Write a name of at most {LONGEST_NAME} characters in one line."})
    colour = icons.clean_colour(wanted.colour)
    with transaction.atomic():
        Environment.objects.filter(pk=environment.pk).lock()
        if wanted.template not in {one.key for one in templates(environment)[0]}:
            raise ValidationError({"template": f"{environment} offers no such template."})
        there = ApplicationStatus.objects.filter(environment=environment, application__name__iexact=name)
        if there.exists():
            raise ValidationError({"name": f"{environment} has an application of this name."})
        creating = ApplicationTask.objects.active().filter(environment=environment, kind=TaskKind.CREATE)
        if other := creating.filter(parameters__name__iexact=name).first():
            raise TaskRefused(f"{other.requested_by} is creating {name} in {environment} right now.")
        task, _ = application_tasks.request(
            CREATE,
            environment,
            None,
            by=by,
            parameters={
                "template_key": wanted.template,
                "team_key": str(team.key),
                "name": name,
                "description": wanted.description.strip(),
                "colour": colour,
            },
            entry=log.Entry(
                message=f"Requested application '{name}' for team '{team}' in environment '{environment}'",
                on=log.AuditObject(type=OBJECT, key="", name=name),
                by=by,
                details={"environment": environment.name, "team": team.name, "template": wanted.template},
            ),
        )
        if wanted.icon:
            icons.keep(task.key, wanted.icon)  # the application gets this key
    return task


async def _read_templates(client: gate.Client, task: ApplicationTask) -> Templates:
    return read(await client.get("/templates"), Templates, step="GET templates")


def _store_templates(task: ApplicationTask, told: Templates) -> list[log.Entry]:
    task.result = told.model_dump(mode="json")["templates"]
    return []


async def _create(client: gate.Client, task: ApplicationTask) -> ApplicationItem:
    """Safe to ask twice: the application gets the task's own key."""
    person = {"name": task.requested_by, "username": task.by.username}
    body = {"key": str(task.key), **task.parameters, "by": person}
    answer = read(await client.post("/applications", canonical(body)), ApplicationItem, step="POST applications")
    if answer.key != task.key:
        raise gate.Rejected("The environment created another application than it was asked for.")
    return answer


def _store(task: ApplicationTask, told: ApplicationItem) -> list[log.Entry]:
    """The application is known at once, and the team's; the next synchronization finds nothing new."""
    page = ApplicationsPage(cursor="-", more=False, applications=[told])
    applications.take_over(task.environment_id, page, applications.Changes())
    application = Application.objects.get(key=told.key)
    team = Team.objects.filter(key=task.parameters["team_key"]).first()
    if team is not None:
        TeamApplication.objects.get_or_create(application=application, defaults={"team": team})
    whose = f"for team '{team}'" if team else "for a team that is gone"
    return [
        log.Entry(
            message=f"Created application '{application}' {whose} in environment '{task.environment}'",
            on=application.audit_object,
            by=task.by,
            details={"environment": task.environment.name, "template": task.parameters["template_key"]},
        )
    ]


def _failed(task: ApplicationTask, why: str) -> list[log.Entry]:
    name = task.parameters["name"]
    return [
        log.Entry(
            message=f"Did not create application '{name}' in environment '{task.environment}': {why}",
            on=log.AuditObject(type=OBJECT, key="", name=name),
            by=task.by,
            succeeded=False,
            details={"environment": task.environment.name},
        )
    ]


READ_TEMPLATES: Work[Templates] = Work(
    kind=TaskKind.READ_TEMPLATES,
    operation=Operation.CREATE_APPLICATIONS,
    purpose=Purpose.APPLICATION,
    converse=_read_templates,
    store=_store_templates,
)
CREATE: Work[ApplicationItem] = Work(
    kind=TaskKind.CREATE,
    operation=Operation.CREATE_APPLICATIONS,
    purpose=Purpose.APPLICATION,
    converse=_create,
    store=_store,
    failed=_failed,
)
