"""The environments and applications that a call is about, for what it wants to do there.

What the account does not see is a 404, what it may not do a 403, maintenance mode a 400: `lifetime.policy` decides.
"""

from uuid import UUID

from django.http import Http404

from environments.models import Application, Environment
from environments.operations import Operation
from environments.views.applications import objects
from lifetime import policy
from lifetime.api.request import ApiRequest
from lifetime.policy import Action

SHOWN = (
    *("key", "name", "address", "purpose", "hosting", "position", "registration", "version", "application_server"),
    *("application_server_type", "database_provider", "number_of_front_ends", "deployment_zones"),
    *("maintenance_window__reason", "maintenance_window__enabled_at", "maintenance_window__expected_end"),
    "sync_state__unreachable_since",
)
SEEING = (Action.PREPARE_PLANS, Action.VIEW_INFRASTRUCTURE)


def sees(request: ApiRequest, environment: Environment) -> bool:
    """Whether the account has access to the environment, or looks after the infrastructure."""
    return any(policy.may(request.account, action, environment) for action in SEEING)


def environments(request: ApiRequest) -> list[Environment]:
    """The registered environments that the account sees, in pipeline order."""
    found = Environment.objects.registered().in_order().select_related("maintenance_window", "sync_state")
    return [one for one in found.only(*SHOWN) if sees(request, one)]


def environment(request: ApiRequest, key: UUID, action: Action | Operation | None = None) -> Environment:
    """One environment, for this action."""
    request.concerned.add(key)
    found = Environment.objects.registered().select_related("maintenance_window", "sync_state").filter(key=key).first()
    if found is None or not sees(request, found):
        raise Http404("There is no such environment.")
    if action is not None:
        policy.require(request.account, action, found)
    return found


def application(request: ApiRequest, key: UUID, action: Action | Operation = Action.VIEW_APPLICATIONS) -> Application:
    """One application that the account sees somewhere."""
    return policy.get_application(request.account, key, action)


def application_in(
    request: ApiRequest,
    environment_key: UUID,
    key: UUID,
    action: Action | Operation = Action.VIEW_APPLICATIONS,
    *,
    is_published: bool = True,
) -> tuple[Application, Environment]:
    """An application in an environment, for this action; 404 where it is not published there."""
    request.concerned.add(environment_key)
    return objects.get_in_environment(request.account, key, environment_key, action, is_published=is_published)
