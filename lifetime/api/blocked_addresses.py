"""Addresses that an environment blocks after failed log-ins."""

from uuid import UUID

from django.http import Http404, HttpResponse
from ninja import Router
from ninja.params.functions import Query
from typing_extensions import TypedDict

from environments import blocked_addresses, environment_api
from environments.models import Environment
from lifetime.api import places, waiting
from lifetime.api.answers import answer_list, errors, nothing, written
from lifetime.api.request import ApiRequest, actor
from lifetime.policy import Action

router = Router()


class BlockedAddress(TypedDict):
    """An address, or with a username one person's log-ins from it."""

    Key: str
    IPAddress: str
    Username: str
    Attempts: int
    BlockedOn: str
    BlockedUntil: str


@router.get(
    "/environments/{key:environment}/blockedipaddresses",
    response={200: list[BlockedAddress], 204: None, **errors(400, 403, 404)},
)
def list_blocked_addresses(request: ApiRequest, environment: UUID) -> HttpResponse:
    """What the environment blocks now; it is asked for that."""
    found = places.environment(request, environment, Action.MANAGE_PEOPLE)
    return answer_list([_record(one) for one in _asked(request, found)])


@router.delete("/environments/{key:environment}/blockedipaddresses", response={204: None, **errors(400, 403, 404)})
def unblock_address(
    request: ApiRequest, environment: UUID, address: str = Query(..., alias="IPAddress")
) -> HttpResponse:
    """Unblock an address, with all that is blocked from there."""
    found = places.environment(request, environment, Action.MANAGE_PEOPLE)
    blocked = [one for one in _asked(request, found) if one.address == address]
    if not blocked:
        raise Http404(f"{found} does not block {address}.")
    with waiting.place():
        tasks = [blocked_addresses.unblock(found, one.key, by=actor(request)) for one in blocked]
        for task in tasks:
            waiting.until_over(task)
    return nothing()


@router.delete(
    "/environments/{key:environment}/blockedipaddresses/{key:block}", response={204: None, **errors(400, 403, 404)}
)
def unblock_one(request: ApiRequest, environment: UUID, block: UUID) -> HttpResponse:
    """Unblock what the list names by this key."""
    found = places.environment(request, environment, Action.MANAGE_PEOPLE)
    with waiting.place():
        waiting.until_over(blocked_addresses.unblock(found, block, by=actor(request)))
    return nothing()


def _asked(request: ApiRequest, environment: Environment) -> list[environment_api.BlockedAddress]:
    with waiting.place():
        waiting.until_over(blocked_addresses.request(environment, by=actor(request)))
    return blocked_addresses.of(environment).addresses


def _record(one: environment_api.BlockedAddress) -> BlockedAddress:
    return {
        "Key": str(one.key),
        "IPAddress": one.address,
        "Username": one.username,
        "Attempts": one.attempts,
        "BlockedOn": written(one.blocked_at),
        "BlockedUntil": written(one.blocked_until),
    }
