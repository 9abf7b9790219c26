"""Security settings of an application's own: as they were last read, and changing them."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from environments import application_security
from environments.application_forms import ApplicationSecurityForm
from environments.application_tasks import TaskRefused
from environments.models import TaskKind
from environments.operations import Operation
from environments.settings_forms import add_errors
from environments.views.applications import objects
from environments.views.applications.remote_settings import show
from lifetime.requests import AuthenticatedRequest, client_address

OPERATION = Operation.CHANGE_APPLICATION_SETTINGS
KINDS = (TaskKind.READ_SECURITY, TaskKind.CHANGE_SECURITY)


@require_safe
def security(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    found = application_security.stored(environment, application)
    form = ApplicationSecurityForm(environment, found) if found else None
    return show(request, "security", KINDS, application, environment, found, form)


@require_POST
def read_security(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    application_security.request_reading(environment, application, by=request.user.actor(client_address(request)))
    return redirect("applications:security", application.key, environment.key)


@require_POST
def change_security(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    found = application_security.stored(environment, application)
    if found is None:
        messages.warning(request, "Read the security settings first.")
        return redirect("applications:security", application.key, environment.key)
    form = ApplicationSecurityForm(environment, found, request.POST)
    try:
        if form.is_valid():
            task = application_security.request_change(
                environment,
                application,
                form.wanted,
                by=request.user.actor(client_address(request)),
                digest=form.cleaned_data["digest"],
            )
            if task:
                messages.success(request, f"The security of {application} is being changed in {environment}.")
            else:
                messages.info(request, "Nothing was changed.")
            return redirect("applications:security", application.key, environment.key)
    except ValidationError as refusal:
        add_errors(form, refusal)
    except TaskRefused as refusal:
        form.add_error(None, str(refusal))
    return show(request, "security", KINDS, application, environment, found, form, status=422)
