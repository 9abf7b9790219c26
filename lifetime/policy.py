"""May this person do this here, and if not, why. Every page, view, command, admin action and API call asks here.

The ladder of permission levels per environment comes between the rights of a role and maintenance mode: `_lacks_right`
is its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404

from environments import maintenance
from environments.models import Environment
from environments.operations import Operation, refusal
from lifetime.models import User

MANAGE = "Manage Infrastructure and Users"


class Action(StrEnum):
    """What maintenance mode does not concern; the other actions are `environments.operations.Operation`."""

    VIEW_INFRASTRUCTURE = "view_infrastructure"
    VIEW_AUDIT_LOG = "view_audit_log"
    REGISTER_ENVIRONMENT = "register_environment"
    UNREGISTER_ENVIRONMENT = "unregister_environment"
    REORDER_ENVIRONMENTS = "reorder_environments"
    TOGGLE_MAINTENANCE = "toggle_maintenance"
    MANAGE_PEOPLE = "manage_people"


@dataclass(frozen=True)
class Decision:
    """Truthy when allowed; `reason` says why not and what to do. `is_temporary` means maintenance mode."""

    allowed: bool
    reason: str = ""
    is_temporary: bool = False

    def __bool__(self) -> bool:
        return self.allowed


class InMaintenance(PermissionDenied):
    """The operation is disabled for now: answered with 409 and the reason."""


ALLOWED = Decision(allowed=True)


def may(user: User | AnonymousUser, action: Action | Operation, *environments: Environment) -> Decision:
    """Whether this person may do this now; with source and target, on both of them. Asks no environment."""
    if lack := _lacks_right(user, action, environments):
        return Decision(False, lack)
    if isinstance(action, Operation):
        for environment in environments:
            if reason := refusal(environment, action):
                return Decision(False, reason, is_temporary=True)
    return ALLOWED


def may_toggle_as_support(user: User | AnonymousUser) -> Decision:
    """Whether this person may toggle maintenance mode in Django admin, cloud environments included."""
    if user.is_active and user.is_staff and user.has_perm("environments.toggle_maintenance"):
        return ALLOWED
    return Decision(
        False, "Only support staff toggle maintenance mode here; an administrator adds people to that group."
    )


def _lacks_right(user: User | AnonymousUser, action: Action | Operation, environments: Sequence[Environment]) -> str:
    if not isinstance(user, User) or not user.is_active:
        return "Log in first."
    if not user.manages_infrastructure:
        return f"This needs a role with “{MANAGE}”; yours is {user.role}. Ask an administrator for it."
    managed_by_support = (Action.TOGGLE_MAINTENANCE, Action.UNREGISTER_ENVIRONMENT, Operation.EDIT_ENVIRONMENT)
    for environment in environments:
        if not environment.is_registered and action != Action.REGISTER_ENVIRONMENT:
            return f"{environment} is not registered."
        if environment.is_cloud and action in managed_by_support:
            return f"{environment} is a cloud environment: support staff do this for you. Open a support case."
    return ""


def require(user: User | AnonymousUser, action: Action | Operation, *environments: Environment) -> None:
    """Raise PermissionDenied with the reason, or InMaintenance, counted and audited, when `may` says no."""
    decision = may(user, action, *environments)
    if decision.is_temporary and isinstance(action, Operation) and isinstance(user, User):
        for environment in environments:
            if environment.is_in_maintenance:
                maintenance.count_refusal(environment, action, by=user.actor())
        raise InMaintenance(decision.reason)
    if not decision:
        raise PermissionDenied(decision.reason)


def get_environment(user: User | AnonymousUser, key: UUID, action: Action | Operation) -> Environment:
    """The environment, for this action. Http404 when the person may not see it, PermissionDenied when not do this."""
    try:
        environment = Environment.objects.select_related("maintenance_window", "sync_state").get(key=key)
    except Environment.DoesNotExist:
        raise Http404("There is no such environment.") from None
    require(user, action, environment)
    return environment
