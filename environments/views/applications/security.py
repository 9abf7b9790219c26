"""Security settings of an application's own: as they were last read, and changing them."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from environments import application_security, application_tasks
from environments.application_forms import ApplicationSecurityForm
from environments.application_tasks import TaskRefused
from environments.models import Application, Environment, TaskKind
from environments.operations import Operation
from environments.settings_forms import add_errors
from environments.views.applications import objects
from lifetime.requests import AuthenticatedRequest, client_address

OPERATION = Operation.CHANGE_APPLICATION_SETTINGS
KINDS = (TaskKind.READ_SECURITY, TaskKind.CHANGE_SECURITY)


@require_safe
def security(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    found = application_security.stored(environment, application)
    return _page(request, application, environment, ApplicationSecurityForm(environment, found) if found else None)


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
    return _page(request, application, environment, form, status=422)


def _page(
    request: AuthenticatedRequest,
    application: Application,
    environment: Environment,
    form: ApplicationSecurityForm | None,
    *,
    status: int = 200,
) -> HttpResponse:
    latest = application_tasks.latest(application, KINDS)
    tasks = [latest[one] for one in ((environment.pk, kind.value) for kind in KINDS) if one in latest]
    found = application_security.stored(environment, application)
    context: dict[str, Any] = {
        "application": application,
        "environment": environment,
        "form": form,
        "read_at": found.read_at if found else None,
        "tasks": tasks,
        "is_moving": any(task.is_active for task in tasks),
    }
    if not request.htmx:
        return render(request, "applications/security.html", context, status=status)
    if not context["is_moving"]:
        return HttpResponseClientRefresh()  # what was waited for is there
    return render(request, "applications/_security_tasks.html", context)
