"""An application in one of its environments, for what somebody wants to do there."""

from uuid import UUID

from django.http import Http404

from environments.models import Application, Environment
from environments.operations import Operation
from lifetime import policy
from lifetime.models import ServiceAccount, User
from lifetime.policy import Action


def get_in_environment(
    user: User | ServiceAccount,
    key: UUID,
    environment_key: UUID,
    action: Action | Operation,
    *,
    is_published: bool = True,
) -> tuple[Application, Environment]:
    """Both, for this action. Http404 when the person does not see the application there, else as `policy.require`."""
    application = policy.get_application(user, key, Action.VIEW_APPLICATIONS)
    found = Environment.objects.registered().filter(key=environment_key)
    environment = found.select_related("maintenance_window", "sync_state").first()
    if environment is None or not policy.may(user, Action.VIEW_APPLICATIONS, environment, application=application):
        raise Http404("There is no such environment.")
    if is_published and not environment.applications.filter(application=application).exists():
        raise Http404(f"{application} is not published in {environment}.")
    policy.require(user, action, environment, application=application)
    return application, environment
