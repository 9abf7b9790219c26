"""Settings of an application in one environment: as they were last read, and changing them."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from environments import application_settings
from environments.application_forms import SettingsForm
from environments.application_tasks import TaskRefused
from environments.models import TaskKind
from environments.operations import Operation
from environments.views.applications import objects
from environments.views.applications.remote_settings import show
from lifetime.requests import AuthenticatedRequest, client_address

OPERATION = Operation.CHANGE_APPLICATION_SETTINGS
KINDS = (TaskKind.READ_SETTINGS, TaskKind.CHANGE_SETTINGS)


@require_safe
def settings(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    found = application_settings.stored(environment, application)
    form = SettingsForm(found) if found else None
    return show(request, "settings", KINDS, application, environment, found, form)


@require_POST
def read_settings(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    by = request.user.actor(client_address(request))
    application_settings.request_reading(environment, application, by=by)
    return redirect("applications:settings", application.key, environment.key)


@sensitive_post_parameters()
@require_POST
def change_settings(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    found = application_settings.stored(environment, application)
    if found is None:
        messages.warning(request, "Read the settings first.")
        return redirect("applications:settings", application.key, environment.key)
    form = SettingsForm(found, request.POST)
    if form.is_valid():
        changes = form.changes
        if not changes:
            messages.info(request, "Nothing was changed.")
            return redirect("applications:settings", application.key, environment.key)
        try:
            application_settings.request_change(
                environment,
                application,
                changes,
                by=request.user.actor(client_address(request)),
                digest=form.cleaned_data["digest"],
            )
            messages.success(request, f"The settings of {application} are being changed in {environment}.")
            return redirect("applications:settings", application.key, environment.key)
        except TaskRefused as refusal:
            form.add_error(None, str(refusal))
    return show(request, "settings", KINDS, application, environment, found, form, status=422)
