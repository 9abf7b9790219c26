"""What of the applications a person may see: environments, applications, and an application in an environment."""

from uuid import UUID

from django.http import Http404

from environments import matrix
from environments.models import Application, Environment
from environments.operations import Operation
from lifetime import policy
from lifetime.models import User
from lifetime.policy import Action


def pipeline(user: User) -> list[Environment]:
    """The registered environments whose applications this person may see, in pipeline order."""
    return [one for one in matrix.environments() if policy.may(user, Action.VIEW_APPLICATIONS, one)]


def get_application(user: User, key: UUID) -> tuple[Application, list[Environment]]:
    """The application, with the pipeline as this person sees it; Http404 when it is published nowhere in there."""
    policy.require(user, Action.VIEW_APPLICATIONS)
    seen = pipeline(user)
    found = Application.objects.filter(key=key, statuses__environment__in=seen).distinct().first()
    if found is None:
        raise Http404("There is no such application.")
    return found, seen


def get_in_environment(
    user: User, key: UUID, environment_key: UUID, action: Action | Operation
) -> tuple[Application, Environment]:
    """The application and one of its environments, for this action there; see `policy.get_environment`."""
    application, seen = get_application(user, key)
    if environment_key not in {one.key for one in seen}:
        raise Http404("There is no such environment.")
    return application, policy.get_environment(user, environment_key, action)
