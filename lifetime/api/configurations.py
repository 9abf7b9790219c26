"""Blocking applications from being deployed to environments."""

from uuid import UUID

from django.db import transaction
from django.http import HttpResponse
from ninja import Router
from pydantic import StrictBool
from typing_extensions import TypedDict

from environments import blocking
from environments.models import ApplicationBlock
from lifetime.api import places
from lifetime.api.answers import answer, errors, nothing
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.policy import Action

router = Router()


class Configuration(TypedDict):
    """Whether the application may not be deployed to an environment, and why."""

    environmentKey: str
    isBlocked: bool
    isBlockedChangeReason: str


class Configurations(TypedDict):
    configurations: list[Configuration]


class WantedConfiguration(Body):
    environment_key: UUID
    is_blocked: StrictBool
    is_blocked_change_reason: str = ""


class WantedConfigurations(Body):
    configurations: list[WantedConfiguration]


@router.get("/applications/{key:application}/configurations", response={200: Configurations, **errors(403, 404)})
def get_configurations(request: ApiRequest, application: UUID) -> HttpResponse:
    """Where the application is blocked from deployment."""
    found = places.application(request, application)
    blocks = {one.environment_id: one for one in ApplicationBlock.objects.in_force().filter(application=found)}
    told: Configurations = {
        "configurations": [
            {
                "environmentKey": str(one.key),
                "isBlocked": one.pk in blocks,
                "isBlockedChangeReason": blocks[one.pk].reason if one.pk in blocks else "",
            }
            for one in places.environments(request)
        ]
    }
    return answer(told)


@router.put("/applications/{key:application}/configurations", response={204: None, **errors(400, 403, 404)})
def set_configurations(request: ApiRequest, application: UUID, body: WantedConfigurations) -> HttpResponse:
    """Block and unblock, all of it or nothing. What is as it should be already stays as it is."""
    with transaction.atomic():
        for wanted in body.configurations:
            found, where = places.application_in(
                request, wanted.environment_key, application, Action.BLOCK_APPLICATIONS, is_published=False
            )
            if (blocking.in_force(where, found) is not None) != wanted.is_blocked:
                change = blocking.block if wanted.is_blocked else blocking.unblock
                change(where, found, by=actor(request), reason=wanted.is_blocked_change_reason)
    return nothing()
