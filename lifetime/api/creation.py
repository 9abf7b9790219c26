"""New applications for teams, from the templates that an environment offers."""

from datetime import timedelta
from uuid import UUID

from django.http import Http404, HttpResponse
from django.utils import timezone
from typing_extensions import TypedDict

from environments import application_creation
from environments.environment_api import Template
from environments.models import Environment
from environments.operations import Operation
from lifetime import policy
from lifetime.api import places, waiting
from lifetime.api.answers import answer, errors
from lifetime.api.applications import router
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.models import Team

FRESH = timedelta(minutes=5)  # templates change rarely


class TemplateRecord(TypedDict):
    """What a new application can begin as."""

    Key: str
    Name: str
    Description: str
    ApplicationKind: str


class NewApplication(Body):
    template_key: str
    team_key: UUID
    name: str
    description: str | None = ""
    color: str = ""


class Created(TypedDict):
    ApplicationKey: str


@router.get("/environments/{key:environment}/templates", response={200: list[TemplateRecord], **errors(400, 403, 404)})
def list_templates(request: ApiRequest, environment: UUID) -> HttpResponse:
    """The templates that the environment offers; it is asked when it was not lately."""
    found = places.environment(request, environment, Operation.CREATE_APPLICATIONS)
    with waiting.place():
        return answer([_record(one) for one in _templates(request, found)])


@router.post("/environments/{key:environment}/applications", response={201: Created, **errors(400, 403, 404)})
def create_application(request: ApiRequest, environment: UUID, body: NewApplication) -> HttpResponse:
    """Create an application for a team. Answers when the environment has done it."""
    found = places.environment(request, environment, Operation.CREATE_APPLICATIONS)
    team = Team.objects.filter(key=body.team_key).first()
    if team is None:
        raise Http404("There is no such team.")
    policy.require(request.account, Operation.CREATE_APPLICATIONS, found, team=team)
    wanted = application_creation.Wanted(
        template=body.template_key, name=body.name, description=body.description or "", colour=body.color
    )
    with waiting.place():
        _templates(request, found)
        task = waiting.until_over(application_creation.request(found, team, wanted, by=actor(request)))
    told: Created = {"ApplicationKey": str(task.key)}
    return answer(told, 201)


def _templates(request: ApiRequest, environment: Environment) -> list[Template]:
    found, asked = application_creation.templates(environment)
    is_fresh = asked is not None and asked.ended_at is not None and asked.ended_at > timezone.now() - FRESH
    if found and is_fresh:
        return found
    waiting.until_over(application_creation.request_templates(environment, by=actor(request)))
    return application_creation.templates(environment)[0]


def _record(one: Template) -> TemplateRecord:
    return {"Key": one.key, "Name": one.name, "Description": one.description, "ApplicationKind": one.kind}
