"""The content security policy of an environment."""

from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from ninja import Router
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from environments import security
from environments.models import Environment
from environments.operations import Operation
from lifetime.api import places
from lifetime.api.answers import answer, errors
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.policy import Action

router = Router()


class Directive(TypedDict):
    Name: str
    Values: list[str]


class ContentSecurityPolicy(TypedDict):
    """The policy that pages of an environment come with."""

    IsEnabled: bool
    Directives: list[Directive]


class WantedDirective(Body):
    name: str
    values: list[str] = Field(description="None: the directive goes.")


class WantedPolicy(Body):
    """What is left out stays as it is."""

    is_enabled: StrictBool | None = None
    directives: list[WantedDirective] = []


@router.get(
    "/environments/{key:environment}/content_security_policies",
    response={200: ContentSecurityPolicy, **errors(403, 404)},
)
def get_content_security_policies(request: ApiRequest, environment: UUID) -> HttpResponse:
    """The policy as it is delivered to the environment."""
    return answer(_policy(places.environment(request, environment, Action.VIEW_INFRASTRUCTURE)))


@router.put(
    "/environments/{key:environment}/content_security_policies",
    response={200: ContentSecurityPolicy, **errors(400, 403, 404)},
)
def set_content_security_policies(request: ApiRequest, environment: UUID, body: WantedPolicy) -> HttpResponse:
    """Change the policy; the next synchronization, which is due at once, delivers it."""
    found = places.environment(request, environment, Operation.CHANGE_SECURITY_SETTINGS)
    further = {one.name: one.values for one in body.directives if one.name not in security.REQUIRED}
    if further.keys() != security.clean_other(" ".join([name, *values]) for name, values in further.items()).keys():
        raise ValidationError("The name of a directive has small letters and hyphens only.")
    changes: dict[str, object] = {"directives": {one.name: one.values for one in body.directives}}
    if body.is_enabled is not None:
        changes["csp_enabled"] = body.is_enabled
    security.change(found, changes, by=actor(request))
    return answer(_policy(found))


def _policy(environment: Environment) -> ContentSecurityPolicy:
    policy = security.effective(environment)["content_security_policy"]
    told: dict[str, list[str]] = security.directives(environment)
    return {
        "IsEnabled": policy["enabled"],
        "Directives": [{"Name": name, "Values": told[name]} for name in sorted(told)],
    }
